"""Where many values lie at an end of what was recorded, what comes from beyond has a bin of its own."""

from collections.abc import Iterator

import numpy as np
import pytest

from detector.contract.calibration import CalibratedPredicate
from detector.lab.calibrate import spread
from detector.lab.calibrate.tally import QUANTILES, Floats, ValueTally, quantile_edges
from detector.predicates.base import Budget
from detector.predicates.bins import EdgeBins, TokenBins
from detector.predicates.divergence import Divergence
from detector.predicates.kl import divergence, reference_share
from tests.builders import T0, play, record, spec

PER_S = 5
TEMPLATE = 892.0
OFTEN = Budget(run_length=1e9, alpha=1e-6)  # 0.6 a week, of this predicate and route alone


def edges_of(values: Floats) -> Floats:
    tally = ValueTally()
    tally.add(np.arange(len(values)) / PER_S, values.tolist())
    return quantile_edges(tally.totals())


def prompts(random: np.random.Generator, n: int) -> Floats:
    """A template and what the user says: one in fourteen is hardly longer than the template."""
    return TEMPLATE + np.minimum(np.floor(np.exp(random.normal(7, 2.5, n))), 100_000)


def answers(random: np.random.Generator, n: int) -> Floats:
    """Cut at 1,024 tokens, which a fifth would exceed."""
    return np.minimum(np.floor(np.exp(random.normal(6, 1.1, n))), 1024)


@pytest.mark.parametrize(
    ("healthy", "beyond"), [(prompts, (8, 801)), (answers, (1100, 8000))], ids=["template", "cut"]
)
def test_calibrated_bins_show_what_comes_from_beyond_as_octaves_do(healthy, beyond) -> None:
    """30 % of calls from beyond the end at which many are."""
    random = np.random.default_rng(1)
    usual, mixed = healthy(random, 20_000), healthy(random, 20_000)
    mixed[:6000] = random.integers(*beyond, 6000)
    seen = []
    for bins in (EdgeBins(edges_of(usual).tolist()), TokenBins()):
        q = reference_share(np.array(bins.count(usual)))
        seen.append(float(divergence(np.array([bins.count(mixed)]), q)[0]))

    assert seen[0] > max(0.9 * seen[1], 0.3)


@pytest.mark.parametrize(
    ("values", "under", "over"),
    [
        ([7.0] * 500, True, True),
        ([0.0] * 500, False, True),
        ([-3.5] * 500, True, True),
        ([1e12] * 500, True, False),
        ([-1e12] * 500, False, True),
        ([0.0, 5.0] * 250, False, True),
        ([1.0, 2.0, 3.0] * 170, True, True),
        ([0.2, 0.2001] * 250, True, True),
        ([-1.0, 0.0, 1.0] * 170, True, True),
        ([891.0] * 40 + [900.0 + i for i in range(960)], True, False),
    ],
    ids=["one", "zero", "negative", "huge", "minus-huge", "from-zero", "few", "close", "signs", "crowd"],
)
def test_beyond_a_crowd_is_a_bin_that_holds_nothing(values, under: bool, over: bool) -> None:
    """Under zero there is none, since nothing was; edges ascend, and there are two more of them at most."""
    edges = edges_of(np.array(values))
    reference = EdgeBins(edges.tolist()).count(values)

    assert 1 <= len(edges) <= len(QUANTILES) + 2
    assert np.all(np.diff(edges) > 0)
    assert (reference[0] == 0, reference[-1] == 0) == (under, over)
    if under:
        assert edges[0] == pytest.approx(min(1e9, *values), rel=0.03)
    if over:
        assert edges[-1] == pytest.approx(max(-1e9, *values), rel=0.03, abs=1e-6)


def test_a_single_outlier_does_not_hide_the_crowd() -> None:
    """One prompt of five tokens among twenty thousand: the bin under the template holds it alone."""
    values = prompts(np.random.default_rng(2), 20_000)
    values[123] = 5
    edges = edges_of(values)

    assert edges[0] == pytest.approx(TEMPLATE, rel=0.03)
    assert EdgeBins(edges.tolist()).count(values)[0] == 1


@pytest.mark.parametrize("n", [2000, 50_000])
def test_tails_without_a_crowd_have_the_bins_of_their_quantiles(n: int) -> None:
    """The outermost quantiles tell them apart already."""
    edges = edges_of(np.exp(np.random.default_rng(3).normal(6, 1, n)))

    assert len(edges) <= len(QUANTILES)


def calibrated(random: np.random.Generator) -> tuple[Divergence, float]:
    """A judge that has learnt an hour of prompts, and the shortest of them."""
    recorded, tally = prompts(random, 3600 * PER_S), ValueTally()
    tally.add(np.arange(len(recorded)) / PER_S + T0 - 3600, recorded.tolist())
    found = spread.measure(tally, np.zeros(0, np.int64), 300, 0.07, None)
    assert found is not None
    of = spec("divergence", field="input_tokens", window_s=300.0)
    one = CalibratedPredicate(
        made_for=of.subject,
        records=found.records,
        design_effect=found.design_effect,
        tolerance_nats=found.tolerance_nats,
        thresholds_nats=found.thresholds_nats,
        edges=found.edges,
        reference=tuple(int(count) for count in found.reference),
    )
    return Divergence(of, OFTEN, one, known_until=float(T0)), float(recorded.min())


def traffic(
    random: np.random.Generator, seconds: range, share: float, under: tuple[float, float]
) -> Iterator[list]:
    """Prompts by the second, a share of them between two lengths."""
    for second in seconds:
        values = prompts(random, int(random.poisson(PER_S)))
        short = random.random(len(values)) < share
        values[short] = random.uniform(*under, int(short.sum()))
        yield [record(second + 0.5, input_tokens=int(value)) for value in values]


@pytest.mark.parametrize("least", [0.9, 0.01], ids=["a-bit-under", "far-under"])
@pytest.mark.parametrize("seed", [1, 2])
def test_new_minima_now_and_then_are_no_drift(seed: int, least: float) -> None:
    """One call in a thousand under all that was recorded: two hours pass in silence.

    On fifty seeds each they did, and on a budget of sixty a week there was one activation.
    """
    random = np.random.default_rng(seed)
    judge, shortest = calibrated(random)
    now_and_then = traffic(random, range(7200), 0.001, (least * shortest, shortest))

    assert not any(judge.latched for _ in play(judge, now_and_then))


def test_what_was_never_so_short_is_found_within_seconds() -> None:
    """30 % of prompts of 8 to 800 tokens where none was under 892, five calls a second."""
    random = np.random.default_rng(1)
    judge, _ = calibrated(random)
    for _ in play(judge, traffic(random, range(120), 0.0, (8, 800))):
        pass
    drift = play(judge, traffic(random, range(120, 180), 0.3, (8, 800)), 120)

    assert next((second for second, _ in drift if judge.latched), 999) - 120 <= 20
