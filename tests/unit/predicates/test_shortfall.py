"""An answer falls short of what answers to such questions usually are, whatever questions are asked."""

import msgspec
import numpy as np
import pytest

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget
from detector.predicates.registry import judge_for
from detector.predicates.shortfall import BLOCK_S, BLOCKS, LEAST_CALLS, LEAST_IN_STRATUM
from tests.builders import T0, calls_of, record, segment

BUDGET = Budget(run_length=1e6, alpha=1e-9)
UNSURE = {"field": "logprob_mean", "below_nats": 0.5, "ceiling": 0.01}
SHORT = {"field": "output_tokens", "below_share": 0.2, "ceiling": 0.01}
BOTH = pytest.mark.parametrize("keys", [UNSURE, SHORT], ids=["logprob", "length"])


def made(keys):
    return judge_for(PredicateSpec(name="s", type="shortfall", **keys), BUDGET)


def answers(rng, second, inputs, n=40, damaged=0.0):
    """Long questions get long answers and unsure ones; damage makes answers short and very unsure."""
    for i in range(n):
        size = int(rng.choice(inputs))
        bad = rng.random() < damaged
        yield record(
            second + i / n,
            input_tokens=size,
            output_tokens=int(size * rng.lognormal(0, 0.25) * (0.1 if bad else 1)) + 1,
            logprob_mean=float(-0.2 * np.log2(size) + rng.normal(0, 0.1) - (0.9 if bad else 0)),
        )


def run(judge, rng, start, seconds, inputs, damaged=0.0, frozen=False):
    """First second in which the judge flips, None if it does not."""
    for second in range(start, start + seconds):
        part = segment(list(answers(rng, second, inputs, damaged=damaged)), boundary=second)
        if judge.observe(part) is not None:
            return second
        judge.absorb(part)
        judge.close(T0 + second + 1, frozen=frozen)
    return None


@BOTH
def test_damage_is_found_within_seconds(keys):
    """A fifth of the answers damaged, at 40 answers a second."""
    rng = np.random.default_rng(0)
    judge = made(keys)

    assert run(judge, rng, 0, 60, [100, 1000]) is None
    assert run(judge, rng, 60, 20, [100, 1000], damaged=0.2) <= 63


@BOTH
def test_other_questions_set_nothing_off(keys):
    """From 5 % to 95 % short questions: answers are shorter and surer, and none falls short of its like."""
    rng = np.random.default_rng(1)
    judge = made(keys)

    assert run(judge, rng, 0, 120, [100] + [3000] * 19) is None
    assert run(judge, rng, 120, 120, [100] * 19 + [3000]) is None
    assert run(judge, rng, 240, 120, [100] + [3000] * 19) is None


@BOTH
def test_nothing_is_judged_before_what_is_usual_is_known(keys):
    """Not before LEAST_CALLS calls, and no stratum of fewer than LEAST_IN_STRATUM."""
    rng = np.random.default_rng(2)
    judge = made(keys)
    few = [next(answers(rng, 0, [100])) for _ in range(LEAST_CALLS - 1)]
    judge.absorb(segment(few, boundary=0))
    judge.close(T0 + 1, frozen=False)
    assert judge.flags(segment(few)) == ([], [])

    rare = [next(answers(rng, 1, [9000])) for _ in range(LEAST_IN_STRATUM - 1)]
    judge.absorb(segment(rare, boundary=1))
    judge.close(T0 + 2, frozen=False)
    assert judge.flags(segment(rare)) == ([], [])
    assert len(judge.flags(segment(few))[0]) == len(few)


@BOTH
def test_nothing_is_learnt_from_a_fault(keys):
    """While frozen, what is usual stays what it was."""
    rng = np.random.default_rng(3)
    judge, other = made(keys), made(keys)
    for each in (judge, other):
        run(each, np.random.default_rng(4), 0, 20, [100])
    part = segment(list(answers(rng, 20, [100], damaged=1.0)), boundary=20)
    judge.absorb(part)
    judge.close(T0 + 21, frozen=True)
    other.close(T0 + 21, frozen=True)

    assert msgspec.msgpack.encode(judge.state()) == msgspec.msgpack.encode(other.state())


