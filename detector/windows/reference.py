"""Reference histograms: what this stream looked like before the windows, over the last hour or a day ago.

Panes enter when they leave the longest window, so the lag equals that window and a drift cannot
stand in its own reference. While the stream is frozen nothing enters or leaves. Kept in buckets of
one minute.
"""

from collections import deque
from typing import Any

import numpy as np

from detector.windows.panes import Counts

BUCKET_S = 60
SEASON_BUCKET_S = 600
AROUND_S = 1800
DAY_S = 86_400


class TrailingReference:
    """Counts over the last `horizon_s` seconds of admitted panes.

    Attributes:
        totals: int64 array (bins,), over all whole and open buckets.
    """

    __slots__ = ("_buckets", "_first", "_horizon_s", "_last", "_newest", "totals")

    def __init__(self, bins: int, horizon_s: int = 3600) -> None:
        self._horizon_s = horizon_s
        # Only the newest bucket changes; the others are kept as a snapshot takes them.
        self._buckets: deque[tuple[int, list[int]]] = deque()
        self._newest: Counts = np.zeros(bins, dtype=np.int64)
        self._first: int | None = None
        self._last = 0
        self.totals: Counts = np.zeros(bins, dtype=np.int64)

    def usual(self) -> Counts:
        """What windows are to be compared with now; not to be written to."""
        return self.totals

    @property
    def span_s(self) -> int:
        """Seconds from the first pane ever admitted to the last, at most the horizon."""
        return 0 if self._first is None else min(self._last + 1 - self._first, self._horizon_s)

    def admit(self, second: int, counts: Counts) -> bool:
        """Add the pane of `second`; return whether a new bucket began (time to look at the totals again)."""
        if self._first is None:
            self._first = second
        self._last = second
        bucket = second - second % BUCKET_S
        fresh = not self._buckets or self._buckets[-1][0] != bucket
        if fresh:
            self._store()
            self._buckets.append((bucket, []))
            self._newest = counts.copy()
            while self._buckets[0][0] <= bucket - self._horizon_s:
                self.totals -= self._buckets.popleft()[1]
        else:
            self._newest += counts
        self.totals += counts
        return fresh

    def _store(self) -> None:
        if self._buckets:
            self._buckets[-1] = (self._buckets[-1][0], self._newest.tolist())

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back."""
        self._store()
        return {"buckets": list(self._buckets), "first": self._first, "last": self._last}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self._first, self._last = state["first"], state["last"]
        self._buckets = deque((second, list(counts)) for second, counts in state["buckets"])
        self.totals[:] = 0
        if self._buckets:
            held = np.array([counts for _, counts in self._buckets], dtype=np.int64)
            self._newest = held[-1].copy()
            self.totals += held.sum(axis=0)


class SeasonalReference(TrailingReference):
    """The hour around this time yesterday; the trailing hour until yesterday is known.

    Kept in buckets of ten minutes for a day and half an hour.
    """

    __slots__ = ("_day",)

    def __init__(self, bins: int) -> None:
        super().__init__(bins)
        self._day: deque[tuple[int, Counts]] = deque()

    def admit(self, second: int, counts: Counts) -> bool:
        """See `TrailingReference.admit`."""
        bucket = second - second % SEASON_BUCKET_S
        if self._day and self._day[-1][0] == bucket:
            self._day[-1][1].__iadd__(counts)
        else:
            self._day.append((bucket, counts.copy()))
            while self._day[0][0] < bucket - DAY_S - AROUND_S:
                self._day.popleft()
        return super().admit(second, counts)

    def usual(self) -> Counts:
        """See `TrailingReference.usual`."""
        yesterday = self._last - DAY_S
        around = [counts for second, counts in self._day if abs(second - yesterday) <= AROUND_S]
        if not around or self._day[0][0] > yesterday - AROUND_S + SEASON_BUCKET_S:
            return self.totals
        total: Counts = np.sum(around, axis=0)
        return total

    def state(self) -> dict[str, Any]:
        """See `TrailingReference.state`."""
        return super().state() | {"day": [(second, counts.tolist()) for second, counts in self._day]}

    def load(self, state: dict[str, Any]) -> None:
        """See `TrailingReference.load`."""
        super().load(state)
        self._day = deque((second, np.array(counts, dtype=np.int64)) for second, counts in state["day"])
