"""A pace is calls over the time that a recording covers: silence counts, holes in it do not."""

import numpy as np
import pytest

from detector.lab.calibrate.covered import covered_minutes, holes

NONE = np.zeros(0, np.int64)
DAY = 1440


def test_dense_traffic_covers_the_minutes_that_hold_it() -> None:
    """Nothing changes where every minute holds a call."""
    minutes = range(28_333_334, 28_333_334 + 5000)

    assert len(holes(minutes)) == 0
    assert covered_minutes(minutes, NONE) == 5000
    assert covered_minutes([7], NONE) == 1


def test_the_silence_of_a_sparse_fleet_is_covered() -> None:
    """A call every half an hour at random, for a week: gaps of hours are in its nature."""
    draw = np.random.default_rng(1)
    minutes = np.cumsum(draw.exponential(30, 336)).astype(np.int64)

    assert len(holes(minutes)) == 0
    assert covered_minutes(minutes, NONE) == minutes[-1] - minutes[0] + 1


def test_days_apart_leave_a_hole() -> None:
    """
    mon ########          fri ########
                .........hole
    """
    found = holes([*range(DAY), *range(4 * DAY, 5 * DAY)])

    assert (found[0], found[-1], len(found)) == (DAY, 4 * DAY - 1, 3 * DAY)
    assert covered_minutes([5, 5 * DAY - 1], found) == 2 * DAY - 5
    assert covered_minutes([5, 100], found) == 96


@pytest.mark.parametrize(("silent", "hole"), [(59, 0), (60, 60)])
def test_a_hole_lasts_an_hour_at_least(silent: int, hole: int) -> None:
    """Silent minutes between two busy stretches."""
    assert len(holes([*range(300), *range(300 + silent, 600)])) == hole


def test_a_batch_that_comes_every_two_hours_is_traffic_without_holes() -> None:
    """What comes again and again is how this fleet calls."""
    minutes = [120 * n + minute for n in range(84) for minute in (0, 1, 2)]

    assert len(holes(minutes)) == 0


def test_incidents_are_taken_off_once_where_they_touch_a_hole() -> None:
    """Minutes around an incident may lie in a hole, or behind the last call."""
    assert covered_minutes([0, 19], np.arange(5, 10), np.array([4, 5, 15, 30])) == 20 - 5 - 2
