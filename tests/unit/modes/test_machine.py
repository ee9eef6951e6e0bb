"""The state machine of a scope as timelines: one symbol a second."""

import itertools

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detector.contract.model import Mode
from detector.modes.decision import event_id
from detector.modes.machine import ScopeMachine
from detector.modes.panic import Panic
from detector.modes.state import TRANSITIONS, IllegalTransitionError, State, legal
from detector.modes.voice import RAMP
from tests.builders import T0, contract, spec
from topics.control import Evidence

NAMES = "abc"
LETTERS = {"inactive": "-", "pending": "p", "active": "A", "recovering": "r", "withheld": "w"}


def machine(*modes, **defaults):
    """A machine over predicates a, b and c; unless given, mode `a` acts on predicate `a` at once."""
    predicates = [spec("rate", name=name) for name in NAMES]
    return ScopeMachine(
        contract(predicates, modes or [Mode(name="a", when="a", keep_s=0.0)], **defaults), "chat", 3
    )


def evidence(name):
    return Evidence(predicate=name, value=0.5, threshold=0.01, samples=10)


def holding(symbol):
    """`.` nothing, `!` the first predicate, a letter that predicate, a capital all up to it."""
    if symbol == "!":
        return {"a": evidence("a")}
    if symbol.isupper():
        return {name: evidence(name) for name in NAMES[: NAMES.index(symbol.lower()) + 1]}
    return {symbol: evidence(symbol)} if symbol in NAMES else {}


def in_panic(*modes):
    """A machine beside a route that takes up all the room there is, until the fourth second."""
    panic = Panic(0.5)
    for route in ("chat", "other"):
        panic.meet(route)
    panic.enter("other")
    predicates = [spec("rate", name=name) for name in NAMES]
    return ScopeMachine(contract(predicates, modes), "chat", 3, panic), panic


def play(subject, signal, start=0):
    """Step once a second; return the decisions of each second and a letter for each state."""
    decisions, states = [], ""
    for second, symbol in enumerate(signal, start):
        decisions.append(subject.step(T0 + second, holding(symbol)))
        states += LETTERS[subject.status.state]
    return decisions, states


def flat(decisions):
    return [each for second in decisions for each in second]


@pytest.mark.parametrize(
    ("signal", "states"),
    [
        pytest.param("..!!!.....", "--AAArrr--", id="acts at once, comes back in three steps"),
        pytest.param("!.!!!.....", "ArAAArrr--", id="a relapse on the ramp sends calls back at once"),
        pytest.param("!..!.....", "ArrArrr--", id="and on its last step"),
        pytest.param("!...!....", "ArrrArrr-", id="and just before its end"),
        pytest.param("!....!...", "Arrr-Arrr", id="a new fault begins anew"),
    ],
)
def test_without_hold_or_keep(signal, states):
    """A mode acts as soon as its predicate holds, and ends with it."""
    assert play(machine(), signal)[1] == states


@pytest.mark.parametrize(
    ("signal", "states"),
    [
        pytest.param("!!!!!!....", "pppAAArrr-", id="onset, then recovery"),
        pytest.param("!!.!!.....", "pp-pp-----", id="a blip shorter than hold never acts"),
        pytest.param("!!!!..!!..", "pppArrAArr", id="a relapse acts at once: the fault had been held for"),
        pytest.param("!!!.!!!!..", "ppp-pppArr", id="hold starts anew after a gap"),
    ],
)
def test_hold(signal, states):
    """With hold_s = 3 a predicate must hold for three seconds before its mode does."""
    assert play(machine(Mode(name="a", when="a", hold_s=3.0, keep_s=0.0)), signal)[1] == states


@pytest.mark.parametrize(
    ("signal", "states"),
    [
        pytest.param("!.........", "AAAAArrr--", id="least time active"),
        pytest.param("!!!!!!!...", "AAAAAAArrr", id="no longer than the fault"),
        pytest.param("!..!......", "AAAAArrr--", id="a relapse before it is over changes nothing"),
    ],
)
def test_keep(signal, states):
    """With keep_s = 5 the first attempt to revert comes no sooner than five seconds after activation."""
    assert play(machine(Mode(name="a", when="a", keep_s=5.0)), signal)[1] == states


