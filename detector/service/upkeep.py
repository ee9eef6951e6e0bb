"""When snapshots are taken: in spare moments, and where there are none in time saved up for them.

A snapshot can wait a little, and a record that has come cannot.
"""

import time
from collections.abc import Callable, Mapping

from detector.service.cover import Cover
from detector.service.snapshots import TURN_S

_SHARE = 0.1  # of the event loop's time
_SAVED_S = 0.02  # of that: a fifth of a second without a spare moment
_EVERY_S = 0.05  # for each partition


class Upkeep:
    """Gives the partitions' covers their turns, the longest waiting one first, in a share of the time."""

    def __init__(self, observe: Callable[[float], object]) -> None:
        """Args: `observe`: told how long each turn took, seconds."""
        self._observe = observe
        self._turned: dict[int, float] = {}
        self._allowance_s = 0.0
        self._now = time.monotonic()

    def in_a_spare_moment(self, covers: Mapping[int, Cover]) -> None:
        """Give the partition that has waited longest a turn, unless all have just had one."""
        self._save()
        self._turn(covers)

    def in_saved_time(self, covers: Mapping[int, Cover]) -> None:
        """Give it a turn if spare moments have been so few that there is time left of the share."""
        self._save()
        if self._allowance_s > _SAVED_S:
            self._turn(covers)

    def _save(self) -> None:
        before, self._now = self._now, time.monotonic()
        self._allowance_s = min(self._allowance_s + _SHARE * (self._now - before), _SHARE)

    def _turn(self, covers: Mapping[int, Cover]) -> None:
        new = self._now - 2 * _EVERY_S  # its turn has come
        self._turned = {number: self._turned.get(number, new) for number in covers}
        number = min(covers, key=self._turned.__getitem__, default=None)
        if number is None or (waited_s := self._now - self._turned[number]) < _EVERY_S:
            return
        self._turned[number] = self._now
        began = time.perf_counter()
        covers[number].turn(waited_s, min(TURN_S, self._allowance_s))
        spent_s = time.perf_counter() - began
        self._allowance_s -= spent_s
        self._observe(spent_s)
