"""From a message of a collector's Kafka exporter, one batch, to what is mapped of its spans or log records.

Protobuf here, JSON in `otlp_json`.
"""

from collections.abc import Iterable
from typing import Any, Literal

from google.protobuf.message import DecodeError as ProtoError
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import Status, TracesData

from detector.service.otlp.logs import OF_LOG, event_name
from detector.service.otlp.model import Attributes, Log, Span, Value, ids_of
from detector.service.otlp.otlp_json import logs_of_json, spans_of_json
from detector.service.otlp.spans import OF_RESOURCE, OF_SPAN
from topics.errors import DecodeError

Encoding = Literal["otlp_proto", "otlp_json"]
_FAILED = Status.STATUS_CODE_ERROR
_SCALARS = frozenset({"string_value", "bool_value", "int_value", "double_value"})


def decode_spans(value: bytes | None, encoding: Encoding) -> list[Span]:
    """All spans of a batch.

    Raises:
        DecodeError: and nothing else, whatever the bytes.
    """
    return _spans_of_proto(value) if encoding == "otlp_proto" else spans_of_json(value)


def decode_logs(value: bytes | None, encoding: Encoding) -> list[Log]:
    """All log records of a batch.

    Raises:
        DecodeError: and nothing else, whatever the bytes.
    """
    return _logs_of_proto(value) if encoding == "otlp_proto" else logs_of_json(value)


def _spans_of_proto(value: bytes | None) -> list[Span]:
    # Messages are wrapped anew at each access, so everything is looked at once.
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
                        event_name=event_name(log.event_name, attributes),
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
        hint = "; this looks like JSON, see --encoding" if value.lstrip()[:1] == b"{" else ""
        raise DecodeError("$", f"expected a batch in OTLP's protobuf: {error}{hint}") from None


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
