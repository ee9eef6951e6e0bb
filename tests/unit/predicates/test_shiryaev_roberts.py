"""The e-detector of rates: its bound, its delays, and that its shortcut is one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.predicates.shiryaev_roberts import MixtureShiryaevRoberts, alternatives

FLAGS = st.lists(st.booleans(), max_size=300) | st.lists(
    st.integers(0, 9).map(lambda i: i == 0), max_size=300
)


def eager(flags, p0, run_length, phi):
    """The recursion as the module's docstring writes it, looked at on bad calls: (alarm, evidence)."""
    evidence = 0.0
    rates = alternatives(p0)
    statistics = [0.0] * len(rates)
    for index, bad in enumerate(flags):
        for j, p in enumerate(rates):
            ratio = p / p0 if bad else (1 - p) / (1 - p0)
            statistics[j] = (1 + statistics[j]) * ratio ** (1 / phi)
        if bad:
            evidence = sum(statistics) / len(statistics)
            if evidence >= run_length:
                return index, evidence
    return None, evidence


def indices(flags):
    return [i for i, bad in enumerate(flags) if bad]


@given(
    flags=FLAGS,
    p0=st.sampled_from([0.001, 0.01, 0.1, 0.4]),
    run_length=st.sampled_from([30.0, 1e4, 1e9]),
    phi=st.sampled_from([1.0, 2.5]),
    data=st.data(),
)
def test_the_lazy_form_is_the_recursion(flags, p0, run_length, phi, data):
    """Working on bad calls only, in batches of any size, alarms at the same call as the recursion."""
    detector, start, found = MixtureShiryaevRoberts(p0, run_length, phi), 0, None
    while start < len(flags) and found is None:
        end = data.draw(st.integers(start + 1, len(flags)))
        bad = indices(flags[start:end])
        if bad:
            index = detector.observe(end - start, bad)
            found = None if index is None else start + index
        else:
            detector.pass_over(end - start)
        start = end

    expected, evidence = eager(flags, p0, run_length, phi)

    assert found == expected
    assert detector.evidence == pytest.approx(evidence, rel=1e-9)


@given(before=FLAGS, after=FLAGS)
def test_saving_and_loading_changes_nothing(before, after):
    """A detector that took over what another saved alarms where the other does."""
    detector, taken = MixtureShiryaevRoberts(0.05, 1e6), MixtureShiryaevRoberts(0.05, 1e6)
    detector.observe(len(before), indices(before))
    taken.load(detector.save())

    assert taken.observe(len(after), indices(after)) == detector.observe(len(after), indices(after))
    assert taken.save() == detector.save()


@given(flags=FLAGS, n=st.integers(1, 1000))
def test_passing_over_good_calls_can_be_undone(flags, n):
    """`pass_over` returns the gap from before; setting it back restores the state."""
    detector = MixtureShiryaevRoberts(0.05, 1e6)
    detector.observe(len(flags), indices(flags))
    before = detector.save()
    detector.gap = detector.pass_over(n)

    assert detector.save() == before


@given(
    before=FLAGS,
    gaps=st.lists(st.integers(0, 400), min_size=20, max_size=20),
    later=st.integers(0, 500),
    p0=st.sampled_from([0.001, 0.01, 0.1, 0.4]),
    limit=st.sampled_from([30.0, 1e4, 1e9]),
    phi=st.sampled_from([1.0, 1.7, 6.0]),
    then=st.sampled_from([1.0, 1.7, 6.0]),
)
def test_so_many_bad_calls_as_it_bears_raise_no_alarm(before, gaps, later, p0, limit, phi, then):
    """Whatever came before, however many good ones come in between, and asked at any time."""
    detector = MixtureShiryaevRoberts(p0, limit, phi)
    if detector.observe(len(before), indices(before)) is not None:
        return
    detector.pass_over(later)
    if then != phi and detector.patience:
        detector.temper(limit, then)
    for gap in gaps[: detector.patience]:
        assert detector.observe(gap + 1, [gap]) is None


