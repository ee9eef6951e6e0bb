"""Log buckets: quantiles within one per cent, and counts that add and subtract."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.windows.quantiles import ACCURACY, LogBuckets, QuantileWindow

QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0)
DISTRIBUTIONS = {
    "lognormal": lambda rng: rng.lognormal(-2, 1, 5000),
    "exponential": lambda rng: rng.exponential(0.2, 5000) + 1e-4,
    "uniform": lambda rng: rng.uniform(0.01, 10, 5000),
    "pareto": lambda rng: 0.05 * (1 + rng.pareto(1.1, 5000)),
    "two humps": lambda rng: np.concatenate([rng.normal(0.1, 0.01, 2500), rng.normal(30, 1, 2500)]),
    "one value": lambda rng: np.full(100, 0.2),
    "milliseconds to weeks": lambda rng: 10 ** rng.uniform(-3, 6, 5000),
}
VALUES = st.lists(st.floats(1e-4, 1e6), max_size=30)


def buckets(values):
    made = LogBuckets()
    if len(values):
        made.add(values)
    return made


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_quantile_is_within_one_per_cent(name):
    """|estimate - exact| <= 1 % of the value of rank floor(q (n - 1))."""
    values = DISTRIBUTIONS[name](np.random.default_rng(7))
    made, exact = buckets(values), np.sort(values)

    for q in QUANTILES:
        wanted = exact[math.floor(q * (len(exact) - 1))]
        assert abs(made.quantile(q) - wanted) <= ACCURACY * wanted * (1 + 1e-9)


@given(values=VALUES.filter(bool), q=st.floats(0, 1))
def test_the_bound_holds_for_any_values(values, q):
    """The error bound needs no distribution."""
    wanted = sorted(values)[math.floor(q * (len(values) - 1))]

    assert abs(buckets(values).quantile(q) - wanted) <= ACCURACY * wanted * (1 + 1e-9)


def test_what_is_below_a_tenth_of_a_millisecond_counts_as_that():
    """Zero and tiny values are kept, at 0.1 ms."""
    assert buckets([0.0, 1e-9]).quantile(0.5) == pytest.approx(1e-4, rel=ACCURACY)


def test_nothing_has_no_quantile():
    """An empty multiset answers None, not zero."""
    assert LogBuckets().quantile(0.5) is None
    assert QuantileWindow().quantile(0.5) is None


@given(one=VALUES, other=VALUES)
def test_merging_equals_adding_all_and_subtracting_undoes_it(one, other):
    """merge(a, b) holds what add(a + b) does; taking b out leaves a; b itself is left alone."""
    a, b, alone = buckets(one), buckets(other), buckets(one)
    before = b.state()
    a.merge(b)
    assert (a.state(), a.count) == (buckets(one + other).state(), len(one) + len(other))

    a.subtract(b)
    assert (a.state(), a.count) == (alone.state(), len(one))
    assert (b.state(), b.count) == (before, len(other))


@given(adds=st.lists(st.tuples(st.integers(0, 40), VALUES.filter(bool)), max_size=20))
def test_a_window_holds_its_panes_and_no_others(adds):
    """Quantiles are those of all values in the newest `panes` panes."""
    window, now = QuantileWindow(pane_s=10, panes=3), 0
    added = []
    for step, values in adds:
        now += step
        window.add(now, values)
        added.append((now // 10, values))
    inside = [value for pane, values in added if pane > now // 10 - 3 for value in values]

    for q in (0.0, 0.5, 1.0):
        assert window.quantile(q) == buckets(inside).quantile(q)


@given(
    before=st.lists(st.tuples(st.integers(0, 40), VALUES.filter(bool)), max_size=8),
    after=st.lists(st.tuples(st.integers(0, 40), VALUES.filter(bool)), max_size=8),
)
def test_a_window_goes_on_from_its_state(before, after):
    """State through msgpack into a new window: later quantiles are the same."""
    window, taken, now = QuantileWindow(), QuantileWindow(), 0
    for step, values in before:
        now += step
        window.add(now, values)
    taken.load(msgspec.msgpack.decode(msgspec.msgpack.encode(window.state()), strict=False))
    for step, values in after:
        now += step
        for each in (window, taken):
            each.add(now, values)

    assert [taken.quantile(q) for q in QUANTILES] == [window.quantile(q) for q in QUANTILES]


def test_a_cleared_window_is_empty():
    """`clear` forgets every value."""
    window = QuantileWindow()
    window.add(0, [1.0])
    window.clear()

    assert window.quantile(0.5) is None
