"""What the dead letters keep of one span or log record of a batch: what is read of it, in OTLP's JSON.

The batch itself may hold what nobody shall keep: the text of prompts and answers. Pure.
"""

from typing import Any

import msgspec

from detector.service.otlp.model import Attributes, Log, Span, Value

_TRACE_BYTES = 16


def letter_of_span(span: Span) -> bytes:
    """A batch of this span alone."""
    body = {
        **_ids(span.ids),
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(span.attributes),
        "status": {"code": 2} if span.failed else {},
    }
    return msgspec.json.encode({"resourceSpans": [{"scopeSpans": [{"spans": [body]}]}]})


def letter_of_log(log: Log) -> bytes:
    """A batch of this log record alone."""
    body = {
        **_ids(log.ids),
        "timeUnixNano": str(log.time_ns),
        "eventName": log.event_name,
        "attributes": _attributes(log.attributes),
    }
    return msgspec.json.encode({"resourceLogs": [{"scopeLogs": [{"logRecords": [body]}]}]})


def _ids(ids: bytes) -> dict[str, str]:
    return {"traceId": ids[:_TRACE_BYTES].hex(), "spanId": ids[_TRACE_BYTES:].hex()} if ids else {}


def _attributes(attributes: Attributes) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any(value)} for key, value in attributes.items()]


def _any(value: Value) -> dict[str, Any]:
    if isinstance(value, tuple):
        return {"arrayValue": {"values": [_any(each) for each in value]}}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": value}