@BOTH
def test_what_is_learnt_does_not_depend_on_how_calls_were_cut(keys):
    """Sums are exact: one segment or forty, the state is the same to the last bit."""
    whole, pieces = made(keys), made(keys)
    for second in range(70):
        some = list(answers(np.random.default_rng(second), second, [100, 700, 5000]))
        whole.absorb(segment(some, boundary=second))
        for each in reversed(some):
            pieces.absorb(segment([each], boundary=second))
        for judge in (whole, pieces):
            judge.close(T0 + second + 1, frozen=False)

    assert whole.state() == pieces.state()


def test_golden_prompts_are_not_answers_to_anybody():
    """They are short on purpose."""
    rng = np.random.default_rng(5)
    judge = made(SHORT)
    run(judge, rng, 0, 20, [100])
    golden = [record(20 + i / 40, golden="g", input_tokens=100, output_tokens=1) for i in range(40)]

    assert judge.flags(segment(golden)) == ([], [])


@pytest.mark.parametrize("least", [-1.7976931348623157e308, 1.7976931348623157e308])
def test_the_logarithm_of_nothing_is_a_number_like_any_other(least):
    """Where it is written as the least number there is, that is one bad call and nothing else."""
    rng = np.random.default_rng(0)
    judge = made(UNSURE)
    assert run(judge, rng, 0, 60, [100, 1000]) is None
    odd = segment([record(60.0, input_tokens=100, logprob_mean=least)], boundary=60)

    assert judge.suspects(calls_of(odd)) == ([0] if least < 0 else [])
    assert judge.observe(odd) is None
    judge.absorb(odd)
    judge.close(T0 + 61, frozen=False)
    assert run(judge, rng, 61, 60, [100, 1000]) is None
    assert run(judge, rng, 121, 20, [100, 1000], damaged=0.4) is not None


def usual_of(judge, start, seconds, tokens, frozen=False):
    """Answers of one length to one sort of question, two a second; returns how many were short."""
    short = 0
    for second in range(start, start + seconds):
        part = segment(
            [record(second + i / 2, input_tokens=100, output_tokens=tokens) for i in range(2)],
            boundary=second,
        )
        short += len(judge.flags(part)[1])
        judge.absorb(part)
        judge.close(T0 + second + 1, frozen=frozen)
    return short


@pytest.mark.parametrize("restored", [False, True], ids=["same", "after a restart"])
def test_answers_that_are_as_they_were_before_are_not_short(restored):
    """For three hours they were ten times as long, which is not what all others are held to since."""
    judge, start = made(SHORT), -T0 % BLOCK_S
    assert usual_of(judge, start, BLOCK_S, 100) == 0
    assert usual_of(judge, start + BLOCK_S, 3 * 3600, 1000) == 0
    if restored:
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(judge.state()), strict=False)
        judge = made(SHORT)
        judge.load(state)

    assert usual_of(judge, start + BLOCK_S + 3 * 3600, 60, 100, frozen=True) == 0
    assert usual_of(judge, start + BLOCK_S + 3 * 3600 + 60, 60, 15, frozen=True) == 120


def test_after_a_day_answers_are_held_to_what_is_usual_since():
    """What was short a day ago is short again."""
    judge, start = made(SHORT), -T0 % BLOCK_S
    usual_of(judge, start, BLOCK_S, 100)
    usual_of(judge, start + BLOCK_S, BLOCK_S * (BLOCKS + 1), 1000)

    assert usual_of(judge, start + BLOCK_S * (BLOCKS + 2), 10, 100) == 20


def test_a_few_short_answers_are_not_what_is_usual():
    """Fifty of two hours do not lower what all others are held to."""
    judge, start = made(SHORT), -T0 % BLOCK_S
    usual_of(judge, start + BLOCK_S - 25, 25, 10)
    usual_of(judge, start + BLOCK_S, BLOCK_S, 1000)

    assert usual_of(judge, start + 2 * BLOCK_S, 10, 15) == 20
