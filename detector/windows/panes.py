"""Histogram panes of one second, with running totals over several window lengths.

A pane holds the counts of one event-time second [s, s + 1). Closing a pane adds it to the total of
every window and subtracts the pane that leaves it (subtract on evict), so reading a window costs
nothing and integers keep it exact for ever. A record that is late, but inside the longest window,
goes into its own pane and into the totals of the windows that hold it.

Windows are half-open: after the pane [b - 1, b) is closed, the window of length L is [b - L, b).
Cost: O(spans x bins) a second, memory longest x bins x 4 bytes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def _by_second(pane: tuple[int, int]) -> int:
    return pane[1]


def _pack(values: npt.NDArray[Any]) -> tuple[str, bytes]:
    """Counts >= 0 in the narrowest type that holds them: an hour of panes has to fit into a snapshot."""
    kind = np.min_scalar_type(values.max()) if len(values) else np.dtype(np.uint8)
    return kind.str, values.astype(kind).tobytes()


def _unpack(packed: tuple[str, bytes]) -> Counts:
    kind, data = packed
    return np.frombuffer(data, dtype=np.dtype(kind)).astype(np.int64)


class PaneRing:
    """Counts over `bins` bins in windows of `spans` seconds, ascending.

    Attributes:
        boundary: the second whose pane closes next, or None before the first record.
        totals: int64 array (len(spans), bins); row i is the window of spans[i] seconds.
        nothing: what `close` returns where no window has changed; not to be written to.
    """

    __slots__ = ("_filled", "_open", "_ring", "_spans", "boundary", "longest", "nothing", "spans", "totals")

    def __init__(self, bins: int, spans: Sequence[int]) -> None:
        self.spans = tuple(spans)
        self.longest = self.spans[-1]
        self._spans = np.array(self.spans)
        self._ring = np.zeros((self.longest, bins), dtype=np.int32)
        self._open: dict[int, Counts] = {}
        self._filled: set[int] = set()  # closed seconds in the longest window that hold records
        self.nothing: Counts = np.zeros(bins, dtype=np.int64)
        self.totals: Counts = np.zeros((len(self.spans), bins), dtype=np.int64)
        self.boundary: int | None = None

    @property
    def bins(self) -> int:
        """Number of bins of each pane."""
        return int(self._ring.shape[1])

    def start(self, boundary: int) -> None:
        """Set the second whose pane closes first; once."""
        self.boundary = boundary

    def add(self, second: int, counts: npt.ArrayLike) -> bool:
        """Add counts, shape (bins,), to the pane of `second`; False if it is older than every window."""
        boundary = self.boundary
        if boundary is None:
            raise RuntimeError("start() comes before add()")
        if second >= boundary:
            pane = self._open.get(second)
            if pane is None:
                self._open[second] = np.array(counts, dtype=np.int64)
            else:
                pane += np.asarray(counts, dtype=np.int64)
            return True
        age = boundary - second
        if age > self.longest:
            return False
        added = np.asarray(counts, dtype=np.int64)
        self._ring[second % self.longest] += added.astype(np.int32)
        self._filled.add(second)
        self.totals[self._spans >= age] += added
        return True

    def close(self) -> Counts:
        """Close the pane [boundary, boundary + 1); return the one that left the longest window, (bins,)."""
        second = self.boundary
        if second is None:
            raise RuntimeError("start() comes before close()")
        self.boundary = second + 1
        if not self._moves(second):
            return self.nothing
        slot = second % self.longest
        evicted: Counts = self._ring[slot].astype(np.int64)
        self.totals -= self._ring[(second - self._spans) % self.longest]
        pane = self._open.pop(second, None)
        if pane is None:
            self._ring[slot] = 0
        else:
            self._ring[slot] = pane
            self.totals += pane
            self._filled.add(second)
        self._filled.discard(second - self.longest)
        return evicted

    def _moves(self, second: int) -> bool:
        """Whether closing the pane of `second` changes a window: it or one that leaves holds records."""
        if second in self._open:
            return True
        filled = self._filled
        return bool(filled) and not filled.isdisjoint([second - span for span in self.spans])

    def jump(self, boundary: int) -> list[tuple[int, Counts]]:
        """Close all panes before `boundary`; return the filled ones that leave the longest window, in order.

        The same as `close` again and again, at the cost of a few; panes with records are closed one by one.
        """
        left: list[tuple[int, Counts]] = []
        while self._open and self.boundary is not None and self.boundary < boundary:
            second = self.boundary - self.longest
            left.append((second, self.close()))
        if self.boundary is None or self.boundary >= boundary:
            return left
        newest = self.boundary - 1
        used = np.flatnonzero(self._ring.any(axis=1))
        seconds = newest - (newest - used) % self.longest
        leaving = seconds < boundary - self.longest
        for slot, second in sorted(
            zip(used[leaving].tolist(), seconds[leaving].tolist(), strict=True), key=_by_second
        ):
            left.append((second, self._ring[slot].astype(np.int64)))
            self._ring[slot] = 0
        self.boundary = boundary
        self._filled = {second for second in self._filled if second >= boundary - self.longest}
        self._add_up()
        return left

    def _add_up(self) -> None:
        if self.boundary is not None:
            for row, span in enumerate(self.spans):
                slots = np.arange(self.boundary - span, self.boundary) % self.longest
                self.totals[row] = self._ring[slots].sum(axis=0)

    def clear(self) -> None:
        """Forget every count, keep the time."""
        self._ring[:] = 0
        self.totals[:] = 0
        self._open.clear()
        self._filled.clear()

    def idle(self) -> bool:
        """Whether no pane that is still to be closed holds a record."""
        return not self._open

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back; empty cells are left out."""
        flat = self._ring.ravel()
        used = np.flatnonzero(flat)
        return {
            "boundary": self.boundary,
            "cells": _pack(np.diff(used, prepend=0)),
            "counts": _pack(flat[used]),
            "open": [(second, pane.tolist()) for second, pane in self._open.items()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned, of a ring of the same shape."""
        self.clear()
        self.boundary = state["boundary"]
        cells = np.cumsum(_unpack(state["cells"]))
        self._ring.ravel()[cells] = _unpack(state["counts"])
        self._open = {second: np.array(pane, dtype=np.int64) for second, pane in state["open"]}
        if self.boundary is not None:
            newest = self.boundary - 1
            used = np.flatnonzero(self._ring.any(axis=1))
            self._filled = set((newest - (newest - used) % self.longest).tolist())
        self._add_up()
