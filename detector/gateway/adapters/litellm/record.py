"""From what LiteLLM logs of a call to a telemetry record: no text, no keys, no addresses.

Pure. LiteLLM's `StandardLoggingPayload` is some 12 kB and has prompts and answers in it; a record has none.
"""

from collections.abc import Mapping
from typing import Any

from topics.telemetry import PRIMARY, TelemetryRecord
from topics.types import LONGEST_NAME

CACHE = "litellm_cache"  # who served a call that LiteLLM answered from its own cache

# Malformed, too long, gone before the answer came: the caller's own fault tells nothing of the primary.
CALLERS_FAULT = frozenset({"400", "413", "422", "499"})


def record_of(payload: Mapping[str, Any], note: Mapping[str, Any] | None) -> TelemetryRecord | None:
    """What one call, or one of several attempts at it, tells the detector.

    Args:
        payload: LiteLLM's `standard_logging_object`.
        note: what was decided about the call; None where nobody was asked.

    Returns:
        The record; None for a call that tells nothing: without a model group, its caller's own fault, or a
        probe that LiteLLM sent nowhere as it had all deployments in a cooldown of its own.
    """
    group, ended = payload.get("model_group"), payload.get("endTime")
    failed = payload.get("status") == "failure"
    if not group or not ended or (failed and _callers_fault(payload)):
        return None
    route = note["route"] if note is not None else group
    served_by = _served_by(payload, note, route, group)
    probe = served_by == PRIMARY and _is_probe(payload, note)
    if probe and failed and not payload.get("model_id"):
        return None
    began = payload.get("startTime") or ended
    first = payload.get("completionStartTime") if payload.get("stream") and not failed else None
    return TelemetryRecord(
        event_time=float(ended),
        route=_label(route),
        request_id=_label(payload.get("id") or payload.get("litellm_call_id")),
        deployment=_label(payload.get("model_id")),
        model=_label(payload.get("model")),
        provider=_label(payload.get("custom_llm_provider")),
        tenant=_tenant(payload.get("metadata")),
        finish_reason="" if failed else _finish_reason(payload.get("response")),
        input_class=_label(note["input_class"]) if note is not None else "default",
        served_by=_label(served_by),
        probe=probe,
        # Not its `response_time`: of a stream that is the time to the first token.
        latency_s=max(0.0, ended - began),
        ttft_s=max(0.0, first - began) if first else None,
        # A call that failed has counts of 0, which were not measured.
        input_tokens=None if failed else _count(payload.get("prompt_tokens")),
        output_tokens=None if failed else _count(payload.get("completion_tokens")),
        error=_error(payload) if failed else "",
    )


def _is_probe(payload: Mapping[str, Any], note: Mapping[str, Any] | None) -> bool:
    if note is None or not note["probe"]:
        return False
    return not note["probe_deployment"] or note["probe_deployment"] == payload.get("model_id")


def _served_by(payload: Mapping[str, Any], note: Mapping[str, Any] | None, route: str, group: str) -> str:
    if payload.get("cache_hit"):
        return CACHE
    if group == route:
        return PRIMARY
    names = note["names"] if note is not None else {}
    return str(names.get(group, group))  # a group that LiteLLM's own fallbacks chose has only its own name


def _callers_fault(payload: Mapping[str, Any]) -> bool:
    return str(_information(payload).get("error_code") or "") in CALLERS_FAULT


def _error(payload: Mapping[str, Any]) -> str:
    information = _information(payload)
    return _label(information.get("error_class") or information.get("error_code")) or "_OTHER"


def _information(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    found = payload.get("error_information")
    return found if isinstance(found, Mapping) else {}


def _tenant(metadata: Any) -> str:
    """Whose call it was: the team, else the key, of which LiteLLM keeps a hash."""
    if not isinstance(metadata, Mapping):
        return ""
    return _label(metadata.get("user_api_key_team_id") or metadata.get("user_api_key_hash"))


def _finish_reason(response: Any) -> str:
    choices = response.get("choices") if isinstance(response, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return _label(first.get("finish_reason")) if isinstance(first, Mapping) else ""


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _label(value: Any) -> str:
    return value[:LONGEST_NAME] if isinstance(value, str) else ""
