"""The AsyncAPI 3.1.0 document of the surface, built from the topics and records as declared.

Topics that carry bytes of no fixed form (dead letters) or that only the detector reads (snapshots)
are left out of the operations; dead letters are described as what they are, bytes.
"""

from typing import Any

import msgspec

from detector import __version__
from topics.cloudevents import ACTIVATED, DEACTIVATED, OWNER, REVISED
from topics.names import DEFAULT_PARTITIONS, Topic, Topics, topics
from topics.schema import RECORDS

_BINDING = "0.5.0"
_HEADERS: dict[str, Any] = {
    "type": "object",
    "required": ["ce_specversion", "ce_type", "ce_source", "ce_id"],
    "properties": {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_type": {"type": "string", "enum": [ACTIVATED, REVISED, DEACTIVATED, OWNER]},
        "ce_source": {"type": "string"},
        "ce_id": {"type": "string", "description": "scope/epoch/revision; audited only: scope/epoch/stale-1"},
        "ce_subject": {"type": "string"},
        "ce_time": {"type": "string", "format": "date-time"},
    },
}
# Record name of topics.schema -> who sends it, on which topic, and what one is.
_MESSAGES: tuple[tuple[str, str, str, str], ...] = (
    ("telemetry", "telemetry", "receive", "One LLM call, keyed by its route."),
    ("evaluation", "evaluations", "receive", "A verdict that comes later than its call."),
    ("control", "control", "send", "The full present state of one scope."),
    ("owner", "control", "send", "A claim on a partition, then its heartbeat."),
    ("control", "transitions", "send", "Every transition, with its disposition."),
    ("override", "overrides", "receive", "An operator's order for one scope."),
    ("ack", "acks", "receive", "A gateway has applied a change of state."),
)
# AsyncAPI's Kafka binding names these settings and no others.
_KNOWN_SETTINGS = (
    "cleanup.policy",
    "retention.ms",
    "retention.bytes",
    "delete.retention.ms",
    "max.message.bytes",
)


def asyncapi_document(prefix: str = "", partitions: int = DEFAULT_PARTITIONS) -> dict[str, Any]:
    """Describe every public topic and message; `partitions` is the telemetry topic's count."""
    declared = topics(prefix)
    _, schemas = msgspec.json.schema_components(RECORDS.values(), ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "LLM fallback detector",
            "version": __version__,
            "description": "Telemetry of LLM calls in, fallback state per scope out.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {name: _channel(name, topic, partitions) for name, topic in _public(declared)},
        "operations": _operations(),
        "components": {"messages": _messages(declared), "schemas": schemas},
    }


def _public(declared: Topics) -> list[tuple[str, Topic]]:
    return [(name, getattr(declared, name)) for name in declared.__slots__ if name != "snapshots"]


def _channel(name: str, topic: Topic, partitions: int) -> dict[str, Any]:
    messages = [record for record, channel, _, _ in _MESSAGES if channel == name] or ["deadletter"]
    known = {key: _typed(key, topic.settings[key]) for key in _KNOWN_SETTINGS if key in topic.settings}
    others = {key: value for key, value in topic.settings.items() if key not in known}
    return {
        "address": topic.name,
        "description": f"Key: {topic.key}.",
        "messages": {message: {"$ref": f"#/components/messages/{message}"} for message in messages},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions or partitions,
                "topicConfiguration": known,
                "bindingVersion": _BINDING,
            }
        },
    } | ({"x-topic-settings": others} if others else {})


def _typed(setting: str, value: str) -> Any:
    return [value] if setting == "cleanup.policy" else int(value)


def _operations() -> dict[str, Any]:
    return {
        f"{action}{channel.capitalize()}": {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": summary,
        }
        for channel, action, summary in {(c, a): (c, a, s) for _, c, a, s in reversed(_MESSAGES)}.values()
    }


def _messages(declared: Topics) -> dict[str, Any]:
    messages: dict[str, Any] = {}
    for record, channel, _, summary in _MESSAGES:
        topic: Topic = getattr(declared, channel)
        messages.setdefault(
            record,
            {
                "name": RECORDS[record].__name__,
                "summary": summary,
                "contentType": "application/json",
                "payload": {"$ref": f"#/components/schemas/{RECORDS[record].__name__}"},
                "bindings": {
                    "kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": _BINDING}
                },
            }
            | ({"headers": _HEADERS} if channel == "control" else {}),
        )
    messages["deadletter"] = {
        "name": "DeadLetter",
        "summary": "The original bytes, with detector.errors.* headers that say what was wrong.",
        "contentType": "application/octet-stream",
    }
    return messages
