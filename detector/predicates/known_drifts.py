"""Drifts that are no news: to where the stream was shown to take no harm, or back to where it came from.

A tenant that comes and goes, a job that runs every quarter of an hour: each time the windows move to
the same place, or half of the way to it while they fill. For an hour after it was last there that is
known. When a drift lasts, the reference follows it, and its end looks like another one: for a day what
was usual before a breach is known too, and all that lies between that and what is usual now.
Whatever else windows move to is news as before.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from detector.predicates.given import yardstick_of
from detector.predicates.yardstick import Yardstick
from detector.windows.panes import Counts

MEMORY_S = 3600
LEFT_S = 26 * 3600  # a day, and what its rhythm varies
_LEFT_KEPT = 4
# Of a window that fills with what it comes back to: between any two of them lie less than 0.05 nats.
_SHARES = (1.0, 0.75, 0.5, 0.25, 0.125)
_LEAST_IN_STRATUM = 30  # records: a place is known from some seconds
_TOLD = 0.9  # of a window, for it to be the same drift


class KnownDrifts:
    """Of one stream: where the last harmless drift went, and what was usual before breaches.

    Args:
        strata: of how many parts the histograms consist.
    """

    __slots__ = ("_left", "_places", "_strata", "_until")

    def __init__(self, strata: int) -> None:
        self._strata = strata
        self._places: list[Yardstick] = []
        self._until = 0
        self._left: deque[tuple[int, Counts]] = deque(maxlen=_LEFT_KEPT)  # until when, counts

    def begin(self, usual: Counts, boundary: int) -> None:
        """A breach has begun; `usual` was what windows were compared with."""
        self._left.append((boundary + LEFT_S, usual.copy()))

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

    def is_known(
        self, window: Counts, n: int, threshold: float, phi: float, usual: Counts, boundary: int
    ) -> bool:
        """Whether a window, of which `n` records are judged, lies within `threshold` nats of such a place.

        `usual`: what it is compared with now.
        """
        if boundary >= self._until:
            self._places = []
        if any(_is_at(place, window, n, threshold, phi) for place in self._places):
            self.again(boundary)
            return True
        return any(_is_at(place, window, n, threshold, phi) for place in self._ways_back(usual, boundary))

    def _ways_back(self, usual: Counts, boundary: int) -> Iterator[Yardstick]:
        for until, left in reversed(self._left):
            if boundary < until and left.sum() and usual.sum():
                most = max(left.sum(), usual.sum())
                for share in _SHARES:
                    mixed = share * left * (most / left.sum()) + (1 - share) * usual * (most / usual.sum())
                    yield self._measure(np.round(mixed).astype(np.int64))

    def state(self) -> Any:
        """Plain values that `load` takes back."""
        left = [(until, counts.tolist()) for until, counts in self._left]
        return [self._until, [place.counts.tolist() for place in self._places], left]

    def load(self, state: Sequence[Any]) -> None:
        """Take over what `state` returned."""
        self._until, places, left = state
        self._places = [self._measure(np.array(counts, dtype=np.int64)) for counts in places]
        self._left = deque(((until, np.array(counts)) for until, counts in left), maxlen=_LEFT_KEPT)


def _is_at(place: Yardstick, window: Counts, n: int, threshold: float, phi: float) -> bool:
    told = place.judged(window[np.newaxis], [n])[0] >= _TOLD * n
    left = place.beyond_chance(window, phi)
    return bool(told and left is not None and left <= threshold)
