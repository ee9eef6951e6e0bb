"""From a span of an LLM call to its telemetry record, by a table of what emitters call things.

The names are those of OpenTelemetry's conventions v1.41.1 and older ones, of LiteLLM, OpenInference and vLLM.
Pure.
"""

from enum import StrEnum

from detector.service.otlp.attributes import LeftOut, count, cut, first_text, flag, label, name, number, text
from detector.service.otlp.model import IDS_BYTES, Attributes, Span, Value
from topics.codec import encode
from topics.errors import DecodeError
from topics.telemetry import CALLERS_FAULT, PRIMARY, TelemetryRecord, decode_telemetry

OPERATION, KIND = "gen_ai.operation.name", "openinference.span.kind"
# Of one call there may be spans around it and beside it; an agent's has all of its calls inside.
_NO_CALLS = frozenset(
    "invoke_agent create_agent invoke_workflow plan execute_tool retrieval search_memory "
    "create_memory update_memory upsert_memory delete_memory create_memory_store delete_memory_store".split()
)
ROUTE, SERVED_BY, PROBE = "detector.route", "detector.served_by", "detector.probe"
INPUT_CLASS, TENANT, DEPLOYMENT = "detector.input_class", "detector.tenant", "detector.deployment"
# Ours; a gateway may set them once for all its spans, on the resource.
OF_RESOURCE = frozenset({ROUTE, SERVED_BY, PROBE, INPUT_CLASS, TENANT, DEPLOYMENT})

TEXTS: dict[str, tuple[str, ...]] = {
    "route": (ROUTE, "gen_ai.request.model", "llm.request.model_name", "llm.model_name"),
    "model": ("litellm.provider.model", "gen_ai.response.model", "llm.response.model_name"),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"),
    "request_id": ("gen_ai.response.id", "gen_ai.request.id"),
    "tenant": (TENANT,),
    "input_class": (INPUT_CLASS,),
    "served_by": (SERVED_BY,),
}
SECONDS: dict[str, tuple[str, ...]] = {
    "latency_s": ("gen_ai.latency.e2e",),
    "ttft_s": ("gen_ai.response.time_to_first_chunk", "gen_ai.latency.time_to_first_token"),
    "queue_s": ("gen_ai.latency.time_in_queue",),
}
COUNTS: dict[str, tuple[str, ...]] = {
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
    "output_tokens": (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
    ),
}
_MODEL = "$.attributes['gen_ai.request.model']"
_REASONS = "gen_ai.response.finish_reasons"
_ADDRESS, _PORT = "server.address", "server.port"
_ERROR, _UNNAMED = "error.type", "_OTHER"  # as the conventions have it where nobody gave the error a name
_CODES = ("litellm.provider.error.code", "http.response.status_code")
# What clients call 400 and 422; no such span has a status beside it.
_BAD_REQUEST = frozenset(
    "BadRequestError BadRequestException UnprocessableEntityError ValidationException invalid_request_error "
    "ContextWindowExceededError ContentPolicyViolationError".split()
)
# Python's, when a caller leaves, and as well when a time limit around the call ends it: one that had nothing
# for so long is taken for the latter, or a primary that hangs would never be found.
_CANCELLED = frozenset({"CancelledError", "GeneratorExit"})
_HUNG_S, _TIMEOUT = 10.0, "timeout"
_CALLERS_FAULT = CALLERS_FAULT | _BAD_REQUEST | _CANCELLED

_LABELS = {field: names for field, names in TEXTS.items() if field != "route"}
_NAMES = (each for table in (TEXTS, SECONDS, COUNTS) for names in table.values() for each in names)
OF_SPAN = frozenset({*_NAMES, *OF_RESOURCE, *_CODES, OPERATION, KIND, _REASONS, _ADDRESS, _PORT, _ERROR})


class Outcome(StrEnum):
    """What became of a span.

    Published; published already; too old to be; of no LLM call; of its caller's fault; or unusable.
    """

    PUBLISHED = "published"
    REPEATED = "repeated"
    TOO_OLD = "too_old"
    OTHER = "other"
    CALLERS_FAULT = "callers_fault"
    MALFORMED = "malformed"


def is_call(attributes: Attributes) -> bool:
    """Whether it is the span of one LLM call.

    Other attributes say nothing of that: LiteLLM's span of the HTTP request has the model's name, too.
    """
    operation = attributes.get(OPERATION)
    return operation not in _NO_CALLS if operation is not None else attributes.get(KIND) == "LLM"


