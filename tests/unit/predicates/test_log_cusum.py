"""The early sign of slower calls: how soon, how seldom falsely, and that days do not add up to a breach."""

import math

import numpy as np
import pytest

from detector.predicates.base import Budget, Outcome
from detector.predicates.registry import judge_for
from tests.builders import record, segment, spec

LEARNT = 1600


def made(run_length=1e9):
    wanted = spec("exceedance", "log_cusum", above_ms=None)
    return judge_for(wanted, Budget(run_length=run_length, alpha=1e-7))


def calls(rng, n, times=1.0, autocorrelation=0.0):
    """Durations of calls of 80 ms in the median, log deviation 0.4, as segments of 500."""
    noise = rng.standard_normal(n) * math.sqrt(1 - autocorrelation**2)
    level = rng.standard_normal()
    for start in range(0, n, 500):
        found = []
        for value in noise[start : start + 500]:
            level = autocorrelation * level + value
            found.append(record(latency_s=0.08 * times * math.exp(0.4 * level)))
        yield segment(found, fields=("latency_s",))


def flips(judge, segments):
    """Calls until it flips; None if it does not."""
    seen = 0
    for part in segments:
        found = judge.observe(part)
        if found is not None:
            return seen + found
        seen += len(part)
    return None


@pytest.mark.parametrize(("times", "at_most"), [(1.3, 250), (1.5, 70), (2.0, 30), (3.0, 16)])
def test_slower_calls_are_noticed_early(times, at_most):
    """The median delay at A = 1e9, within the limit of 200 ms for most of them."""
    rng, found = np.random.default_rng(1), []
    for _ in range(9):
        judge = made()
        assert flips(judge, calls(rng, 3000)) is None
        found.append(flips(judge, calls(rng, 2000, times)))

    assert None not in found
    assert np.median(found) <= at_most


@pytest.mark.parametrize("autocorrelation", [0.0, 0.7])
def test_false_notices_are_as_rare_as_estimated(autocorrelation):
    """At A = 1,000 the mean run length, learning left out, is above A, of independent calls and others."""
    rng, seen, alarms = np.random.default_rng(2), 0, 0
    for _ in range(12):
        judge = made(1e3)
        found = flips(judge, calls(rng, 8000, autocorrelation=autocorrelation))
        alarms += found is not None
        seen += (8000 if found is None else found) - LEARNT

    assert seen / max(1, alarms) > 1e3


def test_a_slow_drift_is_followed():
    """Calls that become twice as slow over 100,000 calls are no breach."""
    judge, rng = made(), np.random.default_rng(3)
    assert flips(judge, calls(rng, 3000)) is None
    for step in range(200):
        assert flips(judge, calls(rng, 500, 2 ** (step / 200))) is None


def test_it_ends_when_calls_are_as_usual():
    """The score has a bound: some hundred usual calls end the breach, however long it was."""
    judge, rng = made(), np.random.default_rng(4)
    flips(judge, calls(rng, 3000))
    assert flips(judge, calls(rng, 3000, 3.0)) is not None
    assert judge.verdict.outcome is Outcome.BREACH
    assert judge.verdict.detail["usual_s"] == pytest.approx(0.08, rel=0.05)
    assert flips(judge, calls(rng, 5000, 3.0)) is None

    assert flips(judge, calls(rng, 500)) is not None
    assert (judge.latched, judge.verdict.outcome) == (False, Outcome.CLEAR)


def test_nothing_is_said_while_it_learns():
    """It is not armed before it knows what is usual, and says so."""
    judge, rng = made(), np.random.default_rng(5)
    assert flips(judge, calls(rng, LEARNT - 100)) is None
    assert (judge.armed, judge.verdict.outcome) == (False, Outcome.LEARNING)
    assert flips(judge, calls(rng, 200)) is None
    assert (judge.armed, judge.verdict.outcome) == (True, Outcome.CLEAR)
