"""What is told of a call that LiteLLM logged; the payloads are as its proxy 1.106 makes them."""

from typing import Any

import pytest

from detector.gateway.adapters.litellm.record import CACHE, record_of
from detector.gateway.adapters.litellm.steering import course_of, note_in, steer
from detector.gateway.decision import Decision
from topics.codec import encode
from topics.telemetry import TelemetryRecord, decode_telemetry

PRIVATE = "never to be told"
BEGAN = 1_795_392_108.5


def _payload(**changed: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-7619",
        "litellm_call_id": "7915b33d",
        "call_type": "acompletion",
        "cache_hit": None,
        "stream": None,
        "status": "success",
        "custom_llm_provider": "openai",
        "startTime": BEGAN,
        "endTime": BEGAN + 0.5,
        "completionStartTime": BEGAN + 0.1,
        "response_time": 0.1,
        "model": "openai/fake",
        "model_group": "chat",
        "model_id": "primary-1",
        "api_base": PRIVATE,
        "prompt_tokens": 11,
        "completion_tokens": 5,
        "request_tags": [PRIVATE],
        "end_user": PRIVATE,
        "requester_ip_address": PRIVATE,
        "messages": [{"role": "user", "content": PRIVATE}],
        "response": {"choices": [{"finish_reason": "stop", "message": {"content": PRIVATE}}]},
        "error_str": None,
        "error_information": {"error_code": "", "error_class": "", "error_message": "", "traceback": ""},
        "metadata": {"user_api_key_hash": "abc", "user_api_key_alias": PRIVATE, "user_api_key_team_id": None},
    } | changed


def _failure(code: str, kind: str = "InternalServerError", **changed: Any) -> dict[str, Any]:
    said = {"error_code": code, "error_class": kind, "error_message": PRIVATE, "traceback": PRIVATE}
    counts = {"prompt_tokens": 0, "completion_tokens": 0}
    return (
        _payload(status="failure", error_information=said, error_str=PRIVATE, response={}, **counts) | changed
    )


def _note(*, asked: dict[str, Any] | None = None, **decided: Any) -> dict[str, Any]:
    data = {"model": "chat", **(asked or {})}
    steer(data, course_of(Decision(**decided), "chat", "high_risk", "acompletion", {"chat/rule", "backup"}))
    note = note_in(data)
    assert note is not None
    return note


def _told(payload: dict[str, Any], note: dict[str, Any] | None = None) -> TelemetryRecord:
    """As the detector reads it."""
    record = record_of(payload, note)
    assert record is not None
    data = encode(record)
    assert PRIVATE.encode() not in data
    return decode_telemetry(data)


def test_a_call_that_was_answered() -> None:
    assert _told(_payload(), _note()) == TelemetryRecord(
        event_time=BEGAN + 0.5,
        route="chat",
        request_id="chatcmpl-7619",
        deployment="primary-1",
        model="openai/fake",
        provider="openai",
        tenant="abc",
        finish_reason="stop",
        input_class="high_risk",
        latency_s=0.5,
        input_tokens=11,
        output_tokens=5,
    )


def test_a_streams_time_to_first_token_is_not_its_duration() -> None:
    """LiteLLM's own `response_time` is the former for streams and the latter for others."""
    record = _told(_payload(stream=True))

    assert (record.latency_s, record.ttft_s) == (0.5, pytest.approx(0.1))


def test_a_failed_call_has_no_tokens() -> None:
    """LiteLLM says 0, which would be a drift of lengths."""
    record = _told(_failure("500"))

    assert (record.error, record.input_tokens, record.output_tokens) == ("InternalServerError", None, None)


@pytest.mark.parametrize("code", ["400", "413", "422", "499"])
def test_the_callers_own_fault_is_not_told(code: str) -> None:
    assert record_of(_failure(code, "BadRequestError"), None) is None


@pytest.mark.parametrize("code", ["401", "403", "404", "408", "429", "500", "503", "", None])
def test_the_providers_fault_is(code: str) -> None:
    """A key that the provider no longer takes, or a model that it no longer has, is an outage as well."""
    assert _told(_failure(code, "", error_information=None)).error == "_OTHER"
    assert _told(_failure(code, "SomeError")).error == "SomeError"


