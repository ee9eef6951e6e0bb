"""River's detectors as methods: they run, and find a gross fault."""

import numpy as np
import pytest

from detector.predicates.base import Outcome
from detector.predicates.registry import judge_for
from tests.builders import BUDGET, T0, record, segment, spec

METHODS = pytest.mark.parametrize("method", ["adwin", "kswin", "page_hinkley"])


def records(kind, bad, n, start, rng):
    for i in range(n):
        at = start + i * 0.05
        if kind == "rate":
            yield record(at, hallucinated=bool(rng.random() < (0.95 if bad else 0.01)))
        elif kind == "exceedance":
            yield record(at, latency_s=float(rng.lognormal(0 if bad else -3, 0.3)))
        else:
            yield record(at, output_tokens=int(rng.lognormal(8 if bad else 4, 0.5)))


def feed(judge, calls):
    for start in range(0, len(calls), 20):
        part = calls[start : start + 20]
        while part:
            found = judge.observe(segment(part))
            if found is None:
                break
            if judge.latched:
                return True
            part = part[found + 1 :]
    return False


@METHODS
@pytest.mark.parametrize("kind", ["rate", "exceedance", "divergence"])
def test_a_gross_fault_is_found_and_ends_with_its_window(kind, method):
    """A fault that nobody could overlook is detected, and held for `window_s` after the last detection."""
    judge, rng = judge_for(spec(kind, method, window_s=10.0), BUDGET), np.random.default_rng(1)
    healthy = feed(judge, list(records(kind, False, 400, 0, rng)))
    judge.close(T0 + 200, frozen=False)
    assert not judge.latched or healthy

    found = feed(judge, list(records(kind, True, 400, 200, rng)))
    assert found
    assert judge.verdict.outcome is Outcome.BREACH

    judge.close(T0 + 10_000, frozen=False)
    assert not judge.latched


@METHODS
def test_too_few_records_say_nothing(method):
    """Until thirty records have been seen the outcome is learning, whatever they show."""
    judge, rng = judge_for(spec("rate", method), BUDGET), np.random.default_rng(2)

    assert not feed(judge, list(records("rate", True, 30, 0, rng)))
    assert (judge.verdict.outcome, judge.armed) == (Outcome.LEARNING, False)


@METHODS
@pytest.mark.parametrize("sign", [1, -1])
def test_negative_numbers_have_a_distribution_too(method, sign):
    """A shift of mean log-probabilities, which are below zero, is seen as one above zero is."""
    judge, rng = judge_for(spec("divergence", method, field="logprob_mean"), BUDGET), np.random.default_rng(3)
    calls = [record(i * 0.05, logprob_mean=sign * float(rng.normal(0.5, 0.05))) for i in range(400)]
    calls += [record(20 + i * 0.05, logprob_mean=sign * float(rng.normal(5, 0.05))) for i in range(400)]

    assert feed(judge, calls) or (method == "page_hinkley" and sign < 0)  # it looks for a rise only


@METHODS
def test_a_feature_may_be_text_in_some_records(method):
    """Text in a numeric feature is not measured, and stops nobody."""
    judge = judge_for(spec("divergence", method, field="features.score"), BUDGET)
    calls = [record(i * 0.05, features={"score": "n/a" if i % 2 else 1.0}) for i in range(200)]

    assert not feed(judge, calls)
    assert judge.verdict.samples == 100


@METHODS
def test_a_golden_answer_that_is_right_is_no_bad_call(method):
    """From 99 % right to 5 % is found; the other way round nothing is."""

    def share(judge, right, start, rng):
        calls = [record(start + i * 0.05, golden_ok=bool(rng.random() < right)) for i in range(400)]
        return feed(judge, calls)

    for before, after, bad in ((0.99, 0.05, True), (0.05, 0.99, False)):
        judge, rng = judge_for(spec("rate", method, field="golden_ok"), BUDGET), np.random.default_rng(3)
        share(judge, before, 0, rng)
        judge.close(T0 + 10_000, frozen=False)

        assert share(judge, after, 200, rng) == bad
