"""A shift is high where it matters and is certain, and missing is never normal."""

import numpy as np
import pytest

from detector.predicates.shift import (
    HIGH_Z,
    LEAST_BLOCKS,
    LEAST_CALLS,
    SIGNALS,
    Level,
    golden_shift,
    shift_of,
)
from detector.windows.signals import GIVEN, PLAIN, WIDTH, columns_of

BLOCKS, PER_BLOCK = 20, 200


def row(name, y, x=None):
    sums = np.zeros(WIDTH)
    y = np.asarray(y)
    if x is None:
        sums[columns_of(name)] = len(y), y.sum()
    else:
        sums[columns_of(name)] = len(y), y.sum(), x.sum(), (x * x).sum(), (x * y).sum()
    return sums


def plain(rng, name, mean=0.0, n=PER_BLOCK, wander=0.0):
    return row(name, rng.normal(mean + wander * rng.normal(), 1.0, n))


def decode(rng, batch, slow=1.0, n=PER_BLOCK):
    """Milliseconds per token in a batch of about `batch`: a linear law with 8 % noise."""
    x = rng.poisson(batch, n) + 1.0
    return row("decode", slow * (0.9 + 0.035 * x) * rng.lognormal(0, 0.08, n), x)


def test_every_signal_is_described():
    """What is kept can be compared, and nothing else."""
    assert set(SIGNALS) == {*PLAIN, *GIVEN}


@pytest.mark.parametrize("wander", [0.0, 0.2])
def test_healthy_traffic_is_never_high(wander):
    """2,000 comparisons on traffic that is the same, or wanders between blocks: none is high."""
    rng = np.random.default_rng(0)
    high = 0
    for _ in range(2000):
        blocks = np.stack([plain(rng, "latency", wander=wander) for _ in range(BLOCKS)])
        high += shift_of("latency", plain(rng, "latency", wander=wander), blocks).level is Level.HIGH

    # One-sided 95 % bound: a rate of 1 in 200 would give 4 or fewer in 3 of 100 runs.
    assert high <= 4


@pytest.mark.parametrize("name", ["latency", "queue", "error", "input", "logprob"])
@pytest.mark.parametrize("n", [LEAST_CALLS, 10_000_000])
def test_a_change_smaller_than_matters_is_never_high_however_many_calls(name, n):
    """Certainty is not importance."""
    signal = SIGNALS[name]
    healthy = np.zeros(WIDTH)
    healthy[columns_of(name).start] = n
    recent = healthy.copy()
    recent[columns_of(name).start + 1] = n * (signal.way or 1) * 0.99 * signal.matters

    assert shift_of(name, recent, np.stack([healthy] * BLOCKS)).level is not Level.HIGH


def test_the_way_of_a_change_counts():
    """A clock that rises and calls that wait less are no fault; an input may move either way."""
    rng = np.random.default_rng(1)
    for name in ("queue", "input", "clock"):
        blocks = np.stack([plain(rng, name) for _ in range(BLOCKS)])
        up = shift_of(name, plain(rng, name, 2.0), blocks).level is Level.HIGH
        down = shift_of(name, plain(rng, name, -2.0), blocks).level is Level.HIGH

        assert (up, down) == (SIGNALS[name].way >= 0, SIGNALS[name].way <= 0)


def test_slow_tokens_are_told_from_a_full_batch():
    """The batch grows from 6 to 28: no residual, though tokens take longer. 30 % slower, same batch: high."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        blocks = np.stack([decode(rng, 6) for _ in range(BLOCKS)])
        crowded, throttled = (
            shift_of("decode", decode(rng, 28), blocks),
            shift_of("decode", decode(rng, 6, 1.3), blocks),
        )

        assert crowded.level is not Level.HIGH
        assert throttled.level is Level.HIGH
        assert throttled.change == pytest.approx(0.3, abs=0.05)


def test_too_little_is_missing():
    """Too few calls now, or too few blocks to compare with, says nothing: not even that all is normal."""
    rng = np.random.default_rng(3)
    blocks = np.stack([plain(rng, "latency") for _ in range(BLOCKS)])

    assert shift_of("latency", plain(rng, "latency", 9.0, LEAST_CALLS - 1), blocks).level is Level.MISSING
    assert shift_of("latency", plain(rng, "latency", 9.0), blocks[: LEAST_BLOCKS - 1]).level is Level.MISSING
    assert shift_of("latency", plain(rng, "latency", 9.0), blocks).level is Level.HIGH
    assert shift_of("upstream", plain(rng, "latency", 9.0), blocks).level is Level.MISSING


def test_few_calls_are_compared_with_more_caution_than_many():
    """The same change is less certain on fewer calls than a block has."""
    rng = np.random.default_rng(4)
    blocks = np.stack([plain(rng, "latency", wander=0.1) for _ in range(BLOCKS)])
    many, few = np.zeros(WIDTH), np.zeros(WIDTH)
    many[columns_of("latency")], few[columns_of("latency")] = (200, 200), (20, 20)

    assert shift_of("latency", few, blocks).z < shift_of("latency", many, blocks).z / 2


@pytest.mark.parametrize(
    ("asked", "wrong", "level"),
    [
        (20, 0, Level.NORMAL),
        (20, 1, Level.NORMAL),
        (20, 2, Level.UNCLEAR),
        (20, 3, Level.HIGH),
        (20, 20, Level.HIGH),
        (60, 3, Level.UNCLEAR),
        (60, 5, Level.HIGH),
        (3, 3, Level.MISSING),
        (4000, 4000, Level.HIGH),
    ],
)
def test_three_wrong_golden_prompts_in_twenty_are_high(asked, wrong, level):
    """Three at least, and more than a usual rate of 1 in 200 explains."""
    found = golden_shift(np.array([float(asked), float(wrong)]), np.zeros((BLOCKS, WIDTH)))

    assert found.level is level
    assert (found.z >= HIGH_Z) == (level is Level.HIGH)
