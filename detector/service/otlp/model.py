"""What is left of a span and of a log record once they are decoded, whichever encoding they came in.

Only attributes that are mapped are kept: names of models and counts, never the text of a prompt or an answer.
"""

from msgspec import Struct

Value = str | bool | int | float | tuple["Value", ...]
Attributes = dict[str, Value]
Fault = tuple[str, str]  # path and what was expected there, as of a `DecodeError`

RESPONSE_ID = "gen_ai.response.id"  # by which a verdict names its call, if not by its span

_TRACE_BYTES, _SPAN_BYTES = 16, 8
IDS_BYTES = _TRACE_BYTES + _SPAN_BYTES
_NO_TRACE, _NO_SPAN = bytes(_TRACE_BYTES), bytes(_SPAN_BYTES)


class Span(Struct, kw_only=True, gc=False):
    """One span; times in Unix nanoseconds, 0 where they were not set.

    Attributes:
        ids: trace id and span id, 24 bytes; empty where either is missing or none that OTLP allows.
        failed: its status is an error.
        attributes: those of the span that are mapped, over those of its resource.
        fault: of an id or a time that is there and cannot be read: nothing is to be made of this span.
    """

    ids: bytes
    start_ns: int
    end_ns: int
    failed: bool
    attributes: Attributes
    fault: Fault | None = None


class Log(Struct, kw_only=True, gc=False):
    """One log record; `time_ns` is when it was observed where it does not say when it happened.

    Attributes:
        ids: trace id and span id, 24 bytes; empty as in `Span`.
        event_name: from its field, else from the older attribute `event.name`.
        attributes: those that are mapped.
        fault: as in `Span`.
    """

    ids: bytes
    time_ns: int
    event_name: str
    attributes: Attributes
    fault: Fault | None = None


def ids_of(trace: bytes, span: bytes) -> bytes:
    """Join the two ids of a span to one key, 24 bytes; empty where they are not those of a span."""
    if len(trace) != _TRACE_BYTES or len(span) != _SPAN_BYTES or trace == _NO_TRACE or span == _NO_SPAN:
        return b""
    return trace + span
