"""Counts per second of one route and predicate, from which everything is learnt.

Rows are counted in whatever order they come: a count says nothing of order, so files may be given
in any. Memory goes with seconds x bins that occur, not with records; once there are many, the fine
bins are merged into the ones that the route will be judged by.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

RATIO = 1.03  # width of a fine bin: integers up to 33 have one each
_SMALLEST, _LARGEST = 1e-6, 1e9
_HALF = np.exp(np.arange(np.log(_SMALLEST), np.log(_LARGEST), np.log(RATIO)))
# Whole numbers up to where bins are wider than one are edges too: counts keep a bin each.
# Six digits, as they are written: whoever reads the file counts by the same edges.
_POSITIVE = np.unique([float(f"{edge:.6g}") for edge in (*_HALF.tolist(), *map(float, range(1, 34)))])
FINE: Floats = np.concatenate([-_POSITIVE[::-1], [0.0], _POSITIVE])
MOST_CELLS = 4_000_000
_MOST_CATEGORIES = 10_000
_MOST_BAD = 2_000_000
SLOT_S = 600


class Cells:
    """A sparse table of counts: row (a second, or any whole number) x column -> count."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._parts: list[tuple[Ints, Ints]] = []
        self._waiting: list[Ints] = []
        self._n = 0

    def add(self, rows: Ints, columns: Ints) -> None:
        """Count one for each (row, column)."""
        self._waiting.append(rows * self.columns + columns)
        self._n += len(rows)
        if self._n > 1 << 18:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            codes, counts = np.unique(np.concatenate(self._waiting), return_counts=True)
            self._parts.append((codes, counts))
            self._waiting, self._n = [], 0
        if len(self._parts) > 16:
            self._parts = [self._merged()]

    def _merged(self) -> tuple[Ints, Ints]:
        if not self._parts:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        codes, where = np.unique(np.concatenate([part[0] for part in self._parts]), return_inverse=True)
        weights = np.concatenate([part[1] for part in self._parts])
        return codes, np.bincount(where, weights=weights, minlength=len(codes)).astype(np.int64)

    @property
    def size(self) -> int:
        """Cells held, at most."""
        return sum(len(codes) for codes, _ in self._parts) + self._n

    def read(self) -> tuple[Ints, Ints, Ints]:
        """(rows, columns, counts), ascending."""
        self._flush()
        merged = self._merged()
        self._parts = [merged]
        return merged[0] // self.columns, merged[0] % self.columns, merged[1]

    def recode(self, columns: Ints, width: int) -> None:
        """Merge columns: old column i becomes `columns[i]`, of `width` in all."""
        rows, old, counts = self.read()
        codes, where = np.unique(rows * width + columns[old], return_inverse=True)
        self._parts = [(codes, np.bincount(where, weights=counts, minlength=len(codes)).astype(np.int64))]
        self.columns = width


