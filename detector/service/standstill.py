"""Whether the records of a partition lie there and are not brought. Pure: clock values come with the call.

A worker renews its lease whatever it reads. One to which nothing comes any more, though the broker tells of
more, would keep gateways where they are for as long as it lives.
"""

from collections.abc import Mapping
from enum import Enum

from faust.types import TP

ANOTHER_S = 15.0
GIVE_UP_S = 30.0
_LOOKS_S = 3.0  # apart at most: after a longer pause of the process all is measured anew
_FRESH_S = 3.0


class Standstill(Enum):
    """What to do about a partition."""

    ANOTHER_CLIENT = "another client"
    GIVE_UP = "give up"


class StandstillWatch:
    """Of one reader: since when each partition has stood still."""

    def __init__(self) -> None:
        self._since: dict[TP, tuple[int, float]] = {}
        self._told: set[TP] = set()
        self._looked_s = float("-inf")

    def look(
        self,
        ends: Mapping[TP, tuple[int, float]],
        reached: Mapping[TP, int],
        *,
        wall_s: float,
        now_s: float,
    ) -> dict[TP, Standstill]:
        """Which partitions stand still; each is told of once per step, until it moves.

        To be called every second or so, and only while nothing lies ready to be taken.

        Args:
            ends: end offset of each partition, and when it was asked for (Unix s).
            reached: offset behind the last thing that was brought.
            wall_s: Unix seconds.
            now_s: on a clock that only goes forward.
        """
        if now_s - self._looked_s > _LOOKS_S:
            self._since.clear()
        self._looked_s = now_s
        found = {}
        for tp, (end, asked_s) in ends.items():
            at = reached.get(tp)
            if at is None or end <= at or wall_s - asked_s > _FRESH_S:
                self._forget(tp)
                continue
            before, since_s = self._since.get(tp, (at, now_s))
            if before != at:
                self._forget(tp)
                since_s = now_s
            self._since[tp] = at, since_s
            if now_s - since_s >= GIVE_UP_S:
                found[tp] = Standstill.GIVE_UP
            elif now_s - since_s >= ANOTHER_S and tp not in self._told:
                self._told.add(tp)
                found[tp] = Standstill.ANOTHER_CLIENT
        return found

    def _forget(self, tp: TP) -> None:
        self._since.pop(tp, None)
        self._told.discard(tp)
