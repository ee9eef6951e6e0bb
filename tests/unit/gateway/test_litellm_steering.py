"""Where LiteLLM's calls go: laws, whatever the detector says and whatever groups a proxy has."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.gateway.adapters.litellm.steering import allowed, course_of, forget, note_in, steer
from detector.gateway.decision import Decision

_NAME = st.sampled_from(["rule", "cache", "secondary", "chat"])
_GROUPS = st.sets(st.sampled_from(["rule", "cache", "secondary", "chat", "chat/rule", "chat/cache", "pool"]))
_IDS = st.lists(st.sampled_from("abcd"), min_size=1, unique=True)
_DECISIONS = st.builds(
    Decision,
    state=st.sampled_from(["active", "inactive"]),
    fallbacks=st.lists(_NAME, unique=True).map(tuple),
    avoid=st.lists(st.sampled_from("abcd"), unique=True).map(tuple),
    probe=st.booleans(),
    probe_deployment=st.sampled_from(["", "a"]),
)


def _steered(
    decision: Decision, groups: set[str], call_type: str = "acompletion", **data: Any
) -> dict[str, Any]:
    data = {"model": "chat", **data}
    steer(data, course_of(decision, "chat", "default", call_type, groups))
    return data


@given(decision=_DECISIONS, groups=_GROUPS)
def test_a_call_goes_to_its_primary_or_to_a_group_that_exists(decision: Decision, groups: set[str]) -> None:
    """Never nowhere; away from the primary only where the detector says so, and then to the best there is."""
    data = _steered(decision, groups)
    chain = [data["model"], *(each for each in data.get("fallbacks", []) if isinstance(each, str))]

    assert set(chain) <= groups | {"chat"}
    assert len(set(chain)) == len(chain)
    if decision.use_primary:
        assert data["model"] == "chat"
    else:
        known = [name for name in decision.fallbacks if {name, f"chat/{name}"} & (groups - {"chat"})]
        assert (data["model"] == "chat") == (not known)
        assert [note_in(data)["names"].get(group, "") for group in chain if group != "chat"] == known
        assert chain[-1] == "chat", "an impaired answer is better than none"


@given(decision=_DECISIONS, groups=_GROUPS)
def test_a_call_to_the_primary_of_an_active_scope_is_a_probe(decision: Decision, groups: set[str]) -> None:
    data = _steered(decision, groups)

    if decision.state == "active" and data["model"] == "chat":
        assert note_in(data)["probe"]


@given(decision=_DECISIONS, groups=_GROUPS, ids=_IDS)
def test_some_deployment_is_always_left(decision: Decision, groups: set[str], ids: list[str]) -> None:
    """One to avoid is left out while there is another; a probe of one goes there once, retries elsewhere."""
    note = note_in(_steered(decision, groups))
    first, second = allowed(note, ids), allowed(note, ids)

    assert first
    assert second
    assert first | second <= set(ids)
    tried = decision.probe_deployment
    off = {*decision.avoid, tried}
    assert first == ({tried} if tried in ids else (set(ids) - off or set(ids)))
    assert second == (set(ids) - off or set(ids))


@given(decision=_DECISIONS, groups=_GROUPS)
def test_what_was_decided_travels_as_json(decision: Decision, groups: set[str]) -> None:
    """LiteLLM copies and logs the metadata of a call."""
    note = note_in(_steered(decision, groups))

    assert json.loads(json.dumps(note)) == note


def test_a_group_made_for_the_route_comes_before_one_for_all() -> None:
    decision = Decision(state="active", fallbacks=("rule", "cache"))

    data = _steered(decision, {"rule", "chat/rule", "cache"})

    assert (data["model"], data["fallbacks"]) == ("chat/rule", ["cache", "chat"])
    assert "num_retries" not in data


@pytest.mark.parametrize("call_type", ["aembedding", "aimage_generation", "arerank"])
def test_other_calls_than_for_text_go_only_to_groups_made_for_their_route(call_type: str) -> None:
    """A group that answers in text cannot embed."""
    decision = Decision(state="active", fallbacks=("rule", "cache"))

    assert _steered(decision, {"rule", "cache"}, call_type)["model"] == "chat"
    assert _steered(decision, {"rule", "chat/cache"}, call_type)["model"] == "chat/cache"


def test_a_probe_is_tried_once_and_then_answered_by_a_fallback() -> None:
    data = _steered(Decision(state="active", fallbacks=("rule",), probe=True), {"rule"}, num_retries=3)

    assert (data["model"], data["fallbacks"], data["num_retries"]) == ("chat", ["rule"], 0)


def test_fallbacks_that_the_caller_names_stand() -> None:
    decision = Decision(state="active", fallbacks=("rule", "cache"), probe=True)

    data = _steered(decision, {"rule", "cache"}, fallbacks=["mine"], num_retries=3)

    assert (data["model"], data["fallbacks"], data["num_retries"]) == ("chat", ["mine"], 3)


@pytest.mark.parametrize("asked", [{"fallbacks": []}, {"disable_fallbacks": True}])
def test_who_wants_no_fallbacks_is_not_probed_with(asked: dict[str, Any]) -> None:
    """Nobody would answer if it fails; the caller of a steered call has one group, as asked."""
    decision = Decision(state="active", fallbacks=("rule", "cache"), probe=True)

    data = _steered(decision, {"rule", "cache"}, **asked)

    assert data["model"] == "rule"
    assert not note_in(data)["probe"]


def test_who_wants_no_fallbacks_is_not_probed_with_for_a_deployment_either() -> None:
    decision = Decision(avoid=("b",), probe=True, probe_deployment="a")

    note = note_in(_steered(decision, set(), disable_fallbacks=True))

    assert (note["probe"], note["course"]) == (False, "avoid")
    assert allowed(note, ["a", "b", "c"]) == {"c"}


def test_a_probe_of_a_deployment_is_tried_once_and_then_answered_by_a_sibling() -> None:
    """Whatever the router's retries are."""
    data = _steered(Decision(probe=True, probe_deployment="a"), set(), num_retries=3)

    assert data["fallbacks"] == [{"model": "chat", "_excluded_deployment_ids": ["a"]}]
    assert data["num_retries"] == 0


