"""Rates from a judge that errs: what is tested, and what is reported."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.contract.model import JudgeQuality
from detector.predicates.base import Budget, Outcome
from detector.predicates.registry import judge_for
from tests.builders import evaluation, record, segment, spec

JUDGE = JudgeQuality(sensitivity=0.9, specificity=0.97)


def judged(rng, n, p, judge=JUDGE):
    """Verdicts of a judge that errs, on `n` calls of which a share `p` is bad."""
    bad = rng.random(n) < p
    return np.where(bad, rng.random(n) < judge.sensitivity, rng.random(n) >= judge.specificity)


def show(predicate, flags):
    """Walk calls with these verdicts up to a flip; return whether there was one."""
    for start in range(0, len(flags), 1000):
        part = segment(
            [record(i / 100, hallucinated=bool(flag)) for i, flag in enumerate(flags[start:][:1000])]
        )
        flip = predicate.observe(part)
        predicate.absorb(part if flip is None else part.head(flip + 1))
        if flip is not None:
            return True
    return False


def made(p0=0.02, judge=JUDGE, run_length=1e6):
    return judge_for(spec("rate", ceiling=p0, judge=judge), Budget(run_length=run_length, alpha=1e-7))


@given(
    rate=st.floats(0, 1),
    sensitivity=st.floats(0.6, 1),
    specificity=st.floats(0.6, 1),
)
def test_a_correction_takes_back_what_the_judge_did(rate, sensitivity, specificity):
    """The corrected share of what a judge shows at a rate is that rate."""
    judge = JudgeQuality(sensitivity=sensitivity, specificity=specificity)

    assert judge.corrected(judge.observed(rate)) == pytest.approx(rate, abs=1e-9)


def test_false_verdicts_alone_raise_no_alarm():
    """A judge that calls 3 % of good calls bad: silent at half the ceiling of 2 % if known, else not."""
    rng = np.random.default_rng(1)
    flags = judged(rng, 40_000, 0.01)

    assert not show(made(), flags)
    assert show(made(judge=None), flags)


def test_a_breach_reports_the_true_rate_with_an_interval():
    """Of 100 faults of 20 % at least 93 % of the intervals hold it, though the test picks its samples."""
    rng, held, values = np.random.default_rng(2), [], []
    for _ in range(100):
        predicate = made(run_length=1e9)
        assert show(predicate, np.concatenate([judged(rng, 2000, 0.005), judged(rng, 3000, 0.2)]))
        verdict = predicate.verdict
        assert (verdict.outcome, verdict.threshold) == (Outcome.BREACH, 0.02)
        assert verdict.detail["low"] <= verdict.value <= verdict.detail["high"]
        held.append(verdict.detail["low"] <= 0.2 <= verdict.detail["high"])
        values.append(verdict.value)

    assert np.mean(held) >= 0.93
    assert np.median(values) == pytest.approx(0.2, rel=0.5)


def test_a_fault_is_found_in_late_verdicts_too():
    """The correction is the same where verdicts come on a topic of their own."""
    late = judge_for(
        spec("rate", field="", evaluation="hallucination", ceiling=0.02, judge=JUDGE),
        Budget(run_length=1e6, alpha=1e-7),
    )
    verdicts = [evaluation(i / 10, failed=i >= 100) for i in range(130)]
    flips = [late.judge_verdicts((i,), verdicts) for i in range(len(verdicts))]

    assert [flip for flip in flips if flip is not None] == [late_flip for late_flip in flips if late_flip]
    assert late.latched
    assert late.verdict.detail["observed_ceiling"] == pytest.approx(0.02 * 0.9 + 0.98 * 0.03)


@pytest.mark.parametrize("every", [1, 4, 20])
def test_a_breach_tells_which_share_was_judged(every):
    """Where every n-th call has a verdict the evidence says a share of 1 / n."""
    predicate = made(judge=None)
    calls = [record(i / 100, hallucinated=(i > 3000) if i % every == 0 else None) for i in range(4000)]
    for start in range(0, len(calls), 100):
        part = segment(calls[start : start + 100])
        flip = predicate.observe(part)
        predicate.absorb(part if flip is None else part.head(flip + 1))
        if flip is not None:
            break

    assert predicate.verdict.detail["judged_share"] == pytest.approx(1 / every, rel=0.01)
