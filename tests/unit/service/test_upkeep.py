"""Snapshots in spare moments, and at the latest after a while."""

from typing import Any

import pytest

from detector.service import upkeep
from detector.service.upkeep import Upkeep


class Cover:
    def __init__(self, number: int, turns: list[tuple[int, float, float]], took: Any) -> None:
        self._number, self._turns, self._took = number, turns, took

    def turn(self, elapsed_s: float, budget_s: float) -> None:
        self._turns.append((self._number, round(elapsed_s, 3), round(budget_s, 4)))
        self._took()


class Clock:
    """Time as the test makes it pass."""

    def __init__(self) -> None:
        self.now = 100.0
        self.cost_s = 0.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic

    def took(self) -> None:
        self.now += self.cost_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(upkeep, "time", made)
    return made


def world(clock: Clock) -> tuple[Upkeep, dict[int, Any], list[tuple[int, float, float]]]:
    turns: list[tuple[int, float, float]] = []
    return Upkeep(lambda _: None), {n: Cover(n, turns, clock.took) for n in (0, 1)}, turns


def test_in_spare_moments_each_in_its_turn(clock: Clock) -> None:
    """Not more often than twenty times a second each."""
    keep, covers, turns = world(clock)
    for _ in range(10):
        keep.in_a_spare_moment(covers)
        clock.now += 0.01

    assert [number for number, *_ in turns] == [0, 1] * 2
    assert all(elapsed >= 0.05 for _, elapsed, _ in turns)


def test_without_a_spare_moment_after_a_while(clock: Clock) -> None:
    """A loop that never rests still covers what it judges."""
    keep, covers, turns = world(clock)
    for _ in range(100):
        keep.at_latest(covers)
        clock.now += 0.01

    assert 4 <= len(turns) <= 8
    assert {number for number, *_ in turns} == {0, 1}


def test_the_share_of_time_is_kept(clock: Clock) -> None:
    """Turns that cost more than they may are paid for by those after them."""
    keep, covers, turns = world(clock)
    clock.cost_s = 0.03
    for _ in range(100):
        keep.in_a_spare_moment(covers)
        clock.now += 0.05

    # 30 ms each time where 5 to 8 ms come in: most of the later turns are given nothing to spend.
    assert sum(budget > 0 for _, _, budget in turns) < 0.4 * len(turns)


def test_a_partition_that_goes_is_forgotten(clock: Clock) -> None:
    """What comes in its place begins anew, and none is no error."""
    keep, covers, turns = world(clock)
    keep.in_a_spare_moment(covers)
    keep.in_a_spare_moment({})
    keep.in_a_spare_moment({0: covers[0]})

    assert [number for number, *_ in turns] == [0, 0]
