"""From a message of a collector's Kafka exporter, one batch, to what is mapped of its spans or log records.

`otlp_json` is not the JSON of protobuf: ids are hexadecimal there, and protobuf's own reader would take them
for base64 without a word. So it has a reader here, which parses only the attributes that are mapped.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

from google.protobuf.message import DecodeError as ProtoError
from msgspec import Raw, Struct
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import Status, TracesData

from detector.service.otlp.logs import EVENT_NAME, OF_LOG
from detector.service.otlp.model import Attributes, Log, Span, Value, ids_of
from detector.service.otlp.spans import OF_RESOURCE, OF_SPAN
from topics.codec import decoder
from topics.errors import DecodeError

Encoding = Literal["otlp_proto", "otlp_json"]
_FAILED = Status.STATUS_CODE_ERROR
_SCALARS = frozenset({"string_value", "bool_value", "int_value", "double_value"})
_MOST_DIGITS = 20  # of 64 bits
_LEAST, _MOST = -(2**63), 2**64 - 1


def decode_spans(value: bytes | None, encoding: Encoding) -> list[Span]:
    """All spans of a batch.

    Raises:
        DecodeError: and nothing else, whatever the bytes.
    """
    return _spans_of_proto(value) if encoding == "otlp_proto" else _spans_of_json(value)


def decode_logs(value: bytes | None, encoding: Encoding) -> list[Log]:
    """All log records of a batch.

    Raises:
        DecodeError: and nothing else, whatever the bytes.
    """
    return _logs_of_proto(value) if encoding == "otlp_proto" else _logs_of_json(value)


# Protobuf. Its messages are wrapped anew at each access, so everything is looked at once.


def _spans_of_proto(value: bytes | None) -> list[Span]:
    out: list[Span] = []
    for resource in _parsed(TracesData, value).resource_spans:
        shared = _picked(resource.resource.attributes, OF_RESOURCE, {})
        for scope in resource.scope_spans:
            out += [
                Span(
                    ids=ids_of(span.trace_id, span.span_id),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    failed=span.status.code == _FAILED,
                    attributes=_picked(span.attributes, OF_SPAN, shared),
                )
                for span in scope.spans
            ]
    return out


def _logs_of_proto(value: bytes | None) -> list[Log]:
    out: list[Log] = []
    for resource in _parsed(LogsData, value).resource_logs:
        for scope in resource.scope_logs:
            for log in scope.log_records:
                attributes = _picked(log.attributes, OF_LOG, {})
                out.append(
                    Log(
                        ids=ids_of(log.trace_id, log.span_id),
                        time_ns=log.time_unix_nano or log.observed_time_unix_nano,
                        event_name=_event_name(log.event_name, attributes),
                        attributes=attributes,
                    )
                )
    return out


def _parsed(kind: Any, value: bytes | None) -> Any:
    if value is None:
        raise DecodeError("$", "expected a batch in OTLP's protobuf, got none")
    try:
        return kind.FromString(value)
    except ProtoError as error:
        raise DecodeError("$", f"expected a batch in OTLP's protobuf: {error}") from None


def _picked(attributes: Iterable[Any], wanted: frozenset[str], shared: Attributes) -> Attributes:
    found = shared.copy()
    for each in attributes:
        key = each.key
        if key not in wanted:
            continue
        value = each.value
        # To ask which kind it is costs as much as to read it, and most are texts and counts.
        if text := value.string_value:
            found[key] = text
        elif number := value.int_value:
            found[key] = number
        elif (other := _of_proto(value)) is not None:
            found[key] = other
    return found


def _of_proto(value: Any) -> Value | None:
    kind = value.WhichOneof("value")
    if kind in _SCALARS:
        scalar: Value = getattr(value, kind)
        return scalar
    if kind == "array_value":
        return tuple(found for each in value.array_value.values if (found := _of_proto(each)) is not None)
    return None if kind is None else ()  # nothing that is mapped is a map or bytes


# JSON. What is not mapped stays as it came, unread.

_NOTHING = Raw(b"null")


class _Array(Struct):
    values: list["_Any"] | None = None


class _Any(Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
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
    trace_id: str | None = None
    span_id: str | None = None
    start_time_unix_nano: int | str | None = None
    end_time_unix_nano: int | str | None = None
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
    trace_id: str | None = None
    span_id: str | None = None
    time_unix_nano: int | str | None = None
    observed_time_unix_nano: int | str | None = None
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


def _spans_of_json(value: bytes | None) -> list[Span]:
    out: list[Span] = []
    for resource in _read_traces(value).resource_spans or ():
        own = (resource.resource or _Resource()).attributes
        shared = _picked_of_json(own, OF_RESOURCE, {})
        for scope in resource.scope_spans or ():
            out += [
                Span(
                    ids=ids_of(_id(span.trace_id), _id(span.span_id)),
                    start_ns=_whole(span.start_time_unix_nano),
                    end_ns=_whole(span.end_time_unix_nano),
                    failed=span.status is not None and span.status.code in (_FAILED, "STATUS_CODE_ERROR"),
                    attributes=_picked_of_json(span.attributes, OF_SPAN, shared),
                )
                for span in scope.spans or ()
            ]
    return out


def _logs_of_json(value: bytes | None) -> list[Log]:
    out: list[Log] = []
    for resource in _read_logs(value).resource_logs or ():
        for scope in resource.scope_logs or ():
            for log in scope.log_records or ():
                attributes = _picked_of_json(log.attributes, OF_LOG, {})
                out.append(
                    Log(
                        ids=ids_of(_id(log.trace_id), _id(log.span_id)),
                        time_ns=_whole(log.time_unix_nano) or _whole(log.observed_time_unix_nano),
                        event_name=_event_name(log.event_name or "", attributes),
                        attributes=attributes,
                    )
                )
    return out


def _picked_of_json(
    attributes: Iterable[_Attribute] | None, wanted: frozenset[str], shared: Attributes
) -> Attributes:
    found = shared.copy()
    for each in attributes or ():
        if each.key in wanted and (value := _of_json(_read_any(each.value))) is not None:
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
    return None if value.kvlist_value == value.bytes_value == _NOTHING else ()


def _id(text: str | None) -> bytes:
    if not text:
        return b""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise DecodeError("$.traceId or $.spanId", "expected hexadecimal digits") from None


def _whole(value: int | str | None) -> int:
    """A whole number of 64 bits; OTLP writes it as text, and reads either."""
    if value is None:
        return 0
    if isinstance(value, str):
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > _MOST_DIGITS:
            raise DecodeError("$", "expected a whole number of 64 bits as text")
        value = int(value)
    if not _LEAST <= value <= _MOST:
        raise DecodeError("$", "expected a whole number of 64 bits")
    return value


def _event_name(own: str, attributes: Attributes) -> str:
    older = attributes.get(EVENT_NAME, "")
    return own or (older if isinstance(older, str) else "")
