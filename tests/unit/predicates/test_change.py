"""A breach is one if the calls before it were within the ceiling, or far from those since."""

import numpy as np
import pytest

from detector.predicates.change import evidence, is_change

RUN_LENGTH = 1e9


def said(before, since, ceiling=0.01, phi=1.0):
    return is_change(before, since, ceiling, phi, RUN_LENGTH)


@pytest.mark.parametrize(
    ("before", "since"),
    [((20_000, 60), (400, 30)), ((400, 0), (6, 6)), ((200_000, 1_000), (3_000, 75)), ((150, 2), (6, 6))],
)
def test_behind_calls_within_the_ceiling_it_is_a_change(before, since):
    assert said(before, since)


@pytest.mark.parametrize(
    ("before", "since"),
    [
        ((10, 0), (100, 20)),  # too few
        ((0, 0), (100, 100)),
        ((50_000, 700), (4_000, 80)),  # 1.4 % before and 2 % since
        ((50_000, 875), (100, 12)),  # of calls that are 1.75 % bad, such come by chance
        ((1_000, 200), (500, 120)),
        ((5_000, 80), (9, 6)),  # enough behind 1.6 %, not behind the 2.2 % that they may be
        ((50_000, 700), (100_000, 1_050)),  # better than before
    ],
)
def test_behind_others_it_is_not(before, since):
    assert not said(before, since)


def test_an_outage_stands_out_from_calls_a_little_beyond_the_ceiling():
    assert said((50_000, 700), (12, 12))


def test_dependent_calls_say_less():
    """Of a design effect of ten a tenth counts."""
    assert said((2_000, 5), (400, 30))
    assert not said((2_000, 5), (400, 30), phi=10.0)


def test_the_sign_of_the_evidence_says_which_rate_is_nearer():
    """Its zero lies between the two, and it adds up over calls."""
    draw = np.random.default_rng(3)
    for _ in range(50):
        low, high = sorted(draw.uniform(0.001, 0.9, 2))
        n = 1000
        assert evidence((n, round(n * low)), low, high) > -0.05 * n * (high - low)
        assert evidence((n, n), low, high) < 0 < evidence((n, 0), low, high)
        assert evidence((n, 7), low, high) == pytest.approx(10 * evidence((100, 0.7), low, high))