class ShareTally:
    """Judged and bad calls per second, and where in its minute each bad call stood.

    `slots` counts values by `SLOT_S` seconds and fine bin, for limits that are to be proposed.
    """

    def __init__(self, keep_values: bool) -> None:
        self.cells = Cells(2)
        self.slots = Cells(len(FINE) + 1) if keep_values else None
        self._minutes: dict[int, list[Any]] = {}  # minute -> [judged, positions of bad ones, ...]
        self._bad = 0

    def add(self, times: Floats, bad: npt.NDArray[np.bool_], values: Floats | None = None) -> None:
        """Count judged calls, in the order in which they came."""
        if not len(times):
            return
        seconds = np.floor(times).astype(np.int64)
        self.cells.add(seconds, bad.astype(np.int64))
        if self.slots is not None and values is not None:
            self.slots.add(seconds // SLOT_S, np.searchsorted(FINE, values, side="right"))
        minutes = seconds // 60
        for minute in np.unique(minutes).tolist():
            mine = bad[minutes == minute]
            kept = self._minutes.setdefault(minute, [0])
            found = np.flatnonzero(mine)
            if self._bad < _MOST_BAD and len(found):
                kept.append((found + kept[0]).astype(np.int32))
                self._bad += len(found)
            kept[0] += len(mine)

    def minutes(self) -> dict[int, tuple[int, Ints]]:
        """Minute -> (judged calls, ascending positions of the bad ones among them)."""
        return {
            minute: (n, np.concatenate(bad).astype(np.int64) if bad else np.zeros(0, np.int64))
            for minute, (n, *bad) in sorted(self._minutes.items())
        }


class ValueTally:
    """Values of a field per second: numbers by fine bins, texts by value."""

    def __init__(self) -> None:
        self.numeric: bool | None = None
        self.cells = Cells(len(FINE) + 1)
        self.edges: Floats = FINE
        self.known: dict[str, int] = {}
        self.settled: tuple[tuple[float, ...] | None, tuple[str, ...] | None] | None = None

    def add(self, times: Floats, values: Sequence[Any]) -> None:
        """Count values, none of them None; the first one says whether they are numbers or texts."""
        if self.numeric is None:
            self.numeric = not isinstance(values[0], str)
            if not self.numeric:
                self.cells = Cells(_MOST_CATEGORIES + 1)
        fits = [isinstance(value, str) is not self.numeric for value in values]
        if not all(fits):
            times = times[np.array(fits)]
            values = [value for value, fit in zip(values, fits, strict=True) if fit]
        seconds = np.floor(times).astype(np.int64)
        if self.numeric:
            columns = np.searchsorted(self.edges, np.asarray(values, np.float64), side="right")
        else:
            columns = np.array([self._category(value) for value in values], np.int64)
        self.cells.add(seconds, columns)
        if self.numeric and self.edges is FINE and self.cells.size > MOST_CELLS:
            self.use(quantile_edges(self.totals()))

    def _category(self, value: str) -> int:
        found = self.known.get(value)
        if found is None:
            if len(self.known) == _MOST_CATEGORIES:
                return _MOST_CATEGORIES
            found = self.known[value] = len(self.known)
        return found

    def totals(self, keep: npt.NDArray[np.bool_] | None = None) -> Ints:
        """Counts per column, of all rows or of those to keep."""
        _, columns, counts = self.cells.read()
        if keep is not None:
            columns, counts = columns[keep], counts[keep]
        return np.bincount(columns, weights=counts, minlength=self.cells.columns).astype(np.int64)

    def use(self, edges: Floats) -> None:
        """Judge by `edges` from now on; each is one of the present edges."""
        middles = np.concatenate([[-np.inf], self.edges])
        self.cells.recode(np.searchsorted(edges, middles, side="right"), len(edges) + 1)
        self.edges = edges


QUANTILES = (0.001, 0.01, 0.05, 0.125, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.875, 0.95, 0.99, 0.999)
_CROWDED = 0.01  # of the values in an outer bin: what joins them from beyond would hardly show


def quantile_edges(totals: Ints) -> Floats:
    """Edges at the tail-augmented quantiles of fine counts; fewer where values are tied.

    Where that leaves many values in an outer bin, as prompts of one template or answers cut at a limit do,
    one more edge on their far side gives what is beyond all of them a bin of its own, empty so far: 30 % code
    prompts among recorded ones that begin at 891 tokens are 0.07 nats without it, 0.71 with it.
    """
    below = np.cumsum(totals)
    n = below[-1]
    # A value belongs to the bin on the right of an edge; the edge is the upper end of the bin that holds it.
    found = np.searchsorted(below / n, np.array(QUANTILES), side="left")
    inner = np.unique(found)
    inner = inner[(inner < len(FINE)) & (below[inner] < n)]
    lowest, highest = int(found[0]), int(found[-1])
    first, last = (below[inner[0]], n - below[inner[-1]]) if len(inner) else (n, n)
    under = [lowest - 1] if first > _CROWDED * n and _may_be_under(lowest, below) else []
    over = [highest] if last > _CROWDED * n and highest < len(FINE) else []
    edges: Floats = FINE[[*under, *inner.tolist(), *over]]
    return edges


def _may_be_under(column: int, below: Ints) -> bool:
    """Whether values may come under this fine bin: under zero only where some did."""
    return column > 0 and bool(FINE[column - 1] != 0 or below[column - 1])
