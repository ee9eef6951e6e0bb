"""From what LiteLLM logs of a call to a telemetry record: no text, no keys, no addresses.

Pure. LiteLLM's `StandardLoggingPayload` is some 12 kB and has prompts and answers in it; a record has none.
"""

from collections.abc import Mapping
from typing import Any

from topics.telemetry import CALLERS_FAULT, PRIMARY, TelemetryRecord

CACHE = "litellm_cache"  # who served a call that LiteLLM answered from its own cache

_LEFT = "499"
_NOWHERE = "RouterRateLimitError"  # LiteLLM has all deployments of the group in a cooldown of its own


def record_of(payload: Mapping[str, Any], note: Mapping[str, Any] | None) -> TelemetryRecord | None:
    """What one call, or one of several attempts at it, tells the detector.

    Args:
        payload: LiteLLM's `standard_logging_object`.
        note: what was decided about the call; None where nobody was asked.

    Returns:
        The record; None for a call that tells nothing: without a model group, its caller's own fault, or sent
        nowhere while there were fallbacks to answer it.
    """
    group, ended = payload.get("model_group"), payload.get("endTime")
    failed = payload.get("status") == "failure"
    if not group or not ended or (failed and _tells_nothing(payload, note)):
        return None
    route = note["route"] if note is not None else group
    served_by = _served_by(payload, note, route, group)
    began = payload.get("startTime") or ended
    first = payload.get("completionStartTime") if payload.get("stream") and not failed else None
    # Who leaves a stream half way is logged as answered: with the tokens and the time until then.
    cut = failed or _code(payload) == _LEFT
    return TelemetryRecord(
        event_time=float(ended),
        route=_text(route),
        request_id=_text(payload.get("id") or payload.get("litellm_call_id")),
        deployment=_text(payload.get("model_id")),
        model=_text(payload.get("model")),
        provider=_text(payload.get("custom_llm_provider")),
        tenant=_tenant(payload.get("metadata")),
        finish_reason="" if cut else _finish_reason(payload.get("response")),
        input_class=_text(note["input_class"]) if note is not None else "default",
        served_by=_text(served_by),
        probe=served_by == PRIMARY and _is_probe(payload, note),
        # Not its `response_time`: of a stream that is the time to the first token.
        latency_s=max(0.0, ended - began) if failed or not cut else None,
        ttft_s=max(0.0, first - began) if first else None,
        # A call that failed has counts of 0, which were not measured.
        input_tokens=None if failed else _count(payload.get("prompt_tokens")),
        output_tokens=None if cut else _count(payload.get("completion_tokens")),
        error=_error(payload) if failed else "",
    )


def _tells_nothing(payload: Mapping[str, Any], note: Mapping[str, Any] | None) -> bool:
    if note is None:
        return _code(payload) in CALLERS_FAULT
    if _code(payload) in CALLERS_FAULT.union(note["forgiven"]):
        return True
    # By the time that it is logged the call may have gone on to a fallback, which would seem to have failed.
    nowhere = _information(payload).get("error_class") == _NOWHERE
    return nowhere and (note["probe"] or bool(note["names"]))


def _is_probe(payload: Mapping[str, Any], note: Mapping[str, Any] | None) -> bool:
    """Whether the primary, or the deployment, was one to keep off."""
    if note is None:
        return False
    deployment = payload.get("model_id")
    return bool(note["active"] or (deployment and deployment in (note["probe_deployment"], *note["avoid"])))


def _served_by(payload: Mapping[str, Any], note: Mapping[str, Any] | None, route: str, group: str) -> str:
    if payload.get("cache_hit") and payload.get("status") != "failure":
        return CACHE
    if group == route:
        return PRIMARY
    names = note["names"] if note is not None else {}
    return str(names.get(group, group))  # a group that LiteLLM's own fallbacks chose has only its own name


def _code(payload: Mapping[str, Any]) -> str:
    return str(_information(payload).get("error_code") or "")


def _error(payload: Mapping[str, Any]) -> str:
    information = _information(payload)
    return _text(information.get("error_class") or information.get("error_code")) or "_OTHER"


def _information(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    found = payload.get("error_information")
    return found if isinstance(found, Mapping) else {}


def _tenant(metadata: Any) -> str:
    """Whose call it was: the team, else the key, of which LiteLLM keeps a hash."""
    if not isinstance(metadata, Mapping):
        return ""
    return _text(metadata.get("user_api_key_team_id") or metadata.get("user_api_key_hash"))


def _finish_reason(response: Any) -> str:
    choices = response.get("choices") if isinstance(response, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return _text(first.get("finish_reason")) if isinstance(first, Mapping) else ""


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
