"""Silence: judged by ticks alone, against the route's own habit."""

import pytest

from detector.predicates.absence import TOGETHER_S, Absence
from detector.predicates.base import Outcome
from tests.builders import BUDGET, T0, record, segment, spec


def judge(*times, after_s=30.0):
    made = Absence(spec("absence", after_s=after_s), BUDGET)
    for at in times:
        part = segment([record(at)])
        made.observe(part)
        made.absorb(part)
    return made


@pytest.mark.parametrize(
    ("silent_s", "latched"),
    [(30.0, False), (30.0 + TOGETHER_S, False), (30.1 + TOGETHER_S, True), (3000.0, True)],
)
def test_silence_longer_than_the_bound_breaches_on_a_tick(silent_s, latched):
    """Up to `after_s` is no silence, anything above it is."""
    made = judge(*range(20))
    made.tick(T0 + 19 + silent_s)

    assert made.latched == latched
    assert made.verdict.outcome is (Outcome.BREACH if latched else Outcome.CLEAR)


def test_without_a_tick_nothing_is_silent():
    """Panes that close say nothing of silence: a lagging reader has them too."""
    made = judge(*range(20))
    for second in range(20, 200):
        made.close(T0 + second, frozen=False)

    assert not made.latched


def test_a_route_that_calls_seldom_is_not_reported_for_it():
    """The bound is three times the longest gap where that is more than `after_s`."""
    made = judge(*range(0, 1200, 60))
    made.tick(T0 + 1140 + 180 + TOGETHER_S)
    assert not made.latched

    made.tick(T0 + 1140 + 181 + TOGETHER_S)
    assert made.latched


def test_any_record_ends_a_silence():
    """The first record after a silence ends it, whoever served it."""
    made = judge(*range(20))
    made.tick(T0 + 100)

    assert made.observe(segment([record(101, served_by="rule"), record(102)])) == 0
    assert not made.latched


def test_ending_a_silence_can_be_undone():
    """After a rollback the route is silent again, verdict included."""
    made = judge(*range(20))
    made.tick(T0 + 100)
    before = (made.state(), made.verdict)
    made.observe(segment([record(101)]))
    made.rollback()

    assert (made.state(), made.verdict) == before


def test_a_route_without_a_habit_is_not_judged():
    """Fewer than ten records tell nothing of how often a route is called."""
    made = judge(*range(9))
    made.tick(T0 + 10_000)

    assert (made.latched, made.armed) == (False, False)


def test_only_the_last_gaps_make_a_habit():
    """A long gap is forgotten after 64 shorter ones of a second or more."""
    made = judge(*range(10), 1000, *range(1001, 1066))
    made.tick(T0 + 1065 + 31 + TOGETHER_S)

    assert made.latched


def test_a_silence_is_reported_once():
    """Further ticks in the same silence leave the evidence of its beginning."""
    made = judge(*range(20))
    made.tick(T0 + 60)
    first = made.verdict
    made.tick(T0 + 90)

    assert made.verdict is first


@pytest.mark.parametrize(("outages", "latched"), [(1, True), (2, True), (3, False)])
@pytest.mark.parametrize("restored", [False, True], ids=["same", "after a restart"])
def test_an_outage_is_no_habit_until_it_has_come_three_times(outages, latched, restored):
    """After gaps of 100 s a silence of 60 s is reported, unless such gaps keep coming."""
    seconds, at = list(range(20)), 19
    for _ in range(outages):
        at += 100
        seconds += range(at, at + 20)
        at += 19
    made = judge(*seconds)
    if restored:
        state, made = made.state(), judge()
        made.load(state)
    made.tick(T0 + at + 60)

    assert made.latched == latched


def test_outages_are_forgotten_after_eight_days():
    """Three of them, a quiet fortnight, and a silence of a minute is one again."""
    seconds = [*range(20), *range(119, 139), *range(238, 258), *range(357, 377)]
    made = judge(*seconds, *(377 + 20 * i for i in range(1, 14 * 86_400 // 20)))
    last = 377 + 20 * (14 * 86_400 // 20 - 1)
    made.tick(T0 + last + 59)
    assert not made.latched
    made.tick(T0 + last + 66)

    assert made.latched


@pytest.mark.parametrize("calls", [3, 9, 20])
def test_until_a_silence_begins_no_tick_is_needed(calls):
    """Ticks up to the time named change nothing, one behind it does; too few calls have no habit to break."""
    made = judge(*range(calls))
    begins = made.begins_at
    made.tick(min(begins, T0 + 1e6))
    assert not made.latched

    made.tick(min(begins, T0 + 1e6) + 0.1)
    assert made.latched == (calls == 20)
    assert made.begins_at == float("inf")
