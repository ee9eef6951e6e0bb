"""A ceiling under which the recording itself would not have alarmed."""

import numpy as np

from detector.lab.calibrate.silent import silent_ceiling
from detector.predicates.shiryaev_roberts import MixtureShiryaevRoberts

A = 1e8


def recording(burst: int) -> list[tuple[int, np.ndarray]]:
    """200 minutes of 1,000 calls, two bad in each; one minute has `burst` more, all over it."""
    made = [(1000, np.array([250, 750])) for _ in range(200)]
    made[120] = (1000, np.unique(np.concatenate([[250, 750], np.linspace(0, 999, burst).astype(int)])))
    return made


def alarms(minutes: list[tuple[int, np.ndarray]], ceiling: float) -> bool:
    """Whether a test with this ceiling alarms on the recording."""
    test = MixtureShiryaevRoberts(ceiling, A)
    return any(test.observe(judged, bad.tolist()) is not None for judged, bad in minutes)


def test_a_recording_that_keeps_the_ceiling_leaves_it_as_it_is() -> None:
    """Nothing is raised for nothing."""
    assert silent_ceiling(recording(0), 0.004, A, 1.0, 0.45) == 0.004


def test_a_burst_raises_the_ceiling_until_another_like_it_is_silent() -> None:
    """And no further than that: a little below, the burst would come too near to an alarm."""
    minutes = recording(60)
    assert alarms(minutes, 0.004)
    found = silent_ceiling(minutes, 0.004, A, 1.0, 0.45)

    assert 0.004 < found < 0.062
    assert not alarms(minutes, found)
    assert silent_ceiling(minutes, found / 1.1, A, 1.0, 0.45) > found / 1.1


def test_dependence_that_is_known_needs_less_of_a_raise() -> None:
    """Tempered evidence of the same burst is weaker."""
    minutes = recording(60)
    assert silent_ceiling(minutes, 0.004, A, 4.0, 0.45) < silent_ceiling(minutes, 0.004, A, 1.0, 0.45)


def test_it_ends_at_the_highest() -> None:
    """Where nothing helps."""
    assert silent_ceiling([(1000, np.arange(1000))] * 30, 0.01, A, 1.0, 0.45) == 0.45


def test_chance_in_a_long_recording_raises_nothing() -> None:
    """Independent calls at the ceiling: some of the evidence of an alarm comes by chance in any number."""
    random = np.random.default_rng(5)
    minutes = [(6000, np.flatnonzero(random.random(6000) < 0.01)) for _ in range(360)]
    for wanted in (1e4, 1e6, 1e9):
        assert silent_ceiling(minutes, 0.0101, wanted, 1.0, 0.45) == 0.0101
