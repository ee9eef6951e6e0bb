"""A drift that was shown to do no harm: for an hour after it was last there it is no news.

A tenant that comes and goes, a job that runs every quarter of an hour: each time the windows move to
the same place, or half of the way to it while they fill. Whatever else they move to is news as before.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from detector.predicates.yardstick import Yardstick
from detector.windows.panes import Counts

MEMORY_S = 3600


class Harmless:
    """Of one stream: where the last harmless drift went, until when that is remembered.

    Args:
        measure: makes a yardstick of a histogram.
    """

    __slots__ = ("_measure", "_places", "_until")

    def __init__(self, measure: Callable[[Counts], Yardstick]) -> None:
        self._measure = measure
        self._places: list[Yardstick] = []
        self._until = 0

    def remember(self, counts: Counts, usual: Counts, boundary: int) -> None:
        """The drift's own histogram, and the one that it was a drift from."""
        n = int(counts.sum())
        halfway = counts + np.round(usual * (n / max(1, int(usual.sum())))).astype(np.int64)
        self._places = [self._measure(counts.copy()), self._measure(halfway)]
        self._until = boundary + MEMORY_S

    def again(self, boundary: int) -> None:
        """It was there until `boundary`, Unix seconds."""
        if self._places:
            self._until = boundary + MEMORY_S

    def is_known(self, window: Counts, threshold: float, phi: float, boundary: int) -> bool:
        """Whether a window lies within `threshold` nats of a remembered place."""
        if not self._places or boundary >= self._until:
            self._places = []
            return False
        return any(place.beyond_chance(window, phi) <= threshold for place in self._places)

    def state(self) -> Any:
        """Plain values that `load` takes back."""
        return [self._until, [place.counts.tolist() for place in self._places]]

    def load(self, state: Sequence[Any]) -> None:
        """Take over what `state` returned."""
        self._until = state[0]
        self._places = [self._measure(np.array(counts, dtype=np.int64)) for counts in state[1]]
