"""When records that lie at the broker and do not come are noticed, and when nothing is wrong."""

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from detector.service.standstill import ANOTHER_S, GIVE_UP_S, Standstill, StandstillWatch

HERE, THERE = TP("t", 0), TP("t", 1)
WALL = 1_800_000_000.0


def _looks(
    reached: list[int], *, end: int = 10, every_s: float = 1.0, asked_ago_s: float = 0.1
) -> list[tuple[float, Standstill]]:
    """What a watch says of one partition, looked at in turn; beside it another one is at its end."""
    watch, told = StandstillWatch(), []
    for number, at in enumerate(reached):
        now = number * every_s
        ends = {HERE: (end, WALL + now - asked_ago_s), THERE: (5, WALL + now - asked_ago_s)}
        found = watch.look(ends, {HERE: at, THERE: 5}, wall_s=WALL + now, now_s=now)
        assert found.keys() <= {HERE}
        told += [(now, what) for what in found.values()]
    return told


def test_what_does_not_come_is_left_to_another_client_and_then_given_up() -> None:
    """Each is told once at its time."""
    told = _looks([3] * 31)

    assert told == [(ANOTHER_S, Standstill.ANOTHER_CLIENT), (GIVE_UP_S, Standstill.GIVE_UP)]


def test_after_it_has_moved_everything_begins_anew() -> None:
    """Also where it stands still once more."""
    told = _looks([3] * 20 + [4] * 20)

    assert told == [(ANOTHER_S, Standstill.ANOTHER_CLIENT), (20 + ANOTHER_S, Standstill.ANOTHER_CLIENT)]


@given(st.lists(st.integers(min_value=1, max_value=5), min_size=1, max_size=60))
def test_a_partition_that_moves_is_left_alone(steps: list[int]) -> None:
    """However far behind its end it is."""
    reached = [sum(steps[:number]) for number in range(len(steps))]

    assert _looks(reached, end=10_000) == []


def test_the_end_is_where_nothing_comes() -> None:
    """A topic made anew ends before what was read."""
    assert _looks([10] * 60) == []
    assert _looks([11] * 60) == []


def test_an_end_that_was_asked_for_long_ago_says_nothing() -> None:
    """The broker is away: that is told elsewhere."""
    assert _looks([3] * 60, asked_ago_s=8.0) == []


def test_a_process_that_was_stopped_looks_anew() -> None:
    """Nothing can have come meanwhile."""
    assert _looks([3] * 10, every_s=10.0) == []
