"""How snapshots are spread."""

from detector.service.snapshots import Pace


def taken(pace: Pace, *, dirty: int, size: int, seconds: float, step_s: float = 0.05) -> int:
    """How many snapshots a loop takes that turns every `step_s`."""
    count = 0
    for _ in range(round(seconds / step_s)):
        pace.elapse(step_s, dirty)
        while pace.allowed():
            pace.took(size)
            count += 1
    return count


def test_small_routes_are_all_taken_within_a_period() -> None:
    """However many there are, none waits longer than the period."""
    assert 95 <= taken(Pace(2.0), dirty=100, size=100, seconds=2.0) <= 105


def test_one_busy_route_is_not_taken_at_every_turn() -> None:
    """A route that is always dirty is taken once a period."""
    assert 9 <= taken(Pace(2.0), dirty=1, size=100, seconds=20.0) <= 11


def test_large_routes_are_spread_so_that_a_restore_stays_short() -> None:
    """No more bytes a second than the budget, beyond what one second saved up."""
    pace = Pace(2.0, bytes_per_s=1_000_000)

    assert taken(pace, dirty=1000, size=50_000, seconds=10.0) <= 11 * 1_000_000 / 50_000 + 1
