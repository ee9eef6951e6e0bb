"""Damping: free at first, then doubling, bounded, and forgotten after a calm time."""

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from detector.contract.model import Mode
from detector.modes.damping import FREE, LONGEST_HOLD_S, WINDOW_S, Damping
from detector.modes.machine import ScopeMachine
from tests.builders import T0, contract, spec
from topics.control import Evidence

GAPS = st.lists(st.floats(1.0, 400.0), min_size=1, max_size=40)


def holds(gaps):
    """Hold of each activation; each lasts a second."""
    damping, now, found = Damping(), float(T0), []
    for gap in gaps:
        now += gap
        damping.activated(now)
        found.append((now, damping.hold_s))
        damping.deactivated(now + 0.5)
    return found


@given(gaps=GAPS)
def test_who_activates_at_most_twice_in_300_s_is_never_damped(gaps):
    """A hold is given exactly to an activation that has two others in the 300 s before it."""
    found = holds(gaps)
    for i, (now, hold_s) in enumerate(found):
        before = sum(now - at < WINDOW_S for at, _ in found[:i])
        assert (hold_s > 0) == (before >= FREE)


@given(gaps=GAPS)
def test_holds_double_and_never_pass_a_minute(gaps):
    """In their order the holds are 5, 10, 20, 40, 60, 60 ..., beginning anew only after 300 s of calm."""
    level, last = 0, None
    for now, hold_s in holds(gaps):
        if last is not None and now - last - 0.5 >= WINDOW_S:
            level = 0
        if hold_s:
            assert hold_s == min(LONGEST_HOLD_S, 5.0 * 2**level)
            level += 1
        last = now


@given(gaps=GAPS, after=GAPS)
def test_damping_goes_on_from_its_state(gaps, after):
    """Through msgpack into a new one: every later hold is the same."""
    damping, now = Damping(), float(T0)
    for gap in gaps:
        now += gap
        damping.activated(now)
        damping.deactivated(now)
    taken = msgspec.convert(
        msgspec.msgpack.decode(msgspec.msgpack.encode(msgspec.to_builtins(damping))), Damping
    )
    for gap in after:
        now += gap
        for each in (damping, taken):
            each.activated(now)
            each.deactivated(now + 1)
        assert taken == damping


def test_a_damped_scope_says_so_and_still_tries_every_ten_seconds():
    """
    Fault of 20 s, calm of 20 s, for an hour. From the third activation on the record carries `damped_until`,
    the reason says why; no two decisions of an active scope lie more than ten seconds apart; after the holds
    have grown there are fewer activations than faults; nothing is ever overdue.
    """
    subject = ScopeMachine(contract([spec("rate", name="a")], [Mode(name="a", when="a")]), "chat", 0)
    told = []
    for second in range(3600):
        held = {"a": Evidence(predicate="a", value=1.0, threshold=0.1)} if second % 40 < 20 else {}
        told += subject.step(T0 + second, held)
    activated = [each for each in told if each.kind == "activated"]
    merged = [
        each
        for i, each in enumerate(activated)
        if i == 0 or each.at - max(other.at for other in told if other.at < each.at) >= 60
    ]

    assert [each.damped_until for each in activated[:2]] == [None, None]
    assert all(each.damped_until is not None for each in activated[2:])
    assert all("damped: " in each.reason for each in activated[2:])
    assert all("damped: " not in each.reason for each in activated[:2])
    assert all(each.damped_until - each.at <= 60 for each in activated[2:])
    assert 10 < len(activated) < 3600 / 40 * 0.75
    assert len(merged) <= 10  # in the sense of the glossary: what lies less than 60 s apart is one activation
    assert max(b.at - a.at for a, b in itertools.pairwise(told) if a.state == "active") <= 10
    assert subject.status.overdue == 0
