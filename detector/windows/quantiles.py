"""Quantiles of positive values from logarithmic buckets, with a guaranteed relative error.

With accuracy a and g = (1 + a) / (1 - a), the bucket i holds (g^(i-1), g^i]; answering with
2 g^i / (g + 1) is wrong by at most a, relatively, for every quantile. At a = 1 % some 1,200 buckets
span 0.1 ms to 2 weeks. Counts add and subtract, so panes merge into windows exactly.

Source: C. Masson, J. E. Rim, H. K. Lee (2019), DDSketch, VLDB 12(12).
"""

import math
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ACCURACY = 0.01
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_SCALE = 1 / math.log(_GAMMA)
_SMALLEST = 1e-4
_UNSORTED = 8192  # values; a pane of ten seconds holds fewer on most routes
_FEW = 48  # below it a loop is faster than an array


class LogBuckets:
    """A multiset of values, in logarithmic buckets. Values under 0.1 ms count as 0.1 ms."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0

    def add(self, values: Sequence[float]) -> None:
        """Add values, each finite and >= 0, in the unit in which quantiles are wanted."""
        if len(values) < _FEW:
            log, ceil = math.log, math.ceil
            for value in values:
                self._counts[ceil(log(max(value, _SMALLEST)) * _SCALE)] += 1
            self.count += len(values)
            return
        buckets = np.ceil(np.log(np.maximum(values, _SMALLEST)) * _SCALE).astype(np.int64)
        lowest = int(buckets.min())
        for bucket, count in enumerate(np.bincount(buckets - lowest).tolist(), lowest):
            if count:
                self._counts[bucket] += count
        self.count += len(values)

    def merge(self, other: "LogBuckets") -> None:
        """Add another multiset to this one; the other is left alone."""
        for bucket, count in other._counts.items():
            self._counts[bucket] += count
        self.count += other.count

    def subtract(self, other: "LogBuckets") -> None:
        """Take out a multiset that was merged before."""
        for bucket, count in other._counts.items():
            left = self._counts[bucket] - count
            if left:
                self._counts[bucket] = left
            else:
                del self._counts[bucket]
        self.count -= other.count

    def quantile(self, q: float) -> float | None:
        """Return the value of rank floor(q (n - 1)), 0 <= q <= 1, within 1 %; None when empty."""
        if not self.count:
            return None
        rank = math.floor(q * (self.count - 1))
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen > rank:
                return 2 * _GAMMA**bucket / (_GAMMA + 1)
        raise AssertionError("count and buckets disagree")

    def state(self) -> dict[int, int]:
        """Plain values that `load` takes back."""
        return dict(self._counts)

    def load(self, state: dict[int, int]) -> None:
        """Take over what `state` returned."""
        self._counts = Counter(state)
        self.count = sum(state.values())


class QuantileWindow:
    """Quantiles over the last `panes` panes of `pane_s` seconds, the open one included.

    Quantiles are asked for rarely and values come in drops: they are put into buckets some thousands at once.
    """

    __slots__ = ("_pane_s", "_panes", "_size", "_unsorted")

    def __init__(self, pane_s: int = 10, panes: int = 6) -> None:
        self._pane_s = pane_s
        self._size = panes
        self._panes: deque[tuple[int, LogBuckets]] = deque()
        self._unsorted = array("d")  # values of the open pane that are in no bucket yet

    def add(self, second: float, values: Sequence[float] | NDArray[np.float64]) -> None:
        """Add values to the pane that is open at `second` (event time, seconds)."""
        pane = int(second) // self._pane_s
        if not self._panes or pane > self._panes[-1][0]:
            self._sort()
            self._panes.append((pane, LogBuckets()))
            while self._panes[0][0] <= pane - self._size:
                self._panes.popleft()
        if isinstance(values, np.ndarray):
            self._unsorted.frombytes(values.tobytes())
        else:
            self._unsorted.extend(values)
        if len(self._unsorted) >= _UNSORTED:
            self._sort()

    def _sort(self) -> None:
        if self._unsorted:
            self._panes[-1][1].add(self._unsorted)
            self._unsorted = array("d")

    def quantile(self, q: float) -> float | None:
        """Quantile over the window, within 1 %; None when it is empty."""
        self._sort()
        # Put together when somebody asks, which is seldom: at a breach.
        total = LogBuckets()
        for _, buckets in self._panes:
            total.merge(buckets)
        return total.quantile(q)

    def clear(self) -> None:
        """Forget every value."""
        self._panes.clear()
        self._unsorted = array("d")

    def state(self) -> list[tuple[int, dict[int, int]]]:
        """Plain values that `load` takes back."""
        self._sort()
        return [(pane, buckets.state()) for pane, buckets in self._panes]

    def load(self, state: Any) -> None:
        """Take over what `state` returned."""
        self.clear()
        for pane, counts in state:
            buckets = LogBuckets()
            buckets.load(counts)
            self._panes.append((pane, buckets))
