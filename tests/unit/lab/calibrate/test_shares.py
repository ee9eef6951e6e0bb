"""The ceiling measures the traffic, not the size of its blocks; dependence is seen for what it is."""

import numpy as np
import pytest

from detector.lab.calibrate import bootstrap, shares
from detector.predicates.shiryaev_roberts import MixtureShiryaevRoberts

Flags = np.typing.NDArray[np.bool_]


def per_second(flags: Flags, per_s: int) -> tuple[np.typing.NDArray[np.int64], np.typing.NDArray[np.int64]]:
    bad = flags.reshape(-1, per_s).sum(axis=1)
    return np.full(len(bad), per_s), bad


def autocorrelated(n: int, rho: float, threshold: float, random: np.random.Generator) -> Flags:
    """Exceedances of a threshold by a normal AR(1) process."""
    noise = random.standard_normal(n) * np.sqrt(1 - rho * rho)
    level, found = 0.0, np.empty(n)
    for i, each in enumerate(noise.tolist()):
        level = rho * level + each
        found[i] = level
    return found > threshold


@pytest.mark.parametrize("wander", [0.0, 0.4])
def test_the_ceiling_does_not_depend_on_the_number_of_calls(wander: float) -> None:
    """The same process at 20, 100 and 500 calls/s: ceilings agree within a fifth; a quantile would not."""
    found = []
    for per_s in (20, 100, 500):
        random = np.random.default_rng(5)
        seconds = 12_000
        rate = 0.02 * (1 + wander * np.sin(np.arange(seconds) / 600))
        flags = random.random((seconds, per_s)) < rate[:, None]
        found.append(shares.measure(*per_second(flags.ravel(), per_s)).ceiling())

    assert max(found) / min(found) < 1.2
    assert min(found) > 0.02 * (1 + wander)
    assert max(found) < 0.02 * (1 + wander) * 1.6


@pytest.mark.parametrize("size", [1, 4])
def test_the_design_effect_of_clusters_is_their_size(size: int) -> None:
    """Calls that fail or succeed `size` at a time count as one call; slow wander does not count."""
    random = np.random.default_rng(11)
    rate = 0.05 * (1 + 0.5 * np.sin(np.arange(100_000) / 9000))
    flags = np.repeat(random.random(100_000) < rate, size)

    assert shares.design_effect(*per_second(flags, 20)) == pytest.approx(size, rel=0.12)


@pytest.mark.parametrize("n", [2_500, 10_000, 50_000])
@pytest.mark.parametrize("rate", [0.005, 0.008, 0.009])
def test_traffic_that_keeps_its_ceiling_is_not_said_to_exceed_it(n: int, rate: float) -> None:
    """Independent calls under a ceiling of 1 %: in at most 2 of 100 recordings chance looks like proof."""
    random = np.random.default_rng(4)
    said = sum(shares.measure(*per_second(random.random(n) < rate, 10)).at_least > 0.01 for _ in range(100))

    assert said <= 2