@pytest.mark.parametrize("p0", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("limit", [1e4, 1e9])
def test_it_bears_nearly_as_many_as_an_alarm_takes(p0, limit):
    """At first, and again after a bad call and many good ones; less by what good calls could add."""
    detector = MixtureShiryaevRoberts(p0, limit)
    needed = detector.observe(100, range(100)) + 1
    detector.restart()
    first = detector.patience
    detector.observe(2001, [0])

    assert needed - 3 <= first < needed
    assert first - 1 <= detector.patience <= first


def test_good_calls_that_are_undone_are_no_comfort():
    """After them it bears more than before; once they are taken back, as much as before."""
    detector, twin = MixtureShiryaevRoberts(0.01, 1e9), MixtureShiryaevRoberts(0.01, 1e9)
    for each in (detector, twin):
        each.observe(2, range(2))
    gap = detector.pass_over(5000)
    after = detector.patience
    detector.gap = gap

    assert detector.patience == twin.patience < after


def test_other_weights_make_another_patience():
    """A longer run length takes more bad calls to an alarm, a shorter one fewer."""
    detector = MixtureShiryaevRoberts(0.01, 1e9)
    first = detector.patience
    detector.temper(1e18, 1.0)
    longer = detector.patience
    detector.temper(30.0, 1.0)

    assert detector.patience < first < longer


def run_length(rng, p, p0, limit, most, phi=1.0):
    """Calls until an alarm at a constant rate `p`, at most `most`."""
    detector, seen, step = MixtureShiryaevRoberts(p0, limit, phi), 0, 4000
    while seen < most:
        found = detector.observe(step, np.flatnonzero(rng.random(step) < p).tolist())
        if found is not None:
            return seen + found + 1
        seen += step
    return most


@pytest.mark.parametrize("p0", [0.01, 0.1])
def test_false_alarms_are_as_rare_as_promised(p0):
    """At the ceiling itself the mean run length is at least A: its 99 % interval lies above A = 1,000."""
    rng = np.random.default_rng(11)
    lengths = np.array([run_length(rng, p0, p0, 1e3, 40_000) for _ in range(400)])
    low = lengths.mean() - 2.58 * lengths.std() / math.sqrt(len(lengths))

    assert low >= 1e3


@pytest.mark.parametrize(("p", "median"), [(0.05, 410), (0.1, 123), (0.2, 45), (0.5, 13), (1.0, 6)])
def test_a_fault_is_found_as_fast_as_published(p, median):
    """At A = 1e9 and a ceiling of 1 % the median delay is within 15 % and one call of the published one."""
    rng = np.random.default_rng(3)
    found = np.median([run_length(rng, p, 0.01, 1e9, 20_000) for _ in range(600)])

    assert abs(found - median) <= 0.15 * median + 1


def test_nothing_below_the_smallest_burst_can_alarm():
    """With A = 1e9 and a ceiling of 1 % five bad calls in a row are not enough and six are."""
    assert MixtureShiryaevRoberts(0.01, 1e9).observe(5, range(5)) is None
    assert MixtureShiryaevRoberts(0.01, 1e9).observe(6, range(6)) == 5


def test_dependence_weakens_evidence():
    """A design effect of 2 needs more bad calls in a row than none."""
    assert MixtureShiryaevRoberts(0.01, 1e9, 2.0).observe(20, range(20)) > 5


@pytest.mark.parametrize("p", [0.1, 0.3, 0.9])
def test_the_excursion_tells_when_it_began_and_how_bad_it_is(p):
    """Over 200 faults the median estimates are within 15 calls of the onset and a third of the rate."""
    rng, starts, rates = np.random.default_rng(2), [], []
    for _ in range(200):
        flags = np.concatenate([rng.random(2000) < 0.005, rng.random(2000) < p])
        detector = MixtureShiryaevRoberts(0.01, 1e9)
        alarm = detector.observe(len(flags), np.flatnonzero(flags).tolist())
        before, since, bad = detector.excursion()
        assert before + since == alarm + 1
        assert bad == flags[before : alarm + 1].sum()
        starts.append(before - 2000)
        rates.append(bad / since)

    assert abs(np.median(starts)) <= 15
    assert np.median(rates) == pytest.approx(p, rel=1 / 3)


def test_a_restart_forgets_everything():
    """After `restart` a detector is as new."""
    detector = MixtureShiryaevRoberts(0.01, 1e9)
    detector.observe(10, [0, 1, 2])
    detector.restart()

    assert detector.save() == MixtureShiryaevRoberts(0.01, 1e9).save()


@pytest.mark.parametrize("ceiling", [0.45, 0.8, 0.9, 0.99])
def test_a_ceiling_may_be_high(ceiling):
    """Whatever a contract may state can be tested: good calls raise no alarm, enough bad ones in a row do."""
    detector = MixtureShiryaevRoberts(ceiling, 1e3)

    assert detector.observe(100, []) is None
    assert detector.observe(5000, range(5000)) is not None


@pytest.mark.parametrize("p0", [0.05, 0.2, 0.4])
def test_half_as_many_bad_calls_again_are_found_where_many_are_allowed(p0):
    """Of verdicts a fifth may be bad, and a third more are a fault: found within some thousands at 1e9."""
    rng = np.random.default_rng(6)
    detector, calls = MixtureShiryaevRoberts(p0, 1e9), 30_000

    assert detector.observe(calls, np.flatnonzero(rng.random(calls) < 1.35 * p0).tolist()) is not None


@pytest.mark.parametrize("p0", [0.001, 0.049, 0.05, 0.3, 0.7, 0.95])
def test_alternatives_lie_above_the_ceiling_and_below_certainty(p0):
    """Whatever the ceiling, ascending."""
    rates = alternatives(p0)

    assert all(p0 < rate < 1 for rate in rates)
    assert rates == sorted(set(rates))
