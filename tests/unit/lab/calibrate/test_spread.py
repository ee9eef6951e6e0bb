"""Bins at the quantiles, dependence of histograms, tolerance and thresholds that follow the wander."""

from dataclasses import replace

import numpy as np
import pytest

from detector.contract.calibration import CalibratedPredicate
from detector.lab.calibrate import spread
from detector.lab.calibrate.tally import FINE, QUANTILES, ValueTally, quantile_edges
from detector.predicates.divergence import Divergence
from tests.builders import play, spec
from tests.unit.predicates.test_divergence import STRICT, USUAL, calibrated, seconds, tilted


def tally_of(values: np.typing.NDArray[np.float64], per_s: int) -> ValueTally:
    tally = ValueTally()
    tally.add(np.arange(len(values)) / per_s + 1.7e9, values.tolist())
    return tally


def wandering(amount: float, seconds: int = 9000, per_s: int = 20) -> ValueTally:
    """Log-normal lengths whose median swings by `amount` (in logs) once in 40 minutes."""
    random = np.random.default_rng(3)
    at = np.arange(seconds * per_s) / per_s
    logs = 6 + amount * np.sin(at / 380) + random.standard_normal(len(at))
    return tally_of(np.exp(logs), per_s)


NOTHING = np.zeros(0, np.int64)


def measured(tally: ValueTally) -> spread.Spread:
    found = spread.measure(tally, NOTHING, 300, 0.07, None)
    assert found is not None
    return found


def test_edges_stand_at_the_tail_augmented_quantiles() -> None:
    """Within the width of a fine bin; every bin holds its share."""
    values = np.exp(np.random.default_rng(1).standard_normal(200_000))
    tally = tally_of(values, 1000)
    edges = quantile_edges(tally.totals())

    assert edges == pytest.approx(np.quantile(values, QUANTILES), rel=0.035)
    assert set(edges) <= set(FINE)


def test_counts_agree_with_the_edges_that_are_written() -> None:
    """The reference is what counting the values by the written edges gives."""
    values = np.round(np.exp(np.random.default_rng(2).standard_normal(20_000) * 1.2 + 5))
    found = measured(tally_of(values, 20))
    assert found.edges is not None
    where = np.searchsorted(found.edges, values, side="right")

    assert np.array_equal(found.reference, np.bincount(where, minlength=len(found.edges) + 1))


@pytest.mark.parametrize("size", [1, 4])
def test_the_design_effect_of_clusters_is_their_size(size: int) -> None:
    """Sessions of `size` equal requests; the estimate stays within a tenth."""
    random = np.random.default_rng(4)
    bins = np.repeat(random.integers(0, 16, 120_000), size)
    table = np.zeros((len(bins) // 80, 16), np.int64)
    np.add.at(table, (np.arange(len(bins)) // 80, bins), 1)

    assert spread.design_effect(table) == pytest.approx(size, rel=0.1)


def test_bins_that_nothing_falls_into_tell_nothing_of_dependence() -> None:
    """Those of what was never seen are there all the same; blocks are no longer for them."""
    seconds = np.arange(4000)
    table = np.zeros((len(seconds), 2), np.int64)
    table[seconds, (seconds // 7) % 2] = 10
    with_empty = np.pad(table, ((0, 0), (3, 5)))

    assert spread.design_effect(with_empty) == spread.design_effect(table) > 3


def test_what_is_tolerated_grows_with_the_wander() -> None:
    """d0 and thresholds are monotone in how far healthy traffic strays, and keep their floors."""
    calm, some, much = (measured(wandering(amount)) for amount in (0.0, 0.3, 0.8))

    assert calm.tolerance_nats == 0.035
    assert calm.tolerance_nats <= some.tolerance_nats < much.tolerance_nats
    assert calm.thresholds_nats[300] == 0.07
    assert some.thresholds_nats[300] <= much.thresholds_nats[300]
    # Some hours have not shown how far it strays in weeks.
    assert some.thresholds_nats[300] > 3 * some.strayed[300][2]
    smallest = [spread.smallest_detectable(each, 300, 20.0, 1e-8) or 99 for each in (calm, some, much)]
    assert smallest == sorted(smallest)
    # At a fifth of the calls, in quiet minutes, as much is found as by a fifth of the pace.
    quiet = spread.smallest_detectable(replace(calm, quiet_share=0.2), 300, 20.0, 1e-8)
    assert quiet == spread.smallest_detectable(calm, 300, 4.0, 1e-8)
    assert quiet > smallest[0]


@pytest.mark.parametrize(("span", "per_s"), [(3, 100), (10, 20), (60, 20)])
def test_a_drift_that_is_said_to_be_found_is_found(span: int, per_s: int) -> None:
    """Within the seconds named, wherever in a second it begins, nearly always; a quarter of it seldom."""
    one = calibrated()
    learnt = spread.Spread(
        records=one.records,
        edges=None,
        categories=None,
        reference=np.array(one.reference),
        design_effect=1.0,
        tolerance_nats=0.035,
        thresholds_nats=one.thresholds_nats,
    )
    alpha = judge_of(one)._stream.limits.alpha
    nats = spread.smallest_detectable(learnt, span, float(per_s), alpha)
    assert nats is not None

    def found(size: float) -> float:
        hits = 0
        for seed in range(40):
            random, made = np.random.default_rng(seed), judge_of(one)
            for _ in play(made, seconds(random, [USUAL] * 60, per_s)):
                pass
            before = random.random()  # the part of its first second that it leaves out
            first = before * USUAL + (1 - before) * tilted(size)
            drift = seconds(random, [first] + [tilted(size)] * (span - 1), per_s, 60)
            hits += any(made.latched for _ in play(made, drift, 60))
        return hits / 40

    assert found(nats) >= 0.95
    assert found(nats / 4) < 0.3


def judge_of(one: CalibratedPredicate) -> Divergence:
    return Divergence(spec("divergence", window_s=60.0), STRICT, one)


def test_categories_are_the_most_frequent_values_and_all_others_share_a_bin() -> None:
    """At most fifteen have a bin of their own, and no count is lost."""
    random = np.random.default_rng(6)
    values = [f"t{min(i, 40)}" for i in random.geometric(0.15, 30_000)]
    tally = ValueTally()
    tally.add(np.arange(30_000) / 20 + 1.7e9, values)
    found = measured(tally)

    assert found.categories is not None
    assert len(found.categories) == 15
    assert found.reference.sum() == 30_000
    assert found.reference[found.categories.index("t1")] == values.count("t1")
    assert len(found.reference) == 16


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_chance_is_not_tolerated_as_if_it_were_wander(seed: int) -> None:
    """Two days of one call in five seconds, all drawn alike: windows of sixty calls stray by chance alone."""
    random = np.random.default_rng(seed)
    tally = ValueTally()
    seconds = np.sort(random.integers(0, 2 * 86_400, 34_560))
    tally.add(seconds + 1.7e9, np.exp(random.normal(5.2, 0.8, len(seconds))).tolist())
    found = measured(tally)

    assert found.strayed[300][2] > 0.12
    assert found.tolerance_nats < 0.15