def test_traffic_that_exceeds_its_ceiling_at_times_is_said_to() -> None:
    """Half of the time at 0.2 %, half at 2 %, whose mean is just over 1 %."""
    random = np.random.default_rng(4)
    rate = np.where(np.arange(200_000) // 20_000 % 2, 0.02, 0.002)

    assert shares.measure(*per_second(random.random(200_000) < rate, 10)).at_least > 0.012


def test_no_bad_call_is_no_proof_of_perfection() -> None:
    """The ceiling of traffic without a bad call is above zero, and falls with the number of calls."""
    few, many = (shares.measure(np.full(n, 1), np.zeros(n, np.int64)) for n in (100, 100_000))

    assert few.ceiling() > many.ceiling() == shares.LEAST_CEILING


def test_the_smallest_detectable_share_falls_with_time_and_rate_and_rises_with_dependence() -> None:
    """Each is what it must be for the formula to make sense; 100 calls/s find 5 % within 10 s."""

    def smallest(per_s: float = 100.0, phi: float = 1.0, within: float = 10.0) -> float:
        return shares.smallest_detectable(0.01, 1e9, phi, per_s, within) or 1.0

    assert smallest(per_s=1000) < smallest() < smallest(phi=2.0) < smallest(phi=5.0)
    assert smallest(within=60) < smallest(within=10) < smallest(within=3)
    assert 0.03 < smallest() < 0.06
    assert shares.smallest_detectable(0.01, 1e9, 1.0, 0.1, 10.0) is None


def test_the_predicted_power_is_what_the_test_shows() -> None:
    """At the smallest detectable share the production test alarms in time in at least 97 % of runs."""
    random = np.random.default_rng(2)
    p = shares.smallest_detectable(0.01, 1e6, 1.0, 100.0, 10.0)
    assert p is not None
    alarms = 0
    for _ in range(400):
        detector = MixtureShiryaevRoberts(0.01, 1e6)
        alarms += detector.observe(1000, np.flatnonzero(random.random(1000) < p).tolist()) is not None

    assert alarms >= 388


@pytest.mark.parametrize("rho", [0.4, 0.7])
def test_the_bootstrap_keeps_the_run_length_that_tempering_alone_does_not(rho: float) -> None:
    """On fresh traffic of the same process the run length is within a factor of 2.5 of the wanted, below."""
    random = np.random.default_rng(7)
    wanted = 2e5
    flags = autocorrelated(1_200_000, rho, 2.326, random)
    found = shares.measure(*per_second(flags, 100))
    minutes = [(6000, np.flatnonzero(part)) for part in flags.reshape(-1, 6000)]
    threshold = bootstrap.run_length_threshold(minutes, found.ceiling(), found.design_effect, wanted)
    assert threshold is not None

    def false_alarms(run_length: float, fresh: Flags) -> int:
        detector = MixtureShiryaevRoberts(found.ceiling(), run_length, found.design_effect)
        alarms = start = 0
        while start < len(fresh):
            part = fresh[start : start + 20_000]
            index = detector.observe(len(part), np.flatnonzero(part).tolist())
            if index is None:
                start += len(part)
            else:
                alarms, start = alarms + 1, start + index + 1
                detector.restart()
        return alarms

    fresh = autocorrelated(3_000_000, rho, 2.326, random)
    assert false_alarms(threshold, fresh) <= 2.5 * len(fresh) / wanted
    assert false_alarms(wanted, fresh) >= false_alarms(threshold, fresh)


def test_too_little_to_resample_is_no_answer() -> None:
    """Without twenty blocks, or without bad calls, nothing is said rather than something invented."""
    assert bootstrap.run_length_threshold([(1000, np.array([5]))] * 19, 0.01, 1.0, 1e6) is None
    assert bootstrap.run_length_threshold([(1000, np.zeros(0, np.int64))] * 50, 0.01, 1.0, 1e6) is None
    # Every chain is the same one: it says nothing of runs a thousand times as long as itself.
    same = [(6000, np.arange(0, 6000, 100))] * 40
    assert bootstrap.run_length_threshold(same, 0.02, 1.5, 1e12) is None


def test_bursts_are_not_put_on_a_line() -> None:
    """Stalls of fifty calls every three minutes: with the threshold found, runs are as long as wanted."""
    random, wanted = np.random.default_rng(7), 1e5

    def stalls(count: int) -> Flags:
        flags = random.random(count) < 0.005
        for start in np.flatnonzero(random.random(count) < 1 / 18_000):
            flags[start : start + 50] = True
        return flags

    minutes = [(6000, np.flatnonzero(each)) for each in stalls(2_160_000).reshape(-1, 6000)]
    threshold = bootstrap.run_length_threshold(minutes, 0.0221, 16.4, wanted)
    assert threshold is not None
    detector, alarms = MixtureShiryaevRoberts(0.0221, threshold, 16.4), 0
    for _ in range(20):
        judged = stalls(100_000)
        if detector.observe(len(judged), np.flatnonzero(judged).tolist()) is not None:
            alarms += 1
            detector.restart()

    # 1 - 1/e of twenty runs as long as wanted have one; too low a threshold alarms in every one.
    assert alarms <= 17
