"""Snapshots in spare moments, and in saved time where there are none; in their share in any case."""

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


def world(clock: Clock, partitions: int = 2) -> tuple[Upkeep, dict[int, Any], list[tuple[int, float, float]]]:
    turns: list[tuple[int, float, float]] = []
    covers: dict[int, Any] = {n: Cover(n, turns, clock.took) for n in range(partitions)}
    return Upkeep(lambda _: None), covers, turns


def test_in_spare_moments_each_in_its_turn(clock: Clock) -> None:
    """Not more often than twenty times a second each."""
    keep, covers, turns = world(clock)
    for _ in range(10):
        keep.in_a_spare_moment(covers)
        clock.now += 0.01

    assert [number for number, *_ in turns] == [0, 1] * 2
    assert all(elapsed >= 0.05 for _, elapsed, _ in turns)


@pytest.mark.parametrize("partitions", [1, 8])
def test_without_a_spare_moment_the_share_is_spent_all_the_same(clock: Clock, partitions: int) -> None:
    """A loop that never rests, or has nothing to do at all, covers what it has judged as fast as ever."""
    keep, covers, turns = world(clock, partitions)
    clock.cost_s, began = 0.002, clock.now
    while clock.now < began + 10:
        for _ in covers:
            keep.in_saved_time(covers)
        clock.now += 0.05

    spent = sum(clock.cost_s for _ in turns) / (clock.now - began)
    most = min(0.1, partitions * 0.002 / 0.05)
    assert 0.8 * most < spent < 1.05 * most
    assert {number for number, *_ in turns} == set(covers)


def test_saved_time_is_for_where_spare_moments_are_few(clock: Clock) -> None:
    """As long as there are some, records that have come go first."""
    keep, covers, turns = world(clock)
    clock.cost_s = 0.002
    for _ in range(100):
        keep.in_a_spare_moment(covers)
        before = len(turns)
        keep.in_saved_time(covers)
        assert len(turns) == before
        clock.now += 0.01


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
