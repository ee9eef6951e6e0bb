"""When snapshots are taken: in spare moments, or after a while where there are none.

A snapshot can wait, and a record that has come cannot.
"""

import time
from collections.abc import Callable, Mapping

from detector.service.cover import Cover
from detector.service.snapshots import TURN_S

_SHARE = 0.1  # of the event loop's time
_EVERY_S = 0.05  # for each partition, where there is time to spare
_AT_LATEST_S = 0.3


class Upkeep:
    """Gives the partitions' covers their turns, the longest waiting one first, in a share of the time."""

    def __init__(self, observe: Callable[[float], object]) -> None:
        """Args: `observe`: told how long each turn took, seconds."""
        self._observe = observe
        self._turned: dict[int, float] = {}
        self._allowance_s = 0.0
        self._now = time.monotonic()

    def in_a_spare_moment(self, covers: Mapping[int, Cover]) -> None:
        """Give one partition a turn, unless all have just had one."""
        self._turn(covers, _EVERY_S)

    def at_latest(self, covers: Mapping[int, Cover]) -> None:
        """Give one partition a turn that has waited for long."""
        self._turn(covers, _AT_LATEST_S)

    def _turn(self, covers: Mapping[int, Cover], every_s: float) -> None:
        now = time.monotonic()
        self._allowance_s = min(self._allowance_s + _SHARE * (now - self._now), _SHARE)
        self._now = now
        self._turned = {number: self._turned.get(number, now - 2 * every_s) for number in covers}
        if not covers:
            return
        number = min(covers, key=self._turned.__getitem__)
        waited_s = now - self._turned[number]
        if waited_s < every_s:
            return
        self._turned[number] = now
        began = time.perf_counter()
        covers[number].turn(waited_s, min(TURN_S, self._allowance_s))
        spent_s = time.perf_counter() - began
        self._allowance_s -= spent_s
        self._observe(spent_s)
