"""What is said to be found is found: 99 % power, by simulation."""

import numpy as np
import pytest

from detector.predicates.power import smallest_divergence, smallest_share
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
