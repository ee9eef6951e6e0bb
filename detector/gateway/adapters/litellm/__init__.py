"""A plugin for LiteLLM's proxy: calls go where the detector says, and their telemetry goes to Kafka.

In the proxy's `config.yaml`:

    litellm_settings:
      callbacks: [detector.gateway.adapters.litellm.handler]

It is set up by the environment: `DETECTOR_BOOTSTRAP`, and as for the service `DETECTOR_TOPIC_PREFIX`,
`DETECTOR_SECURITY_PROTOCOL` and its kin; `DETECTOR_GATEWAY_ID` names it in acknowledgements.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """`handler`, made when it is first asked for: nobody else needs LiteLLM, nor the environment.

    Raises:
        ValueError: the environment names no broker, or says something that cannot be used.
    """
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import os

    from detector.gateway.adapters.litellm.hooks import from_environment

    globals()[name] = made = from_environment(os.environ)
    return made