@pytest.mark.parametrize(
    ("brought", "forgiven"),
    [
        ({}, []),
        ({"timeout": 600, "request_timeout": 600}, []),  # the proxy's own, from its command line
        ({"client_side_timeout": True}, ["408"]),
        ({"api_key": "mine"}, ["401", "403"]),
        ({"api_key": None}, []),
        ({"headers": {"authorization": "mine"}}, ["401", "403"]),
        ({"extra_headers": {"Traceparent": "00-"}}, []),
        ({"extra_headers": {"traceparent": "00-", "authorization": "mine"}}, ["401", "403"]),
        ({"previous_response_id": "r1"}, ["404"]),
        ({"extra_body": {"top_k": 3}}, []),
    ],
)
def test_what_fails_by_what_its_caller_brought_is_forgiven(
    brought: dict[str, Any], forgiven: list[str]
) -> None:
    """And nothing else: a provider that hangs is to be found behind callers of any kind."""
    assert note_in(_steered(Decision(), set(), **brought))["forgiven"] == forgiven


@pytest.mark.parametrize(
    ("decision", "course"),
    [
        (Decision(), ""),
        (Decision(avoid=("a",)), "avoid"),
        (Decision(probe=True, probe_deployment="a"), "probe"),
        (Decision(state="active", fallbacks=("rule",)), "fallback"),
        (Decision(state="active", fallbacks=("rule",), probe=True), "probe"),
        (Decision(state="active", fallbacks=("unknown",)), "probe"),
    ],
)
def test_the_course_in_a_word(decision: Decision, course: str) -> None:
    assert note_in(_steered(decision, {"rule"}))["course"] == course


def test_healthy_calls_are_left_as_they_are() -> None:
    data = _steered(Decision(), {"rule"}, temperature=0)

    assert {name: value for name, value in data.items() if name != "metadata"} == {
        "model": "chat",
        "temperature": 0,
    }


@pytest.mark.parametrize("name", ["metadata", "litellm_metadata"])
def test_a_note_that_the_caller_wrote_is_forgotten(name: str) -> None:
    data = {"model": "chat", "metadata": {}, name: {"detector": {"route": "forged"}, "team": "a"}}

    forget(data)

    assert note_in(data) is None
    assert data[name] == {"team": "a"}


def test_newer_endpoints_keep_the_proxys_metadata_apart() -> None:
    """The caller's `metadata` goes to the provider there, which may refuse what is no text."""
    data = _steered(Decision(), set(), metadata={"theirs": "x"}, litellm_metadata={})

    assert data["metadata"] == {"theirs": "x"}
    assert note_in(data)["route"] == "chat"