@pytest.mark.parametrize(
    ("group", "served_by"),
    [("chat", "primary"), ("chat/rule", "rule"), ("backup", "backup"), ("of-litellm", "of-litellm")],
)
def test_whoever_answered_is_named_and_the_route_is_what_was_asked_for(group: str, served_by: str) -> None:
    """A fallback of LiteLLM's own too: it must not be taken for the primary's recovery."""
    note = _note(state="active", fallbacks=("rule", "backup"), probe=True)

    record = _told(_payload(model_group=group), note)

    assert (record.route, record.served_by, record.probe) == ("chat", served_by, served_by == "primary")


def test_an_answer_from_litellms_cache_is_not_the_primarys() -> None:
    record = _told(_payload(cache_hit=True), _note(state="active", fallbacks=("rule",), probe=True))

    assert (record.served_by, record.probe) == (CACHE, False)
    assert _told(_failure("500", cache_hit=True)).served_by == "primary", "what failed was not in the cache"


def test_a_call_to_a_deployment_to_keep_off_is_a_probe_whoever_sent_it_there() -> None:
    """The router may have had to take another for the probe, or a sick one where no other was left."""
    note = _note(avoid=("sick",), probe=True, probe_deployment="tried")

    assert _told(_payload(model_id="tried"), note).probe
    assert _told(_payload(model_id="sick"), note).probe
    assert not _told(_payload(model_id="well"), note).probe
    assert not _told(_payload(model_id=""), _note()).probe, (
        "where no deployment has a name none is to be kept off"
    )


def test_a_primary_that_answered_after_all_was_a_probe() -> None:
    """No fallback could, and the call went to the primary of an active scope in the end."""
    record = _told(_payload(), _note(state="active", fallbacks=("rule",)))

    assert (record.served_by, record.probe) == ("primary", True)


@pytest.mark.parametrize("group", ["chat", "backup"])
def test_what_was_sent_nowhere_while_there_are_fallbacks_tells_nothing(group: str) -> None:
    """LiteLLM logs it late, under the group that the call went on to."""
    nowhere = _failure("429", "RouterRateLimitError", model_id=None, model_group=group, cache_hit=True)

    for probe in (True, False):
        assert record_of(nowhere, _note(state="active", fallbacks=("rule", "backup"), probe=probe)) is None
    assert _told(nowhere, _note()).error == "RouterRateLimitError"


def test_what_is_forgiven_a_call_is_not_told_and_the_rest_is() -> None:
    """With a time limit of 10 ms, or a key of its own, anybody could have a route diverted."""
    limited = _note(asked={"client_side_timeout": True})

    assert record_of(_failure("408", "Timeout"), limited) is None
    assert _told(_failure("408", "Timeout"), _note()).error == "Timeout"
    assert _told(_failure("500"), limited).error == "InternalServerError"
    assert _told(_failure("401", "AuthenticationError"), limited).error == "AuthenticationError"


def test_who_leaves_a_stream_half_way_does_not_make_answers_short() -> None:
    left = {"error_code": "499", "error_class": "ClientDisconnected"}

    record = _told(_payload(stream=True, error_information=left))

    assert (record.error, record.latency_s, record.output_tokens, record.finish_reason) == (
        "",
        None,
        None,
        "",
    )
    assert (record.ttft_s, record.input_tokens) == (pytest.approx(0.1), 11)


def test_what_nobody_was_asked_about_is_reported_under_its_group() -> None:
    record = _told(_payload(model_group="embeddings"))

    assert (record.route, record.served_by, record.input_class) == ("embeddings", "primary", "default")


def test_a_team_is_the_tenant_before_its_keys() -> None:
    metadata = {"user_api_key_hash": "abc", "user_api_key_team_id": "search"}

    assert _told(_payload(metadata=metadata)).tenant == "search"


@pytest.mark.parametrize("lost", ["model_group", "endTime"])
def test_what_cannot_be_placed_is_not_told(lost: str) -> None:
    assert record_of(_payload(**{lost: None}), None) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"startTime": None},
        {"startTime": BEGAN + 3600},
        {"stream": True, "completionStartTime": None},
        {"stream": True, "completionStartTime": BEGAN - 1},
        {"prompt_tokens": None, "completion_tokens": -1},
        {"response": "redacted"},
        {"response": {"choices": []}},
        {"metadata": None},
        {"model_id": 7, "custom_llm_provider": None, "id": None},
    ],
)
def test_whatever_is_missing_or_odd_the_detector_can_read_it(changed: dict[str, Any]) -> None:
    assert _told(_payload(**changed)).route == "chat"
