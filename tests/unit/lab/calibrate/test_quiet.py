"""The pace of quiet minutes: what is promised to be found is found at night too."""

import numpy as np
import pytest

from detector.lab.calibrate.quiet import quiet_share

NOTHING = np.zeros(0, np.int64)


def seconds(stretches: int) -> np.ndarray:
    return np.arange(1_700_000_100, 1_700_000_100 + 300 * stretches)


def test_steady_traffic_is_as_quiet_as_it_is_busy() -> None:
    assert quiet_share(seconds(40), np.full(12_000, 5), NOTHING) == 1.0


def test_a_tenth_of_the_day_at_a_third_of_the_calls_is_its_quiet_time() -> None:
    """Four of forty stretches; the mean falls with them."""
    counts = np.repeat([6] * 20 + [2] * 4 + [6] * 16, 300)

    assert quiet_share(seconds(40), counts, NOTHING) == pytest.approx(2 / 5.6, rel=0.02)


def test_a_quiet_moment_is_no_quiet_time() -> None:
    """One of 320 stretches is fewer than a hundredth."""
    counts = np.repeat([6] * 160 + [2] + [6] * 159, 300)

    assert quiet_share(seconds(320), counts, NOTHING) > 0.95


def test_what_is_not_whole_and_what_holds_nothing_does_not_count() -> None:
    """The ends of a recording, stretches of which minutes were left out, and nights without any call."""
    at = seconds(40)
    kept = (at >= at[0] + 200) & (at < at[-1] - 200)
    kept &= (at // 300 - at[0] // 300 < 10) | (at // 300 - at[0] // 300 >= 20)  # a night
    incident = np.array([(at[0] + 300 * 25) // 60])
    kept &= at // 60 != incident[0]

    assert quiet_share(at[kept], np.full(kept.sum(), 5), incident) == 1.0
    assert quiet_share(at[kept], np.full(kept.sum(), 5), NOTHING) <= 1.0


def test_a_recording_of_a_few_minutes_has_no_quiet_time() -> None:
    assert quiet_share(seconds(2), np.full(600, 5), NOTHING) == 1.0
