"""When a drift is over: a window that a drift like it would hardly show looks healthy."""

import numpy as np
import pytest

from detector.predicates.divergence import SPANS_S
from detector.predicates.drift import DriftStream
from detector.predicates.limits import Limits

BINS = 16
USUAL = np.full(BINS, 1 / BINS)
MOVED = np.array([2.3] * 3 + [1.1] * 3 + [0.58] * 10) / BINS
SEEDS = range(20)


def seconds_until_over(
    seed: int,
    share: np.ndarray,
    per_s: float,
    seconds: int,
    found: np.ndarray = MOVED,
    *,
    emptied: bool = True,
) -> int | None:
    """A drift is found, its windows are emptied or not, and then so many calls a second come like `share`."""
    draw = np.random.default_rng(seed)
    limits = Limits(
        threshold_nats=0.07,
        tolerance_nats=0.035,
        alpha=1e-9,
        design_effect=1.0,
        least=30.0,
        mode="fixed",
        calibrated=(0.07,) * len(SPANS_S),
        reference=(100_000,) * BINS,
    )
    stream, now = DriftStream(BINS, SPANS_S, limits), 0
    stream.ring.start(now)

    def pass_second(shares: np.ndarray, calls: float) -> None:
        nonlocal now
        stream.ring.add(now, draw.multinomial(draw.poisson(calls), shares))
        now += 1
        stream.close(now, frozen=stream.latched)

    for _ in range(300):
        pass_second(USUAL, 20)
    while not stream.latched:
        pass_second(found, 20)
    if emptied:
        stream.empty()
    for second in range(seconds):
        pass_second(share, per_s)
        if not stream.latched:
            return second + 1
    return None


@pytest.mark.parametrize("per_s", [0.4, 3.0, 12.0])
def test_a_small_drift_that_goes_on_is_not_over(per_s: float) -> None:
    """Not while the windows fill again, nor in a short one: of twenty one at most in five minutes."""
    moved = float((MOVED * np.log(MOVED / USUAL)).sum())
    over = [seconds_until_over(seed, MOVED, per_s, 290) for seed in SEEDS]

    assert moved == pytest.approx(0.2, abs=0.03)
    assert sum(each is not None for each in over) <= 1


def test_where_no_window_holds_enough_the_longest_one_decides() -> None:
    """A minute of 48 calls soon looks healthy, and so do those from before the drift; neither may tell."""
    nearer = np.array([1.95] * 3 + [1.05] * 3 + [0.7] * 10) / BINS
    over = [seconds_until_over(seed, nearer, 0.8, 400, nearer, emptied=False) for seed in SEEDS]

    assert (nearer * np.log(nearer / USUAL)).sum() == pytest.approx(0.1, abs=0.01)
    assert sum(each is not None for each in over) <= len(SEEDS) // 3


@pytest.mark.parametrize(("per_s", "within_s"), [(0.4, 330), (3.0, 330), (12.0, 60)])
def test_a_drift_that_is_over_is_seen_to_be(per_s: float, within_s: int) -> None:
    """Within a minute where some window holds enough calls by then, else within the longest one."""
    over = [seconds_until_over(seed, USUAL, per_s, within_s) for seed in SEEDS]

    assert None not in over
