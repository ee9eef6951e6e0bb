"""Divergence from a reference: unbiased under no change, with the right quantile, and invariant."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ncx2

from detector.predicates.kl import (
    BiasTable,
    bias,
    divergence,
    noncentral_chi2_quantile,
    reference_share,
)

SHAPES = {
    "16 even bins": np.full(16, 1 / 16),
    "18 lognormal bins": np.diff(np.concatenate([[0], 1 / (1 + np.exp(-(np.arange(17) - 8) / 1.1)), [1]])),
    "32 geometric bins, most of them nearly empty": 0.7 ** np.arange(32) / sum(0.7 ** np.arange(32)),
}


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("name", SHAPES)
def test_bias_corrected_divergence_is_zero_on_average_under_no_change(name, n):
    """E[KL - bias] == 0 within three standard errors against a known reference, dense bins and sparse."""
    q = SHAPES[name]
    raw = divergence(np.random.default_rng(5).multinomial(n, q, size=8000), q)
    corrected = raw - bias(np.full(8000, float(n)), q, 1e15)

    assert abs(corrected.mean()) <= 3 * corrected.std() / np.sqrt(8000)


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("name", SHAPES)
def test_a_reference_that_was_counted_adds_its_own_bias(name, n):
    """
    With N = 20,000 the mean is 0 within three standard errors, and 0.0006 nats where most bins of the
    reference itself are empty.
    """
    rng, truth, means = np.random.default_rng(5), SHAPES[name], []
    for _ in range(40):
        q = reference_share(rng.multinomial(20_000, truth))
        windows = rng.multinomial(n, truth, size=100)
        means.append((divergence(windows, q) - bias(np.full(100, float(n)), q, 20_000)).mean())

    assert abs(np.mean(means)) <= 3 * np.std(means) / np.sqrt(len(means)) + (0.0006 if "empty" in name else 0)


def test_the_simple_bias_is_wrong_for_sparse_bins():
    """(k - 1) / 2n, which is not used, overstates the bias of 32 geometric bins at n = 200 twofold."""
    q = SHAPES["32 geometric bins, most of them nearly empty"]

    assert bias(np.array([200.0]), q, 1e12)[0] < 0.5 * 31 / 400 * 1.3


@pytest.mark.parametrize("name", SHAPES)
def test_the_table_of_the_bias_is_the_bias(name):
    """Tabulated and computed bias agree within 1 % for windows of 1 to a million records."""
    q, n = SHAPES[name], np.geomspace(30, 1e6, 200).astype(int)
    table = BiasTable(q, 20_000)

    np.testing.assert_allclose([table.at(size) for size in n], bias(n, q, 20_000), rtol=0.01)


@pytest.mark.parametrize(("alpha", "above"), [(1e-6, 0.05), (2e-8, 0.05), (1e-10, 0.08)])
@pytest.mark.parametrize("freedom", [7, 15, 17, 31, 63])
@pytest.mark.parametrize("noncentrality", [0.0, 1.0, 5.0, 35.0, 200.0, 2000.0])
def test_the_quantile_is_conservative_by_little(freedom, noncentrality, alpha, above):
    """Sankaran's quantile lies 0 to 5 % (8 % at 1e-10) above the exact one from 7 degrees of freedom."""
    exact = float(ncx2.isf(alpha, freedom, max(noncentrality, 1e-9)))

    assert 0.995 * exact <= noncentral_chi2_quantile(freedom, noncentrality, alpha) <= (1 + above) * exact


@pytest.mark.parametrize("alpha", [1e-6, 1e-12])
@pytest.mark.parametrize("noncentrality", [0.0, 3.0, 50.0])
@pytest.mark.parametrize("freedom", [1, 2, 3])
def test_few_degrees_of_freedom_never_make_it_liberal(freedom, noncentrality, alpha):
    """With one to three degrees of freedom the bound is still no less than 99 % of the exact quantile."""
    exact = float(ncx2.isf(alpha, freedom, max(noncentrality, 1e-9)))

    assert noncentral_chi2_quantile(freedom, noncentrality, alpha) >= 0.99 * exact


COUNTS = st.lists(st.integers(0, 500), min_size=4, max_size=4).filter(any)


@given(window=COUNTS, reference=COUNTS, order=st.permutations(range(4)))
def test_divergence_does_not_depend_on_the_order_of_the_bins(window, reference, order):
    """Bins are names: permuting window and reference alike changes nothing."""
    c, q = np.array([window]), reference_share(np.array(reference))

    np.testing.assert_allclose(divergence(c[:, order], q[order]), divergence(c, q), atol=1e-12)


@given(window=COUNTS, reference=COUNTS, times=st.integers(2, 50))
def test_divergence_is_of_shares_not_of_counts(window, reference, times):
    """Counting each record of the window several times changes nothing."""
    c, q = np.array([window]), reference_share(np.array(reference))

    np.testing.assert_allclose(divergence(c * times, q), divergence(c, q), atol=1e-9)


@given(window=COUNTS, reference=COUNTS)
def test_divergence_is_never_negative_and_zero_only_for_equal_shares(window, reference):
    """Gibbs' inequality, and its case of equality."""
    q = reference_share(np.array(reference))
    found = divergence(np.array([window]), q)[0]

    assert found >= -1e-12
    assert divergence(np.array([[10**6 * share for share in q]]), q)[0] == pytest.approx(0, abs=1e-9)


@given(window=COUNTS, reference=COUNTS)
@settings(max_examples=50)
def test_merging_two_bins_never_increases_divergence(window, reference):
    """Data processing: what tells less cannot diverge more."""
    c, q = np.array([window]), reference_share(np.array(reference))
    merged_c = np.array([[c[0, 0] + c[0, 1], c[0, 2], c[0, 3]]])
    merged_q = np.array([q[0] + q[1], q[2], q[3]])

    assert divergence(merged_c, merged_q)[0] <= divergence(c, q)[0] + 1e-12


def test_an_empty_window_has_no_divergence():
    """Nothing counted gives NaN, which exceeds no threshold."""
    found = divergence(np.array([[0, 0]]), np.array([0.5, 0.5]))[0]

    assert np.isnan(found)
    assert not found > 0


def test_the_reference_is_smoothed_and_sums_to_one():
    """No bin of a reference has share zero, however empty it is."""
    q = reference_share(np.array([0, 0, 1000]))

    assert q.min() > 0
    assert q.sum() == pytest.approx(1)