def record_of(span: Span, left_out: LeftOut | None = None) -> TelemetryRecord | None:
    """The record of a call; None where it failed by its caller's fault, which tells nothing of the primary.

    Args:
        span: of a call.
        left_out: told of values that could not be used. They count as not set, so that the call is not lost.

    Raises:
        DecodeError: there is no route, or the span has no ids or no end, or one of them cannot be read.
    """
    left_out = [] if left_out is None else left_out
    attributes = span.attributes
    if span.fault is not None:
        raise DecodeError(*span.fault)
    if len(span.ids) != IDS_BYTES:
        raise DecodeError("$.spanId", "expected a trace id of 16 bytes and a span id of 8")
    if not span.end_ns:
        raise DecodeError("$.endTimeUnixNano", "expected an end")
    wrong: LeftOut = []
    route = name(attributes, TEXTS["route"], wrong)
    if not route:
        raise wrong[0] if wrong else DecodeError(_MODEL, f"expected a model, or else {ROUTE}")
    left_out += wrong
    error = _error(span, left_out)
    if error and _is_callers_fault(attributes, error):
        if not _hung(span, error):
            return None
        error = _TIMEOUT
    texts = {field: label(attributes, names, left_out) for field, names in _LABELS.items()}
    seconds = {field: number(attributes, names, left_out, least=0.0) for field, names in SECONDS.items()}
    if seconds["latency_s"] is None and span.start_ns:
        seconds["latency_s"] = _duration_s(span, left_out)
    counts = {field: count(attributes, names, left_out) for field, names in COUNTS.items()}
    if error:  # LiteLLM counts 0 tokens of a call that failed, which were not measured
        counts = {field: found or None for field, found in counts.items()}
    return TelemetryRecord(
        event_time=span.end_ns / 1e9,
        route=route,
        request_id=texts["request_id"] or span.ids.hex(),
        deployment=_deployment(attributes, left_out),
        model=texts["model"],
        provider=texts["provider"],
        tenant=texts["tenant"],
        finish_reason=first_text(attributes, _REASONS, left_out),
        input_class=texts["input_class"] or "default",
        served_by=texts["served_by"] or PRIMARY,
        probe=flag(attributes, PROBE, left_out),
        error=error,
        latency_s=seconds["latency_s"],
        ttft_s=seconds["ttft_s"],
        queue_s=seconds["queue_s"],
        input_tokens=counts["input_tokens"],
        output_tokens=counts["output_tokens"],
    )


def value_of(record: TelemetryRecord) -> bytes:
    """The message of a record, which no detector will refuse.

    Raises:
        DecodeError: a detector would, for that reason.
    """
    value = encode(record)
    decode_telemetry(value)
    return value


def _error(span: Span, left_out: LeftOut) -> str:
    """The conventions set `error.type` only where a call failed; some emitters set it and no status."""
    value = span.attributes.get(_ERROR)
    said = label(span.attributes, (_ERROR,), left_out) if value else ""
    return said or (_UNNAMED if span.failed or value else "")


def _duration_s(span: Span, left_out: LeftOut) -> float | None:
    """None where the clock was set back meanwhile."""
    if span.end_ns >= span.start_ns:
        return (span.end_ns - span.start_ns) / 1e9
    left_out.append(DecodeError("$.endTimeUnixNano", "expected an end that is not before the start"))
    return None


def _class_of(error: str) -> str:
    """`openai.BadRequestError` is that class of a module."""
    return error.rpartition(".")[2]


def _hung(span: Span, error: str) -> bool:
    """Whether a call was cancelled that had been waiting in vain: not one whose stream had begun."""
    begun = any(name in span.attributes for name in SECONDS["ttft_s"])
    waited_s = (span.end_ns - span.start_ns) / 1e9 if span.start_ns else 0.0
    return _class_of(error) in _CANCELLED and not begun and waited_s >= _HUNG_S


def _is_callers_fault(attributes: Attributes, error: str) -> bool:
    return _class_of(error) in _CALLERS_FAULT or any(
        _status(attributes.get(code)) in CALLERS_FAULT for code in _CODES
    )


def _status(value: Value | None) -> str:
    """A status code as text, whether it was written as a whole number, as 400.0 or as text."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _deployment(attributes: Attributes, left_out: LeftOut) -> str:
    if own := label(attributes, (DEPLOYMENT,), left_out):
        return own
    address, port = text(attributes, (_ADDRESS,), left_out), count(attributes, (_PORT,), left_out)
    return cut(f"{address}:{port}" if address and port is not None else address, left_out)
