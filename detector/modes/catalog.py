"""The built-in failure modes, and what each of them means. A contract may name others."""

FAILURE_MODES = {
    "input_drift": "the questions have changed",
    "token_drift": "the answers have changed in length or content",
    "parameter_corruption": "the model itself has changed or is damaged",
    "inference_overload": "calls wait for the engine",
    "external_api_latency": "an external API or tool is slow",
    "hardware_throttling": "the hardware runs below its clock",
    "hallucination_spike": "more answers are made up than the contract allows",
    "latency_spike": "more calls are slow than the contract allows",
    "error_spike": "more calls fail than the contract allows",
    "telemetry_silence": "a route's telemetry has stopped",
}


def meaning(mode: str) -> str:
    """What a mode says in words; the name itself for a mode of the contract's own."""
    return FAILURE_MODES.get(mode, mode.replace("_", " "))
