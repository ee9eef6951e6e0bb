"""Calls that end alone are no fault, and faults are found all the same.

Every traffic here is made of starts and durations, and told of as calls end.
"""

from itertools import pairwise

import numpy as np
import pytest

from detector.predicates.base import Judge
from detector.predicates.cohorts import CohortTest, Kept
from detector.predicates.registry import judge_for
from tests.builders import BUDGET, T0, dense, record, segment, spec

LIMIT_S = 7.0
TIMEOUT_S = 30.0


def healthy(
    draw: np.random.Generator, starts: np.ndarray, *, fail: float = 0.002
) -> list[tuple[float, float, bool]]:
    """(start, seconds, failed) of calls of which few time out and 0.5 % are slower than LIMIT_S."""
    latency = draw.lognormal(0.0, 0.755, len(starts))
    failed = draw.random(len(starts)) < fail
    return [
        (start, TIMEOUT_S if bad else took, bool(bad))
        for start, took, bad in zip(starts.tolist(), latency.tolist(), failed.tolist(), strict=True)
    ]


def steady(draw: np.random.Generator, per_s: float, start: float, end: float) -> np.ndarray:
    return np.sort(draw.uniform(start, end, draw.poisson(per_s * (end - start))))


def judge_of(field: str, ceiling: float = 0.01) -> Judge:
    kind = {"error": "rate", "latency_s": "exceedance"}[field]
    more = {"above_ms": LIMIT_S * 1000} if field == "latency_s" else {}
    return judge_for(spec(kind, field=field, ceiling=ceiling, stated=("design_effect",), **more), BUDGET)


def found_at(judge: Judge, calls, *, cuts=None, arrays=False, again_at=None) -> float | None:
    """When the judge breached, seconds; panes close each second. `cuts`: how many calls come at once."""
    records = sorted(
        (
            record(start + took, latency_s=took, error="timeout" if failed else "")
            for start, took, failed in calls
        ),
        key=lambda each: each.event_time,
    )
    ends = np.array([each.event_time - T0 for each in records])
    first = 0
    for second in range(int(ends[-1]) + 2):
        last = int(np.searchsorted(ends, second + 1))
        inner = [first, *sorted({first + int(cut) for cut in (cuts or ()) if first + cut < last}), last]
        for start, end in pairwise(inner):
            if start == end:
                continue
            part = segment(records[start:end], boundary=second)
            part = dense(part) if arrays else part
            flip = judge.observe(part)
            if flip is not None:
                return float(part.times[flip]) - T0
            judge.absorb(part)
        judge.close(T0 + second + 1, frozen=False)
        first = last
        if second == again_at:
            state, judge = judge.state(), judge_for(judge.spec, BUDGET)
            judge.load(state)
    return None


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch):
    """What the test along the ends says by itself."""

    def judged(field: str, calls, ceiling: float = 0.01) -> float | None:
        with monkeypatch.context() as patched:
            patched.setattr(CohortTest, "_is_borne_out", lambda *_: True)
            return found_at(judge_of(field, ceiling), calls)

    return judged


@pytest.mark.parametrize("field", ["error", "latency_s"])
@pytest.mark.parametrize("left", [0.0, 0.05])
def test_healthy_traffic_may_stop_or_fall(field: str, left: float, alone) -> None:
    """At a thousand calls a second the test along the ends is wrong each time that it stops."""
    wrong = 0
    for seed in range(5):
        draw = np.random.default_rng(seed)
        starts = [steady(draw, 1000, 0, 60), steady(draw, 1000 * left, 60, 100)]
        calls = healthy(draw, np.concatenate(starts))
        wrong += alone(field, calls) is not None

        assert found_at(judge_of(field), calls) is None
    assert wrong >= (1 if left else 4)


def test_healthy_traffic_near_its_ceiling_may_stop() -> None:
    """Also when the bad calls that are remembered reach back further than the counts of good ones."""
    for seed, per_s, ceiling, lasts_s in ((1, 1000, 0.01, 60), (2, 1000, 0.01, 60), (4, 120, 0.004, 500)):
        draw = np.random.default_rng(seed)
        calls = healthy(draw, steady(draw, per_s, 0, lasts_s), fail=0.9 * ceiling)

        assert found_at(judge_of("error", ceiling), calls) is None


@pytest.mark.parametrize("field", ["error", "latency_s"])
def test_healthy_calls_may_come_all_at_once(field: str) -> None:
    """Of each batch the slow ones end last."""
    draw = np.random.default_rng(7)
    calls = healthy(draw, np.concatenate([np.full(4000, at) for at in range(0, 600, 60)]))

    assert found_at(judge_of(field), calls) is None


@pytest.mark.parametrize("per_s", [3, 30, 300])
def test_calls_that_all_hang_are_found_as_soon_as_before(per_s: int, alone) -> None:
    """They are known to fail when they time out; some bad calls later nothing else explains them.

    An alarm before that is of calls which began when all was well.
    """
    draw = np.random.default_rng(3)
    calls = healthy(draw, steady(draw, per_s, 0, 90))
    hang = [(start, TIMEOUT_S, True) if start >= 40 else (start, *rest) for start, *rest in calls]
    before, now = alone("error", hang), found_at(judge_of("error"), hang)

    assert before is not None
    assert before <= now <= max(before, 40 + TIMEOUT_S) + 10.0 / per_s + 0.5


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_calls_of_which_some_hang_are_found_as_soon_as_before(share: float, alone) -> None:
    """The good ones that began with them are counted; those that began later are not held against them."""
    draw = np.random.default_rng(4)
    calls = healthy(draw, steady(draw, 100, 0, 150))
    bad = draw.random(len(calls)) < share
    hang = [
        (start, TIMEOUT_S, True) if start >= 60 and sick else (start, took, failed)
        for (start, took, failed), sick in zip(calls, bad.tolist(), strict=True)
    ]
    before, now = alone("error", hang), found_at(judge_of("error"), hang)

    assert before is not None
    assert before <= now <= before + 4.0


