"""The way back: a reverse CUSUM on probes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.predicates.recovery import THRESHOLD, Recovery, Relapses

FLAGS = st.lists(st.integers(0, 30).map(lambda i: i == 0), max_size=400)


def eager(flags, p0, p_f):
    """The recursion as the module's docstring writes it; index of the call at which it says recovered."""
    score = 0.0
    for index, bad in enumerate(flags):
        if bad:
            score = max(0.0, score + math.log(p0 / p_f))
        else:
            score += math.log((1 - p0) / (1 - p_f))
        if score >= THRESHOLD - 1e-9:
            return index
    return None


def indices(flags):
    return [i for i, bad in enumerate(flags) if bad]


@given(flags=FLAGS, data=st.data())
def test_the_lazy_form_is_the_recursion(flags, data):
    """In batches of any size, recovery is found at the very call at which the recursion finds it."""
    test, start, found = Recovery(0.01, 0.5), 0, None
    while start < len(flags) and found is None:
        end = data.draw(st.integers(start + 1, len(flags)))
        index = test.observe(end - start, indices(flags[start:end]))
        found = None if index is None else start + index
        start = end

    assert found == eager(flags, 0.01, 0.1)


@given(before=FLAGS, after=FLAGS)
def test_saving_and_loading_changes_nothing(before, after):
    """A test that took over what another saved decides as the other does."""
    test, taken = Recovery(0.01, 0.5), Recovery(0.01, 0.5)
    if test.observe(len(before), indices(before)) is not None:
        return
    taken.load(test.save())

    assert taken.observe(len(after), indices(after)) == test.observe(len(after), indices(after))
    assert taken.save() == test.save()


def delays(p, p0=0.01, rate=0.5, trials=500, most=5000):
    rng, found = np.random.default_rng(4), []
    for _ in range(trials):
        index = Recovery(p0, rate).observe(most, np.flatnonzero(rng.random(most) < p).tolist())
        found.append(most if index is None else index + 1)
    return np.array(found)


def test_recovery_is_seen_as_fast_as_published():
    """From a healthy 1 % on, 76 probes in the median and 148 at the 95th percentile, within 15 %."""
    found = delays(0.01)

    assert np.median(found) == pytest.approx(76, rel=0.15)
    assert np.quantile(found, 0.95) == pytest.approx(148, rel=0.15)


@pytest.mark.parametrize("p", [0.2, 0.5, 1.0])
def test_what_still_fails_well_above_the_limit_does_not_recover(p):
    """At twice p_f and more no run of 5,000 probes in 500 is taken for recovery."""
    assert (delays(p) == 5000).all()


def test_what_fails_at_the_limit_itself_rarely_recovers():
    """At p_f = 10 % fewer than 12 % of 500 runs of 1,000 probes are taken for recovery (simulated: 6 %)."""
    assert (delays(0.1, most=1000) < 1000).mean() < 0.12


@pytest.mark.parametrize("p0", [0.001, 0.01, 0.05, 0.3, 0.6, 0.89])
@pytest.mark.parametrize("rate", [0.002, 0.03, 0.5, 1.0])
def test_good_probes_alone_always_lead_back(p0, rate):
    """Whatever ceiling and rate, calls that are all good recover within a bounded number of probes."""
    test = Recovery(p0, rate)

    assert test.observe(1_000_000, []) is not None
    assert test.probes <= 1_000_000


def test_a_restart_starts_the_count_anew():
    """Probes before a change of state do not help afterwards."""
    test, needed = Recovery(0.01, 0.5), Recovery(0.01, 0.5).observe(1000, [])
    test.observe(needed - 5, [])
    test.restart()

    assert test.observe(1000, []) == needed


def test_a_fault_of_less_than_twice_the_ceiling_is_not_taken_for_recovery():
    """At a ceiling of 25 % and a fault of 39 %, twice the ceiling would make half of it look healthy."""
    assert (delays(0.39, p0=0.25, rate=0.39, trials=100, most=2000) == 2000).mean() > 0.9
    assert (delays(0.2, p0=0.25, rate=0.39, trials=100, most=2000) < 2000).all()


@pytest.mark.parametrize(("relapses", "times"), [(1, 2.0), (2, 4.0)])
def test_a_relapse_asks_for_more_evidence(relapses, times):
    """Twice as many good probes in a row, and four times."""
    once = Recovery(0.01, 0.5).observe(10_000, [])
    again = Recovery(0.01, 0.5, relapses).observe(10_000, [])

    assert again + 1 == pytest.approx(times * (once + 1), abs=times)
    assert Recovery(0.01, 0.5, relapses).needed > Recovery(0.01, 0.5).needed


@pytest.mark.parametrize(
    ("since", "healthy", "levels"),
    [(0, 500, [1, 2, 2]), (900, 99, [1, 2, 2]), (0, 1000, [0, 0, 0]), (900, 100, [0, 0, 0])],
)
def test_what_begins_soon_behind_a_way_back_is_a_relapse(since, healthy, levels):
    """Within ten times the calls that the way back took, counted over restarts of the test."""
    found, seen = Relapses(), []
    for _ in levels:
        found = found.over(100.0)._replace(since=since).breached(healthy)
        seen.append(found.level)

    assert seen == levels


def test_a_breach_without_one_before_it_is_no_relapse():
    """The first one of a stream, however soon it comes."""
    assert Relapses().breached(0).level == 0
