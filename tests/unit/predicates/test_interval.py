"""Wilson's interval: where it lies, and how often it is right."""

import numpy as np
import pytest

from detector.predicates.interval import wilson


@pytest.mark.parametrize(("bad", "n"), [(0, 1), (0, 50), (3, 7), (50, 50), (1, 1e6)])
def test_an_interval_holds_its_rate_and_stays_within_bounds(bad, n):
    """0 <= low <= rate <= high <= 1, also where all calls or none are bad."""
    low, high = wilson(bad, n)

    assert 0.0 <= low <= bad / n <= high <= 1.0
    assert low < high


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5])
def test_an_interval_covers_the_rate_as_often_as_it_says(p):
    """Of 95 % intervals from 200 calls between 92 and 98.5 % hold the true rate."""
    counts = np.random.default_rng(1).binomial(200, p, 4000)
    held = np.mean([low <= p <= high for low, high in (wilson(count, 200) for count in counts)])

    assert 0.92 <= held <= 0.985