def test_the_ramp_is_10_50_and_100_per_cent():
    """
    second      0    1    2    3    4
    predicate   !    .    .    .    .
    share     .05   .1   .5    1    1
    """
    decisions = flat(play(machine(), "!....")[0])

    assert [each.kind for each in decisions] == ["activated", "revised", "revised", "revised", "deactivated"]
    assert [each.primary_share for each in decisions] == [0.05, *RAMP, 1.0]
    assert [each.state for each in decisions] == ["active"] * 4 + ["inactive"]
    assert [each.at - T0 for each in decisions] == [0, 1, 2, 3, 4]


def test_an_activation_says_all_that_a_gateway_needs():
    """State, mode, fallbacks, share, probes, next attempt, evidence and reason are in the decision."""
    (decision,) = flat(play(machine(revert_within_s=10.0), "!")[0])

    assert (decision.scope, decision.route, decision.deployment, decision.partition) == (
        "chat",
        "chat",
        "",
        3,
    )
    assert (decision.state, decision.mode, decision.modes, decision.muted) == ("active", "a", ("a",), ())
    assert decision.fallbacks == {"*": ["rule"]}
    assert decision.probes_per_s > 0
    assert decision.next_revert_at == T0 + 10
    assert decision.evidence == evidence("a")
    assert decision.disposition == "act"
    assert "a at 0.5 against 0.01 over 10 records" in decision.reason
    assert decision.contract == "test"


def test_a_deactivation_leaves_nothing_standing():
    """Inactive means all calls to the primary, no fallbacks, no probes, no attempt due."""
    last = flat(play(machine(), "!....")[0])[-1]

    assert (last.kind, last.state, last.primary_share) == ("deactivated", "inactive", 1.0)
    assert (last.fallbacks, last.probes_per_s, last.next_revert_at) == ({}, None, None)


def test_what_is_over_holds_no_more_while_calls_return():
    """`mode` says what was acted on, `modes` and `muted` what holds: on the way back nothing does."""
    first, *back = flat(play(machine(*PRECEDENCE), "B....")[0])

    assert (first.mode, first.modes, first.muted) == ("cause", ("cause", "symptom"), ("symptom",))
    assert {(each.mode, each.modes, each.muted) for each in back} == {("cause", (), ())}


def test_attempts_to_revert_never_lie_more_than_ten_seconds_apart():
    """While a fault lasts, each attempt says that it did not succeed and when the next is due."""
    decisions = flat(play(machine(revert_within_s=10.0), "!" * 45)[0])
    times = [each.at - T0 for each in decisions]

    assert times == [0, 10, 20, 30, 40]
    assert [each.kind for each in decisions] == ["activated"] + ["extended"] * 4
    assert [each.next_revert_at - T0 for each in decisions] == [10, 20, 30, 40, 50]
    assert {(each.transition, each.event_id) for each in decisions} == {(1, event_id("chat", 1))}
    assert all("held back by a" in each.reason for each in decisions[1:])


def test_attempts_are_made_while_another_mode_comes_and_goes():
    """Each second is a revision: an attempt that is due is made all the same, and none is overdue."""
    subject = machine(*PRECEDENCE, revert_within_s=10.0)
    decisions = flat(play(subject, "bB" * 20)[0])

    assert [each.at - T0 for each in decisions if each.kind == "extended"] == [10, 20, 30]
    assert all(each.next_revert_at >= each.at for each in decisions)
    assert subject.status.overdue == 0


def test_an_attempt_that_succeeds_too_late_is_overdue():
    """Nobody looked for half a minute, and then all was over: it could have been seen before."""
    subject = machine(revert_within_s=10.0)
    play(subject, "!")
    play(subject, ".", start=30)

    assert subject.status.state is State.RECOVERING
    assert subject.status.overdue == 1


