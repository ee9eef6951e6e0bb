"""OTLP's JSON, which is not that of protobuf: ids are hexadecimal digits there.

Protobuf's own reader would take them for base64 without a word. This one leaves whatever is not mapped as it
came, unread. An id or a time that cannot be read costs its span or log record, an attribute only itself, and
neither of them the batch.
"""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Raw, Struct

from detector.service.otlp.logs import OF_LOG, event_name
from detector.service.otlp.model import Attributes, Fault, Log, Span, Value, ids_of
from detector.service.otlp.spans import OF_RESOURCE, OF_SPAN
from topics.codec import decoder
from topics.errors import DecodeError

_ERROR = 2  # of a status
_MOST_DIGITS = 20  # of 64 bits
_LEAST, _MOST = -(2**63), 2**64 - 1
_NOTHING = Raw(b"null")
_OF_NO_USE: Value = ()
_DIGITS = "expected hexadecimal digits"


class _Array(Struct):
    values: list["_Any"] | None = None


class _Any(Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | float | str | None = None
    double_value: float | str | None = None
    array_value: _Array | None = None
    kvlist_value: Raw = _NOTHING
    bytes_value: Raw = _NOTHING


class _Attribute(Struct):
    key: str = ""
    value: Raw = _NOTHING


class _Resource(Struct):
    attributes: list[_Attribute] | None = None


class _Status(Struct):
    code: int | str | None = None


class _JsonSpan(Struct, rename="camel"):
    trace_id: Any = None
    span_id: Any = None
    start_time_unix_nano: Any = None
    end_time_unix_nano: Any = None
    attributes: list[_Attribute] | None = None
    status: _Status | None = None


class _ScopeSpans(Struct):
    spans: list[_JsonSpan] | None = None


class _ResourceSpans(Struct, rename="camel"):
    resource: _Resource | None = None
    scope_spans: list[_ScopeSpans] | None = None


class _JsonTraces(Struct, rename="camel"):
    resource_spans: list[_ResourceSpans] | None = None


class _JsonLog(Struct, rename="camel"):
    trace_id: Any = None
    span_id: Any = None
    time_unix_nano: Any = None
    observed_time_unix_nano: Any = None
    event_name: str | None = None
    attributes: list[_Attribute] | None = None


class _ScopeLogs(Struct, rename="camel"):
    log_records: list[_JsonLog] | None = None


class _ResourceLogs(Struct, rename="camel"):
    scope_logs: list[_ScopeLogs] | None = None


class _JsonLogs(Struct, rename="camel"):
    resource_logs: list[_ResourceLogs] | None = None


_read_traces: Callable[[bytes | None], _JsonTraces] = decoder(_JsonTraces, explain=False)
_read_logs: Callable[[bytes | None], _JsonLogs] = decoder(_JsonLogs, explain=False)
_read_any: Callable[[bytes | None], _Any | None] = decoder(_Any | None, explain=False)  # type: ignore[arg-type]


def spans_of_json(value: bytes | None) -> list[Span]:
    """As `decode_spans`."""
    out: list[Span] = []
    for resource in _read_traces(value).resource_spans or ():
        own = (resource.resource or _Resource()).attributes
        shared = _picked_of_json(own, OF_RESOURCE, {})
        for scope in resource.scope_spans or ():
            out += [_span(each, shared) for each in scope.spans or ()]
    return out


def logs_of_json(value: bytes | None) -> list[Log]:
    """As `decode_logs`."""
    out: list[Log] = []
    for resource in _read_logs(value).resource_logs or ():
        for scope in resource.scope_logs or ():
            out += [_log(each) for each in scope.log_records or ()]
    return out


def _span(each: _JsonSpan, shared: Attributes) -> Span:
    faults: list[Fault] = []
    return Span(
        ids=_ids(each, faults),
        start_ns=_time("$.startTimeUnixNano", each.start_time_unix_nano, faults),
        end_ns=_time("$.endTimeUnixNano", each.end_time_unix_nano, faults),
        failed=each.status is not None and each.status.code in (_ERROR, "STATUS_CODE_ERROR"),
        attributes=_picked_of_json(each.attributes, OF_SPAN, shared),
        fault=faults[0] if faults else None,
    )


def _log(each: _JsonLog) -> Log:
    faults: list[Fault] = []
    attributes = _picked_of_json(each.attributes, OF_LOG, {})
    observed_ns = _time("$.observedTimeUnixNano", each.observed_time_unix_nano, faults)
    return Log(
        ids=_ids(each, faults),
        time_ns=_time("$.timeUnixNano", each.time_unix_nano, faults) or observed_ns,
        event_name=event_name(each.event_name or "", attributes),
        attributes=attributes,
        fault=faults[0] if faults else None,
    )


def _picked_of_json(
    attributes: Iterable[_Attribute] | None, wanted: frozenset[str], shared: Attributes
) -> Attributes:
    found = shared.copy()
    for each in attributes or ():
        if each.key not in wanted:
            continue
        try:
            value = _of_json(_read_any(each.value))
        except DecodeError:
            value = _OF_NO_USE
        if value is not None:
            found[each.key] = value
    return found


def _of_json(value: _Any | None) -> Value | None:
    if value is None:
        return None
    if value.string_value is not None:
        return value.string_value
    if value.bool_value is not None:
        return value.bool_value
    if value.int_value is not None:
        return _whole(value.int_value)
    if value.double_value is not None:
        try:
            return float(value.double_value)  # "NaN" and "Infinity" are texts
        except (ValueError, OverflowError):
            raise DecodeError("$.attributes[].value.doubleValue", "expected a number") from None
    if value.array_value is not None:
        return tuple(
            found for each in value.array_value.values or () if (found := _of_json(each)) is not None
        )
    return None if value.kvlist_value == value.bytes_value == _NOTHING else _OF_NO_USE


def _ids(each: _JsonSpan | _JsonLog, faults: list[Fault]) -> bytes:
    return ids_of(_id("$.traceId", each.trace_id, faults), _id("$.spanId", each.span_id, faults))


def _id(path: str, value: Any, faults: list[Fault]) -> bytes:
    if not isinstance(value, str):
        if value is not None:
            faults.append((path, _DIGITS))
        return b""
    try:
        return bytes.fromhex(value)
    except ValueError:
        faults.append((path, _DIGITS))
        return b""


def _time(path: str, value: Any, faults: list[Fault]) -> int:
    """Nanoseconds; 0 where it is not set, and where it is a fault."""
    try:
        return 0 if value is None else _whole(value)
    except DecodeError as error:
        faults.append((path, error.expected))
        return 0


def _whole(value: Any) -> int:
    """A whole number of 64 bits; OTLP writes it as text, and reads a number as well, 12.0 too."""
    if isinstance(value, str):
        digits = value.removeprefix("-")
        plain = digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS
        number = int(value) if plain else None
    elif isinstance(value, float):
        number = int(value) if value.is_integer() else None
    else:
        number = value if type(value) is int else None  # true is an int to Python
    if number is None or not _LEAST <= number <= _MOST:
        raise DecodeError("$", "expected a whole number of 64 bits")
    return number
