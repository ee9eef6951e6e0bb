"""What is said to be found is found: 99 % power, by simulation."""

import numpy as np
import pytest

from detector.predicates.kl import bias, divergence
from detector.predicates.power import MOST_APART, records_apart, smallest_divergence, smallest_share
from detector.predicates.shiryaev_roberts import MixtureShiryaevRoberts


@pytest.mark.parametrize(("ceiling", "calls"), [(0.01, 1000), (0.01, 250), (0.05, 400), (0.01, 20)])
def test_a_share_that_is_said_to_be_found_is_found(ceiling: float, calls: int) -> None:
    """In at least 98 of 100 simulated faults of that size, however many calls come; half of it is not."""
    rate = smallest_share(ceiling, 1e9, 1.0, calls)
    assert rate is not None

    def found(share: float) -> float:
        draw = np.random.default_rng(5)
        hits = 0
        for _ in range(1000):
            test, n = MixtureShiryaevRoberts(ceiling, 1e9), draw.poisson(calls)
            hits += test.observe(n, np.flatnonzero(draw.random(n) < share).tolist()) is not None
        return hits / 1000

    assert found(rate) >= 0.98
    assert found(rate / 2) < 0.7


def test_more_calls_find_less_and_dependence_more() -> None:
    sizes = [smallest_share(0.01, 1e9, 1.0, calls) for calls in (100, 1000, 10_000)]

    assert sizes == sorted(sizes, reverse=True)
    assert smallest_share(0.01, 1e9, 4.0, 1000) > sizes[1]
    assert smallest_share(0.01, 1e9, 1.0, 2) is None


def test_a_divergence_needs_its_threshold_and_the_noise_of_counting() -> None:
    small, large = (smallest_divergence(15, 1 / n + 1 / 100_000, 0.07, 0.035, 1e-9) for n in (300, 30_000))

    assert 0.07 < large < small
    assert large < 0.09
    assert smallest_divergence(15, 1.0, 0.07, 0.035, 1e-9) is None


@pytest.mark.parametrize("nats", [0.15, 0.2, 0.3, 0.7])
def test_a_drift_that_goes_on_seldom_looks_over(nats: float) -> None:
    """Of windows of as many records as are asked for one in 200 at most comes under the line."""
    bins, line, draw = 16, 0.049, np.random.default_rng(7)
    usual = np.full(bins, 1 / bins)

    def drifted(base: float) -> np.ndarray:
        weights = base ** np.linspace(0, 1, bins)
        return weights / weights.sum()

    def apart(base: float) -> float:
        share = drifted(base)
        return float((share * np.log(share / usual)).sum())

    base = min(np.geomspace(1, 1e4, 4000), key=lambda each: abs(apart(each) - nats))
    n = int(records_apart(nats, line, bins - 1))
    found = divergence(draw.multinomial(n, drifted(base), size=5000), usual)
    corrected = found - bias(np.array([float(n)]), usual, 1e9)[0]

    assert (corrected <= line).mean() < 0.005


def test_a_nearer_drift_takes_more_records_to_be_over() -> None:
    """Up to a bound, which one that cannot be told from the line has too."""
    needed = [records_apart(nats, 0.05, 15) for nats in (2.0, 0.5, 0.2, 0.1, 0.05, 0.01)]

    assert needed == sorted(needed)
    assert needed[-2:] == [MOST_APART, MOST_APART]
