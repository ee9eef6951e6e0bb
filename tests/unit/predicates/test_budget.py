"""The false-alarm budget: shared out per record, so that it holds however scopes come and go."""

import math

import numpy as np
import pytest

from detector.predicates.base import WEEK_S, Budget
from detector.predicates.design_effect import MARGIN
from detector.predicates.registry import judge_for
from detector.predicates.shiryaev_roberts import MixtureShiryaevRoberts
from tests.builders import contract, spec

CEILING = 0.01
SCOPES = 10_000


def budget(weekly, sequential=2, fleet=1000.0, divergences=0):
    rates = [spec("rate", name=f"r{i}") for i in range(sequential)]
    drifts = [spec("divergence", name=f"d{i}") for i in range(divergences)]
    return Budget.of(contract([*rates, *drifts], false_alarms_per_week=weekly, fleet_records_per_s=fleet))


@pytest.mark.parametrize(("sequential", "divergences", "share"), [(1, 0, 1.0), (4, 0, 1.0), (3, 2, 0.5)])
def test_all_detectors_together_have_the_sequential_share_of_the_week(sequential, divergences, share):
    """K detectors of run length A at R records/s alarm 604800 R K / A times a week: their share."""
    found = budget(0.15, sequential, 5000.0, divergences)

    assert WEEK_S * 5000.0 * sequential / found.run_length == pytest.approx(0.15 * share)


@pytest.mark.parametrize("life", [30, 300, 1000])
def test_ten_thousand_churning_scopes_keep_the_budget(life):
    """At the ceiling itself, scopes of `life` records in the mean: no more alarms than the records allow.

    The budget is so large that A is 10,000 records: a run of n records may see n K / A alarms, and the
    one-sided 99 % bound of what a Poisson count with that mean shows is not passed.
    """
    given = budget(weekly=WEEK_S * 1000.0 * 2 / 1e4)
    assert given.run_length == pytest.approx(1e4)
    rng, alarms, records = np.random.default_rng(life), 0, 0
    for lived in rng.geometric(1 / life, SCOPES):
        records += lived
        for _ in range(2):
            flags = np.flatnonzero(rng.random(lived) < CEILING)
            detector, start = MixtureShiryaevRoberts(CEILING, given.run_length), 0
            while (
                found := detector.observe(int(lived) - start, (flags[flags >= start] - start).tolist())
            ) is not None:
                alarms += 1
                start += found + 1
                detector.restart()
    allowed = records * 2 / given.run_length

    assert alarms <= allowed + 2.33 * math.sqrt(allowed)


def test_a_jump_to_one_half_is_found_within_fourteen_calls():
    """Ceiling 1 %, A = 1e9, after 5,000 calls at half the ceiling: the median delay."""
    rng, delays = np.random.default_rng(6), []
    for _ in range(400):
        flags = np.concatenate([rng.random(5000) < 0.005, rng.random(200) < 0.5])
        found = MixtureShiryaevRoberts(CEILING, 1e9).observe(len(flags), np.flatnonzero(flags).tolist())
        delays.append(found - 5000 + 1)

    assert np.median(delays) <= 14


def autocorrelated(rng, n, rho):
    """Bad calls at the ceiling whose latent normal values have this autocorrelation."""
    noise = rng.standard_normal(n) * math.sqrt(1 - rho**2)
    level, above = rng.standard_normal(), np.empty(n, bool)
    for i, value in enumerate(noise.tolist()):
        level = rho * level + value
        above[i] = level > 2.3263  # of a standard normal 1 % are
    return above


@pytest.mark.parametrize(("rho", "phi"), [(0.4, 1.22), (0.7, 2.04), (0.9, 5.70)])
def test_a_stated_design_effect_keeps_the_run_length_of_dependent_calls(rho, phi):
    """At A = 10,000 and the ceiling itself, tempered and with the margin: fewer alarms than one in A."""
    rng, alarms, n = np.random.default_rng(8), 0, 150_000
    flags = autocorrelated(rng, n, rho)
    stated = spec("rate", ceiling=CEILING, design_effect=phi, stated=("design_effect",))
    judge, start = judge_for(stated, Budget(run_length=1e4, alpha=1e-7)), 0
    while (found := judge.take(range(start, n), (np.flatnonzero(flags[start:])).tolist())) is not None:
        alarms, start = alarms + 1, found + 1
        judge = judge_for(stated, Budget(run_length=1e4, alpha=1e-7))

    assert alarms <= n / 1e4


def test_the_margin_is_only_where_there_is_dependence():
    """Independent calls need none, and what calibration found has its own."""
    assert MARGIN > 1
    limits = [
        judge_for(spec("rate", design_effect=phi, stated=("design_effect",)), Budget(1e4, 1e-7))._test.limit
        for phi in (1.0, 1.1, 2.0)
    ]

    assert limits[0] == limits[1]
    assert limits[2] == pytest.approx(MARGIN * limits[0])