def test_calls_of_a_batch_of_which_a_third_is_slow_are_found_in_that_batch() -> None:
    """However late they end: more of those that began together are slow than of healthy ones."""
    draw = np.random.default_rng(5)
    calls = healthy(draw, np.concatenate([np.full(1000, at) for at in range(0, 300, 60)]))
    slow = draw.random(len(calls)) < 0.3
    sick = [
        (start, took + (10.0 if start == 240 and bad else 0.0), failed)
        for (start, took, failed), bad in zip(calls, slow.tolist(), strict=True)
    ]
    found = found_at(judge_of("latency_s"), sick)

    assert found is not None
    assert 250 <= found <= 252


@pytest.mark.parametrize(("ceiling", "rate", "per_s"), [(0.01, 0.03, 2), (0.05, 0.074, 20)])
def test_evidence_that_takes_long_to_gather_is_not_lost(
    ceiling: float, rate: float, per_s: int, alone
) -> None:
    """Longer than calls are remembered, or of more bad ones; by the starts it is what it is by the ends."""
    draw = np.random.default_rng(11)
    calls = healthy(draw, steady(draw, per_s, 0, 1500), fail=0.0)
    sick = draw.random(len(calls)) < rate
    worse = [
        (start, took, start >= 300 and bad)
        for (start, took, _), bad in zip(calls, sick.tolist(), strict=True)
    ]
    before, now = alone("error", worse, ceiling), found_at(judge_of("error", ceiling), worse)

    assert before is not None
    assert before - 300 > 128 or sum(bad and start >= 300 for start, _, bad in worse if start < before) > 128
    assert before <= now <= before + 10.0


def test_failures_that_come_at_once_are_found_at_the_same_call_as_before(alone) -> None:
    """They have begun when they end."""
    draw = np.random.default_rng(6)
    calls = healthy(draw, steady(draw, 50, 0, 60))
    refused = [(start, 0.01, True) if start >= 40 else (start, *rest) for start, *rest in calls]
    before = alone("error", refused)

    assert before is not None
    assert found_at(judge_of("error"), refused) == before


def test_neither_batches_nor_a_restart_make_a_difference() -> None:
    """Nor whether calls come as lists or as arrays."""
    draw = np.random.default_rng(8)
    calls = healthy(draw, np.concatenate([steady(draw, 200, 0, 60), steady(draw, 10, 60, 80)]))
    sick = [(start, TIMEOUT_S, True) if start >= 70 else (start, *rest) for start, *rest in calls]
    whole = found_at(judge_of("error"), sick)

    assert whole is not None
    for cuts in ([1, 2, 3], range(1, 300, 7), [50]):
        for arrays in (False, True):
            assert found_at(judge_of("error"), sick, cuts=cuts, arrays=arrays) == whole
    for second in (30, 61, 75, 95):
        assert found_at(judge_of("error"), sick, again_at=second) == whole


def test_batches_make_no_difference_where_alarms_are_passed_over() -> None:
    """Each is held against what was known at its own call."""
    found = []
    for seed in range(6):
        draw = np.random.default_rng(seed)
        calls = healthy(draw, np.concatenate([steady(draw, 400, 0, 50), steady(draw, 8, 50, 120)]))
        slow = draw.random(len(calls)) < 0.06
        sick = [
            (start, took + (12.0 if start >= 40 and bad else 0.0), failed)
            for (start, took, failed), bad in zip(calls, slow.tolist(), strict=True)
        ]
        one_by_one = found_at(judge_of("latency_s"), sick, cuts=range(1, 2000))
        found.append(one_by_one)

        assert found_at(judge_of("latency_s"), sick) == one_by_one
    assert None not in found


def test_a_breach_is_not_held_against_what_came_before_the_test_began_anew() -> None:
    """From the alarm on nothing is remembered."""
    draw = np.random.default_rng(6)
    calls = healthy(draw, steady(draw, 50, 0, 60))
    judge = judge_of("error")

    assert found_at(judge, [(start, 0.01, True) if start >= 40 else (start, *rest) for start, *rest in calls])
    assert judge.state()["cohorts"] == Kept()


def test_a_walk_that_is_undone_leaves_no_trace() -> None:
    """What began is remembered once."""
    draw = np.random.default_rng(9)
    calls = healthy(draw, steady(draw, 200, 0, 20))
    calls = sorted(calls, key=lambda call: call[0] + call[1])
    records = [
        record(start + took, latency_s=took, error="timeout" if bad else "") for start, took, bad in calls
    ]
    undone, straight = judge_of("error"), judge_of("error")
    for first in range(0, len(records), 300):
        part = segment(records[first : first + 300])
        undone.observe(part)
        undone.rollback()
        for judge in (undone, straight):
            judge.observe(part)
            judge.absorb(part)

    assert undone.state() == straight.state()
    assert len(straight.state()["cohorts"].starts) > 1
