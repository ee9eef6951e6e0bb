"""What a condition on several predicates means, and that acting, notices and shadows heed it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.contract import check_text, load_contract
from detector.contract.model import Condition, Mode
from detector.modes.compose import evidence_of, holding
from detector.modes.machine import ScopeMachine
from tests.builders import T0, contract, spec
from topics.control import Evidence

NAMES = ("a", "b", "c", "d")
TEXT = """version: 1
predicates:
  a: {{type: rate, field: error, ceiling: 0.01, where: {{tenant: acme, probe: [true, false]}}}}
  b: {{type: rate, field: refused, ceiling: 0.01}}
modes: {{m: {{when: {when}, severity: notice}}}}
"""
LATCHED = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.integers(0, 9), st.integers(0, 99)), max_size=4
).map(
    lambda found: {
        name: Evidence(predicate=name, event_time=float(at), offset=offset)
        for name, (at, offset) in found.items()
    }
)


def mode(least, names=NAMES, **keys):
    return Mode(name="m", when=Condition(least, tuple(names)), **keys)


@given(latched=LATCHED, least=st.integers(1, 4))
def test_a_condition_holds_from_the_record_at_which_enough_of_them_did(latched, least):
    """At least n: fewer give None; else the evidence is one of them, and n - 1 others are no later."""
    found = evidence_of(mode(least), latched)

    assert (found is None) == (len(latched) < least)
    if found is not None:
        place = (found.event_time, found.offset)
        earlier = [each for each in latched.values() if (each.event_time, each.offset) <= place]
        later = [each for each in latched.values() if (each.event_time, each.offset) >= place]
        assert len(earlier) >= least
        assert len(later) >= len(latched) - least + 1
        assert holding(mode(least), latched) == tuple(name for name in NAMES if name in latched)


@given(latched=LATCHED, least=st.integers(1, 3))
def test_asking_for_more_never_holds_more(latched, least):
    """What holds with n + 1 holds with n, and came to hold no later."""
    more, fewer = evidence_of(mode(least + 1), latched), evidence_of(mode(least), latched)
    if more is not None:
        assert fewer is not None
        assert fewer.event_time <= more.event_time


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("a", "a"),
        ("{all: [a, b]}", Condition(2, ("a", "b"))),
        ("{any: [a, b]}", Condition(1, ("a", "b"))),
        ("{at_least: {n: 2, of: [a, b]}}", Condition(2, ("a", "b"))),
    ],
)
def test_the_contract_says_it(when, expected):
    """Each way of writing a condition, and the filter beside it, loads as what it means."""
    loaded = load_contract(TEXT.format(when=when))

    assert loaded.modes["m"].when == expected
    assert loaded.predicates["a"].where == (("tenant", ("acme",)), ("probe", (True, False)))
    assert {found.rule for found in check_text(TEXT.format(when=when))} <= {"unused-predicate"}


@pytest.mark.parametrize(
    ("when", "rules"),
    [
        ("{all: [a, x]}", {"unknown-predicate", "unused-predicate"}),
        ("{all: [a, a]}", {"repeated-name", "unused-predicate"}),
        ("{any: []}", {"empty-list"}),
        ("{}", {"condition-shape"}),
        ("{at_least: {n: 0, of: [a, b]}}", {"out-of-range"}),
        ("{at_least: {of: [a, b]}}", {"missing-key"}),
        ("{most: [a]}", {"unknown-key"}),
        ("[a, b]", {"wrong-type"}),
        ("{all: [{any: [a]}, b]}", {"wrong-type"}),
    ],
)
def test_each_way_to_be_wrong_is_told_once(when, rules):
    """Every slip has its rule, says what to do, and drags nothing else along but what it leaves unused."""
    findings = check_text(TEXT.format(when=when))

    assert {found.rule for found in findings} - {"unused-predicate"} == rules - {"unused-predicate"}
    assert all(found.advice for found in findings)


def play(subject, signal):
    """A letter holds for a second, `X` both."""
    sets = {".": "", "a": "a", "b": "b", "X": "ab"}
    states, told = "", []
    for second, symbol in enumerate(signal):
        held = {
            name: Evidence(predicate=name, value=0.5, threshold=0.1, event_time=T0 + second, offset=second)
            for name in sets[symbol]
        }
        told += subject.step(T0 + second, held)
        states += {"inactive": "-", "pending": "p", "active": "A", "recovering": "r"}[subject.status.state]
    return states, told


@pytest.mark.parametrize(
    ("least", "signal", "states"),
    [
        pytest.param(2, "aabb..XX....", "------AArrr-", id="all: each alone does nothing"),
        pytest.param(1, "..a.b.......", "--ArArrr----", id="any: either does"),
        pytest.param(2, "XXa....", "AArrr--", id="all: over once one is"),
    ],
)
def test_a_condition_acts_like_one_predicate(least, signal, states):
    """The state machine sees a condition come and go as it would see one predicate."""
    predicates = [spec("rate", name=name) for name in "ab"]
    subject = ScopeMachine(contract(predicates, [mode(least, "ab", keep_s=0.0)]), "chat", 0)

    assert play(subject, signal)[0] == states


@pytest.mark.parametrize(
    ("keys", "disposition"), [({"severity": "notice"}, "notice"), ({"shadow": True}, "shadow")]
)
def test_a_composed_notice_or_shadow_never_acts(keys, disposition):
    """They are told once when the condition is met, and once when it no longer is."""
    predicates = [spec("rate", name=name) for name in "ab"]
    subject = ScopeMachine(contract(predicates, [mode(2, "ab", **keys)]), "chat", 0)
    states, told = play(subject, ".aXXb.")

    assert set(states) == {"-"}
    assert [(each.kind, each.disposition, each.at - T0) for each in told] == [
        ("activated", disposition, 2),
        ("deactivated", disposition, 4),
    ]


def test_the_reason_names_all_that_hold():
    """Evidence is one predicate's; the sentence says which others the condition rests on."""
    predicates = [spec("rate", name=name) for name in "ab"]
    subject = ScopeMachine(contract(predicates, [mode(2, "ab")]), "chat", 0)
    (decision,) = play(subject, "X")[1]

    assert decision.evidence.predicate == "b"
    assert "with a" in decision.reason
