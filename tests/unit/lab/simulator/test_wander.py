"""How tenants wander: around their means, with the memory that they are said to have, or not at all."""

from dataclasses import replace

import numpy as np
import pytest

from detector.lab.simulator.population import Population
from detector.lab.simulator.regimes import REGIMES
from detector.lab.simulator.wander import Wander

NOBODY = np.zeros(30, dtype=bool)


def path_of(regime, days, seed=1, bursty=None):
    wander = Wander(regime, 0.0, NOBODY if bursty is None else bursty, np.random.default_rng(seed))
    return np.array([wander.at(minute * 60.0) for minute in range(int(days * 1440))])


def test_rates_return_to_their_means():
    """In the long run each tenant has its Zipf share, those who come and go included."""
    regime = replace(
        REGIMES["mid"], tenants=30, zipf=1.0, wander_sd=0.4, wander_tau_s=600.0, burst_on_s=600.0,
    burst_off_s=1200.0 )  # fmt: skip
    bursty = np.arange(30) % 2 == 1
    mean = path_of(regime, 20, bursty=bursty).mean(axis=0)
    expected = 1 / np.arange(1, 31)

    assert mean == pytest.approx(expected / expected.sum(), rel=0.25)
    assert mean.sum() == pytest.approx(1.0, rel=0.05)


def test_levels_have_the_deviation_and_memory_asked_for():
    """Log rates have the regime's deviation, and correlate by 1/e over its memory."""
    regime = replace(REGIMES["mid"], tenants=30, wander_sd=0.8, wander_tau_s=1800.0)
    logs = np.log(path_of(regime, 6))
    logs -= logs.mean(axis=0)

    assert logs.std() == pytest.approx(0.8, rel=0.1)
    assert (logs[30:] * logs[:-30]).mean() / (logs**2).mean() == pytest.approx(np.exp(-1), abs=0.08)


def test_rates_move_without_jumps_between_minutes():
    """Half-way between two minutes the rate is half-way between theirs: reading often changes nothing."""
    regime = replace(REGIMES["mid"], tenants=30)
    coarse = path_of(regime, 0.01)
    wander = Wander(regime, 0.0, NOBODY, np.random.default_rng(1))
    fine = np.array([wander.at(second * 30.0) for second in range(2 * (len(coarse) - 1))])

    assert np.allclose(fine[::2], coarse[:-1])
    assert np.allclose(fine[1::2], (coarse[:-1] + coarse[1:]) / 2)


def test_a_still_mix_does_not_move():
    """Without wander and bursts all rates stay what they are."""
    regime = replace(REGIMES["mid"], tenants=30, wander_scale=0.0)

    assert np.ptp(path_of(regime, 0.1), axis=0).max() == pytest.approx(0.0, abs=1e-15)


def test_the_largest_tenants_are_not_alike():
    """Whatever the seed, the median lengths of the three largest tenants lie apart."""
    regime = replace(REGIMES["large"], burst_share=0.0)
    for seed in range(30):
        offsets = Population(regime, np.random.default_rng(seed))._input[:3]

        assert np.ptp(offsets) > 0.5 * regime.input_spread
