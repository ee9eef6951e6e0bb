"""Histogram panes of one second, with running totals over several window lengths.

A pane holds the counts of one event-time second [s, s + 1). Closing a pane adds it to the total of
every window and subtracts the pane that leaves it (subtract on evict), so reading a window costs
nothing and integers keep it exact for ever. A record that is late, but inside the longest window,
goes into its own pane and into the totals of the windows that hold it.

Windows are half-open: after the pane [b - 1, b) is closed, the window of length L is [b - L, b).
Cost: O(spans x bins) for a second that changes a window, else nothing. Memory: 4 bytes x bins for
each second since the oldest one that holds records, in steps of four, so that a route that has just
come costs little.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

_FIRST_ROWS = 16
_GROWTH = 4


def _pack(values: npt.NDArray[Any]) -> tuple[str, bytes]:
    """Counts >= 0 in the narrowest type that holds them: an hour of panes has to fit into a snapshot."""
    most = int(values.max()) if len(values) else 0
    kind = "|u1" if most < 1 << 8 else "<u2" if most < 1 << 16 else "<u4" if most < 1 << 32 else "<u8"
    return kind, values.astype(kind).tobytes()


def _unpack(packed: tuple[str, bytes]) -> Counts:
    kind, data = packed
    return np.frombuffer(data, dtype=np.dtype(kind)).astype(np.int64)


class PaneRing:
    """Counts over `bins` bins in windows of `spans` seconds, ascending.

    Attributes:
        boundary: the second whose pane closes next, or None before the first record.
        totals: int64 array (len(spans), bins); row i is the window of spans[i] seconds.
        sizes: int64 array (len(spans),), records in each window.
        nothing: what `close` returns where no records left; not to be written to.
        moved: whether the pane closed last changed a window.
    """

    __slots__ = (
        "_filled",
        "_oldest",
        "_open",
        "_panes",
        "_sums",
        "_windows",
        "bins",
        "boundary",
        "longest",
        "moved",
        "nothing",
        "sizes",
        "spans",
        "totals",
    )

    def __init__(self, bins: int, spans: Sequence[int]) -> None:
        self.bins = bins
        self.spans = tuple(spans)
        self.longest = self.spans[-1]
        self.boundary: int | None = None
        self.moved = False
        self.nothing: Counts = np.zeros(bins, dtype=np.int64)
        # One more column than bins holds the number of records: it is kept like any other count.
        self._sums: Counts = np.zeros((len(self.spans), bins + 1), dtype=np.int64)
        self.totals: Counts = self._sums[:, :bins]
        self.sizes: Counts = self._sums[:, bins]
        self._windows = list(zip(self.spans, self._sums, strict=True))
        self._panes = np.zeros((0, bins + 1), dtype=np.int32)  # row second % rows
        self._oldest = 0  # no closed second that holds records is older
        self._open: dict[int, Counts] = {}
        self._filled: set[int] = set()  # closed seconds in the longest window that hold records

    def start(self, boundary: int) -> None:
        """Set the second whose pane closes first; once."""
        self.boundary = boundary

    def add(self, second: int, counts: npt.ArrayLike) -> bool:
        """Add counts, shape (bins,), to the pane of `second`; False if it is older than every window."""
        boundary = self.boundary
        if boundary is None:
            raise RuntimeError("start() comes before add()")
        age = boundary - second
        if age > self.longest:
            return False
        added = np.empty(self.bins + 1, dtype=np.int64)
        added[:-1] = counts
        added[-1] = added[:-1].sum()
        if age <= 0:
            pane = self._open.get(second)
            if pane is None:
                self._open[second] = added
            else:
                pane += added
            return True
        self._keep(second, added)
        for span, sums in self._windows:
            if span >= age:
                sums += added
        return True

    def _keep(self, second: int, counts: Counts) -> None:
        """Add to the pane of a closed second, making room for it first."""
        filled = self._filled
        if not filled:
            self._oldest = second
        elif second < self._oldest:
            self._make_room(second, max(filled))
            self._oldest = second
        self._make_room(self._oldest, second)
        slot = second % len(self._panes)
        if second in filled:
            self._panes[slot] += counts.astype(np.int32)
        else:
            self._panes[slot] = counts
            filled.add(second)

    def _make_room(self, oldest: int, newest: int) -> None:
        """Give every second from `oldest` to `newest` that is still in a window a row of its own."""
        needed = min(newest - oldest + 1, self.longest)
        rows = len(self._panes)
        if needed <= rows:
            return
        larger = max(rows, _FIRST_ROWS)
        while larger < needed:
            larger *= _GROWTH
        larger = min(larger, self.longest)
        panes = np.zeros((larger, self.bins + 1), dtype=np.int32)
        for second in self._filled:
            panes[second % larger] = self._panes[second % rows]
        self._panes = panes

    def close(self) -> Counts:
        """Close the pane [boundary, boundary + 1); return the one that left the longest window, (bins,)."""
        second = self.boundary
        if second is None:
            raise RuntimeError("start() comes before close()")
        self.boundary = second + 1
        pane = self._open.pop(second, None) if self._open else None
        filled = self._filled
        self.moved = pane is not None
        evicted = self.nothing
        if filled:
            panes = self._panes
            rows = len(panes)
            for span, sums in self._windows:
                if second - span in filled:
                    sums -= panes[(second - span) % rows]
                    self.moved = True
            left = second - self.longest
            if left in filled:
                evicted = panes[left % rows, :-1].astype(np.int64)
                filled.remove(left)
            self._oldest = max(self._oldest, left + 1)
        if pane is not None:
            self._sums += pane
            self._keep(second, pane)
        return evicted

    def jump(self, boundary: int) -> list[tuple[int, Counts]]:
        """Close all panes before `boundary`; return the filled ones that leave the longest window, in order.

        The same as `close` again and again, at the cost of a few; panes with records are closed one by one.
        """
        left: list[tuple[int, Counts]] = []
        while self._open and self.boundary is not None and self.boundary < boundary:
            second = self.boundary - self.longest
            evicted = self.close()
            if evicted is not self.nothing:
                left.append((second, evicted))
        if self.boundary is None or self.boundary >= boundary:
            return left
        rows = len(self._panes)
        for second in sorted(second for second in self._filled if second < boundary - self.longest):
            left.append((second, self._panes[second % rows, :-1].astype(np.int64)))
            self._filled.remove(second)
        self.boundary = boundary
        self._oldest = max(self._oldest, boundary - self.longest)
        self._add_up()
        return left

    def _add_up(self) -> None:
        """Make the sums anew from the panes."""
        self._sums[:] = 0
        if self.boundary is None or not self._filled:
            return
        seconds = np.array(sorted(self._filled))
        panes = self._panes[seconds % len(self._panes)]
        end = len(seconds)
        so_far = np.zeros(self.bins + 1, dtype=np.int64)
        for span, sums in self._windows:
            first = int(np.searchsorted(seconds, self.boundary - span))
            so_far += panes[first:end].sum(axis=0)
            sums[:] = so_far
            end = first

    def clear(self) -> None:
        """Forget every count, keep the time."""
        self._sums[:] = 0
        self._open.clear()
        self._filled.clear()

    def idle(self) -> bool:
        """Whether no pane that is still to be closed holds a record."""
        return not self._open

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back: panes that hold records, dense or only their filled cells."""
        seconds = np.array(sorted(self._filled), dtype=np.int64)
        cells = self._panes[seconds % max(1, len(self._panes)), :-1].ravel()
        used = np.flatnonzero(cells)
        gaps = used.copy()
        gaps[1:] -= used[:-1]
        sparse = 2 * len(used) < len(cells)
        newest = self.boundary or 0
        return {
            "boundary": self.boundary,
            "ages": _pack(newest - seconds),
            "cells": _pack(gaps) if sparse else None,
            "counts": _pack(cells[used] if sparse else cells),
            "open": [(second, pane[:-1].tolist()) for second, pane in sorted(self._open.items())],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned, of a ring of the same shape."""
        self.clear()
        self.boundary = state["boundary"]
        seconds = (self.boundary or 0) - _unpack(state["ages"])
        counts = _unpack(state["counts"])
        if state["cells"] is not None:
            found, counts = counts, np.zeros(len(seconds) * self.bins, dtype=np.int64)
            counts[np.cumsum(_unpack(state["cells"]))] = found
        if len(seconds):
            self._oldest = int(seconds[0])
            self._make_room(self._oldest, int(seconds[-1]))
            panes = counts.reshape(-1, self.bins)
            slots = seconds % len(self._panes)
            self._panes[slots, :-1] = panes
            self._panes[slots, -1] = panes.sum(axis=1)
            self._filled = set(seconds.tolist())
        for second, pane in state["open"]:
            self.add(second, pane)
        self._add_up()
