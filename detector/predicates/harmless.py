"""A drift that was shown to do no harm: for an hour after it was last there it is no news.

A tenant that comes and goes, a job that runs every quarter of an hour: each time the windows move to
the same place, or half of the way to it while they fill. Whatever else they move to is news as before.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from detector.predicates.given import yardstick_of
from detector.predicates.yardstick import Yardstick
from detector.windows.panes import Counts

MEMORY_S = 3600
_LEAST_IN_STRATUM = 30  # records: a place is known from some seconds
_TOLD = 0.9  # of a window, for it to be the same drift


class Harmless:
    """Of one stream: where the last harmless drift went, until when that is remembered.

    Args:
        strata: of how many parts the histograms consist.
    """

    __slots__ = ("_places", "_strata", "_until")

    def __init__(self, strata: int) -> None:
        self._strata = strata
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

    def _measure(self, counts: Counts) -> Yardstick:
        return yardstick_of(counts, self._strata, _LEAST_IN_STRATUM)

    def is_known(self, window: Counts, n: int, threshold: float, phi: float, boundary: int) -> bool:
        """Whether a window, of which `n` records are judged, lies within `threshold` nats of such a place."""
        if not self._places or boundary >= self._until:
            self._places = []
            return False
        for place in self._places:
            told = place.judged(window[np.newaxis], [n])[0] >= _TOLD * n
            left = place.beyond_chance(window, phi)
            if told and left is not None and left <= threshold:
                return True
        return False

    def state(self) -> Any:
        """Plain values that `load` takes back."""
        return [self._until, [place.counts.tolist() for place in self._places]]

    def load(self, state: Sequence[Any]) -> None:
        """Take over what `state` returned."""
        self._until = state[0]
        self._places = [self._measure(np.array(counts, dtype=np.int64)) for counts in state[1]]