PRECEDENCE = (
    Mode(name="cause", when="a", mutes=("symptom",), keep_s=0.0),
    Mode(name="symptom", when="b", keep_s=0.0),
    Mode(name="other", when="c", keep_s=0.0),
)


@pytest.mark.parametrize(
    ("symbol", "mode", "modes", "muted"),
    [
        ("a", "cause", ("cause",), ()),
        ("b", "symptom", ("symptom",), ()),
        ("B", "cause", ("cause", "symptom"), ("symptom",)),
        ("C", "cause", ("cause", "symptom", "other"), ("symptom",)),
    ],
)
def test_the_first_mode_that_is_no_symptom_is_acted_on(symbol, mode, modes, muted):
    """The contract's order is precedence; a cause mutes its symptoms while it holds."""
    (decision,) = flat(play(machine(*PRECEDENCE), symbol)[0])

    assert (decision.mode, decision.modes, decision.muted) == (mode, modes, muted)


def test_a_cause_further_down_still_mutes():
    """A symptom that stands first in the order is not acted on while its cause holds."""
    late = (
        Mode(name="symptom", when="a", keep_s=0.0),
        Mode(name="cause", when="b", mutes=("symptom",), keep_s=0.0),
    )
    (decision,) = flat(play(machine(*late), "B")[0])

    assert (decision.mode, decision.muted) == ("cause", ("symptom",))


def test_modes_that_mute_each_other_do_not_mute_everything():
    """Two modes that call each other a symptom leave the first one acting."""
    both = (
        Mode(name="x", when="a", mutes=("y",), keep_s=0.0),
        Mode(name="y", when="b", mutes=("x",), keep_s=0.0),
    )

    assert flat(play(machine(*both), "B")[0])[0].mode == "x"


def test_a_change_of_what_holds_is_a_revision():
    """When a cause joins a symptom the mode changes, with a transition of its own, and back again."""
    decisions = flat(play(machine(*PRECEDENCE), "bBbb")[0])

    assert [(each.kind, each.mode) for each in decisions] == [
        ("activated", "symptom"),
        ("revised", "cause"),
        ("revised", "symptom"),
    ]
    assert [each.transition for each in decisions] == [1, 2, 3]


@pytest.mark.parametrize(
    ("mode", "disposition"),
    [
        (Mode(name="a", when="a", severity="notice"), "notice"),
        (Mode(name="a", when="a", shadow=True), "shadow"),
    ],
)
def test_notices_and_shadows_are_told_and_never_acted_on(mode, disposition):
    """They begin and end once each; the scope stays inactive and every call stays with the primary."""
    decisions, states = play(machine(mode), "..!!!!..")
    told = flat(decisions)

    assert set(states) == {"-"}
    assert [(each.kind, each.disposition, each.at - T0) for each in told] == [
        ("activated", disposition, 2),
        ("deactivated", disposition, 6),
    ]
    assert [each.primary_share for each in told] == [1.0, 1.0]


def test_a_shadow_beside_an_acting_mode_changes_nothing_of_it():
    """What gateways are told is the same whether a shadow mode holds or not."""
    acting = Mode(name="act", when="a", keep_s=0.0)
    shadow = Mode(name="shadow", when="b", shadow=True)
    alone = flat(play(machine(acting), "aaa....")[0])
    beside = [each for each in flat(play(machine(acting, shadow), "BBB....")[0]) if each.disposition == "act"]

    assert [(each.kind, each.at, each.mode, each.modes) for each in beside] == [
        (each.kind, each.at, each.mode, each.modes) for each in alone
    ]


SIGNALS = st.text(st.sampled_from("..!!bBcC"), min_size=1, max_size=60)
MODES = (
    Mode(name="a", when="a", hold_s=1.0, keep_s=3.0, mutes=("b",)),
    Mode(name="b", when="b", keep_s=0.0),
    Mode(name="c", when="c", severity="notice"),
)


