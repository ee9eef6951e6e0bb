"""Batches as a collector writes them, one line each; times are given as seconds after `T0`."""

import base64
import itertools
import json
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from tests.builders import T0

EVALUATION = "gen_ai.evaluation.result"
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "chat"}
_numbers = itertools.count(1)


def trace_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


def any_value(value: Any) -> AnyValue:
    """As an SDK writes a value of Python."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[any_value(each) for each in value]))
    if isinstance(value, dict):
        made = AnyValue()
        made.kvlist_value.values.extend(_pairs(value))
        return made
    return AnyValue(string_value=value)


def _pairs(attributes: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def span(
    attributes: dict[str, Any] | None = None,
    *,
    number: int | None = None,
    at: float = 0.0,
    took: float = 0.25,
    failed: bool = False,
    since: float = T0,
) -> Span:
    """A span that ended `at` seconds after `since`; of a chat, unless other attributes are given."""
    number = next(_numbers) if number is None else number
    end = round((since + at) * 1_000_000) * 1000
    made = Span(
        trace_id=trace_id(number),
        span_id=span_id(number),
        name="chat",
        start_time_unix_nano=end - round(took * 1_000_000) * 1000,
        end_time_unix_nano=end,
        attributes=_pairs(CHAT if attributes is None else attributes),
    )
    if failed:
        made.status.code = 2
    return made


def traces(*spans: Span, resource: dict[str, Any] | None = None) -> TracesData:
    """A batch of spans of one resource."""
    batch = TracesData()
    group = batch.resource_spans.add()
    group.resource.attributes.extend(_pairs(resource or {}))
    group.scope_spans.add().spans.extend(spans)
    return batch


def log(
    attributes: dict[str, Any] | None = None,
    *,
    number: int | None = None,
    event_name: str = EVALUATION,
    at: float = 1.0,
    since: float = T0,
) -> LogRecord:
    """A log record made `at` seconds after `since`; with `number`, of that span."""
    made = LogRecord(
        time_unix_nano=round((since + at) * 1_000_000) * 1000,
        event_name=event_name,
        attributes=_pairs(attributes or {}),
    )
    if number is not None:
        made.trace_id, made.span_id = trace_id(number), span_id(number)
    return made


def verdict(name: str = "faithfulness", label: str = "fail", **more: Any) -> LogRecord:
    """An evaluation with a label; `more` as of `log`."""
    attributes = {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.label": label}
    return log(attributes | more.pop("attributes", {}), **more)


def batch_of_logs(*records: LogRecord) -> LogsData:
    """A batch of log records."""
    batch = LogsData()
    batch.resource_logs.add().scope_logs.add().log_records.extend(records)
    return batch


def as_json(batch: Message) -> bytes:
    """The batch as a collector writes `otlp_json`: protobuf's JSON, but with ids in hexadecimal digits."""
    return json.dumps(_hexed(json_format.MessageToDict(batch, use_integers_for_enums=True))).encode()


def _hexed(node: Any) -> Any:
    if isinstance(node, list):
        return [_hexed(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: base64.b64decode(value).hex() if key in ("traceId", "spanId", "parentSpanId") else _hexed(value)
        for key, value in node.items()
    }
