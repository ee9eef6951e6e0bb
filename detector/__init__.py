"""A control plane for LLM serving: judges telemetry, publishes which routes should use a fallback."""

__version__ = "0.1.0"