@given(signal=SIGNALS)
@settings(max_examples=200)
def test_whatever_holds_the_machine_keeps_its_promises(signal):
    """
    Every move is legal, transitions count up by one and notices apart from them, ids follow from the counts,
    attempts while active are at most ten seconds apart, and the share is the state's.
    """
    subject = machine(*MODES)
    before, told = State.INACTIVE, T0
    counted = {True: 0, False: 0}
    for second, symbol in enumerate(signal):
        now = T0 + second
        for each in subject.step(now, holding(symbol)):
            acts = each.disposition == "act"
            assert each.transition == counted[acts] + (each.kind != "extended")
            counted[acts] = each.transition
            assert each.event_id == event_id("chat" if acts else "chat/notice", each.transition)
            if each.disposition == "act":
                told = now
                assert (each.state == "active") == (each.primary_share < 1 or each.probes_per_s is not None)
        status = subject.status
        assert before is status.state or (before, status.state) in TRANSITIONS
        if status.state is State.ACTIVE:
            assert now - told <= 10
            assert 0 < status.next_revert_at - now <= 10
        before = status.state


@given(signal=SIGNALS, after=SIGNALS)
def test_a_machine_goes_on_from_its_state(signal, after):
    """State through msgpack into a new machine: every later decision is the same."""
    subject, taken = machine(*MODES), machine(*MODES)
    play(subject, signal)
    taken.load(msgspec.msgpack.decode(msgspec.msgpack.encode(subject.state())))

    assert play(taken, after, len(signal)) == play(subject, after, len(signal))


@given(signal=SIGNALS, after=st.integers(20, 40))
@example(signal="BBB.b.BBBBB.BBBBBBBBBB.B", after=20)
def test_quiet_always_leads_back(signal, after):
    """Once nothing holds any more, every scope is inactive within keep, damping, ramp and a second each."""
    subject = machine(*MODES)
    play(subject, signal)
    play(subject, "." * (after + int(subject.status.damping.hold_s)), len(signal))

    assert subject.status.state is State.INACTIVE
    assert not subject.open
    assert not subject.status.noticed


@pytest.mark.parametrize(
    ("old", "new"), [pair for pair in itertools.product(State, State) if pair not in TRANSITIONS]
)
def test_every_way_that_is_not_in_the_table_raises(old, new):
    """Pairs of states outside the table are program errors, and say which scope and states."""
    with pytest.raises(IllegalTransitionError, match=f"chat: {old} -> {new}"):
        legal("chat", old, new)


@pytest.mark.parametrize(("old", "new"), sorted(TRANSITIONS))
def test_every_way_in_the_table_is_used(old, new):
    """No pair stands in the table that no timeline takes."""
    taken = set()
    for signal in ("pp.", "!....", "!.!", "!!..", "..!!!", "!!bb"):
        for hold, room in itertools.product((0.0, 1.0), (0, 4, 99)):
            modes = Mode(name="a", when="a", hold_s=hold, keep_s=0.0), Mode(name="b", when="b", hold_s=9.0)
            subject, panic = in_panic(*modes)
            before = State.INACTIVE
            for second, symbol in enumerate(signal + "!.!!!......"):
                if second == room:
                    panic.leave("other")
                subject.step(T0 + second, holding(symbol))
                if subject.status.state is not before:
                    taken.add((before, subject.status.state))
                before = subject.status.state

    assert (old, new) in taken
    assert legal("chat", old, new) is new


def test_present_is_the_state_not_a_transition():
    """Asking for the present state moves nothing and tells what the last decision told."""
    subject = machine()
    (activated,) = flat(play(subject, "!")[0])
    present = subject.present(T0 + 5)

    assert (present.kind, present.transition, present.event_id) == ("revised", 1, activated.event_id)
    assert (present.state, present.mode, present.fallbacks) == ("active", "a", activated.fallbacks)
    assert subject.present(T0 + 5) == present
