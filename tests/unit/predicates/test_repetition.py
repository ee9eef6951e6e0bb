"""Answers that say the same over and over are bad; prose, short answers and unmeasured ones are not."""

import numpy as np
import pytest

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, Outcome
from detector.predicates.registry import judge_for
from detector.predicates.repetition import LEAST_SAMPLED, SAMPLED, repeated
from tests.builders import record, segment

RUN_LENGTH = 2_000.0


def made(run_length=1e6):
    wanted = PredicateSpec(name="r", type="repetition", field="token_ids", above_share=0.7, ceiling=0.01)
    return judge_for(wanted, Budget(run_length=run_length, alpha=1e-9))


def looping(n):
    return [7, 8] * (n // 2)


def prose(rng, n=32):
    return rng.integers(0, 5000, n).tolist()


def test_the_share_of_repeated_tokens_is_bounded_and_looks_at_a_sample():
    """0 for all different, towards 1 for one token; what lies beyond the sample changes nothing."""
    assert repeated(list(range(SAMPLED))) == 0.0
    assert repeated([1] * SAMPLED) == 1 - 1 / SAMPLED
    assert repeated([*range(SAMPLED), *[1] * 4000]) == 0.0


def test_loops_are_found_within_fifty_answers():
    """A model half of whose answers loop, after healthy ones."""
    rng = np.random.default_rng(0)
    judge = made()
    healthy = [record(i / 50, token_ids=prose(rng)) for i in range(500)]
    assert judge.observe(segment(healthy)) is None
    flip = judge.observe(
        segment([record(10 + i / 50, token_ids=looping(32) if i % 2 else prose(rng)) for i in range(100)])
    )

    assert flip is not None
    assert flip < 50
    assert judge.latched


def test_the_run_length_is_kept():
    """At the ceiling itself, alarms come no oftener than once in A answers."""
    rng = np.random.default_rng(1)
    alarms, calls = 0, 0
    for _ in range(40):
        judge = made(RUN_LENGTH)
        judge.observe(segment([record(0, token_ids=prose(rng))] * 50))
        bad = rng.random(1000) < 0.01
        some = [record(1, token_ids=looping(16) if each else list(range(16))) for each in bad]
        alarms += judge.observe(segment(some)) is not None
        calls += 1000

    # Expected at most calls / A = 20; the one-sided 99.9 % Poisson limit is 35.
    assert alarms <= 35


@pytest.mark.parametrize("sample", [None, [], [5] * (LEAST_SAMPLED - 1)])
def test_what_is_too_short_is_not_judged(sample):
    """A short answer repeats nothing to speak of, and a missing sample is no answer."""
    judge = made()
    judge.observe(segment([record(i / 10, token_ids=sample) for i in range(200)]))
    judge.close(10**10, frozen=False)

    assert judge.verdict.outcome is Outcome.INSUFFICIENT
    assert not judge.armed


def test_failed_calls_and_fallbacks_are_not_the_models_answers():
    """Only the primary's calls that did not fail are judged."""
    judge = made()
    calls = [
        record(
            i / 10,
            token_ids=looping(32),
            served_by="cache" if i % 2 else "primary",
            error="" if i % 2 else "x",
        )
        for i in range(200)
    ]

    assert judge.flags(segment(calls)) == ([], [])
