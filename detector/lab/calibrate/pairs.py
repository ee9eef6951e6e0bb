"""Counts per second of token counts given a field: pairs of stratum and octave."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from detector.lab.calibrate.tally import MOST_CELLS, Cells, Floats, Ints
from detector.predicates.bins import NAMED, TOKEN_BINS, TokenBins
from detector.predicates.pair_bins import LengthStrata
from detector.windows.kinds import KINDS

_MOST_STRATA = 10_000


class PairTally:
    """Of one route and predicate; memory goes with seconds x pairs that occur.

    Attributes:
        strata: how many there are, once they are settled; what belongs to none is counted behind them.
        categories: their names, once they are settled; None for lengths.
    """

    def __init__(self, given: str) -> None:
        self._lengths = LengthStrata() if KINDS.get(given) is int else None
        self._known: dict[str, int] = {}
        self._most = _MOST_STRATA
        self.strata = 0 if self._lengths is None else self._lengths.bins
        self.categories: tuple[str, ...] | None = None
        self._tokens = TokenBins()
        self.cells = Cells((1 + (self.strata or _MOST_STRATA)) * TOKEN_BINS)

    def add(self, times: Floats, given: Sequence[Any], tokens: Sequence[int]) -> None:
        """Count pairs, nothing in them None."""
        place = self._stratum if self._lengths is None else self._lengths.place
        strata = np.fromiter(map(place, given), np.int64, len(given))
        columns = strata * TOKEN_BINS + self._tokens.places(tokens)
        self.cells.add(np.floor(times).astype(np.int64), columns)
        if not self.strata and self.cells.size > MOST_CELLS:
            self.settle()

    def _stratum(self, name: str) -> int:
        found = self._known.get(name)
        if found is None:
            if len(self._known) == self._most:
                return self._most
            found = self._known[name] = len(self._known)
        return found

    def settle(self) -> None:
        """Keep the strata with the most calls, in the order of their names."""
        if self.strata:
            return
        totals = self.totals().reshape(-1, TOKEN_BINS).sum(axis=1)
        top = np.argsort(-totals, kind="stable")[:NAMED]
        names = {index: name for name, index in self._known.items()}
        chosen = sorted((names[int(i)], int(i)) for i in top if totals[i] and int(i) in names)
        place = np.full(len(totals), len(chosen), np.int64)
        for number, (_, i) in enumerate(chosen):
            place[i] = number
        self.categories = tuple(name for name, _ in chosen)
        self._known = {name: number for number, name in enumerate(self.categories)}
        self.strata = self._most = len(chosen)
        columns = np.repeat(place, TOKEN_BINS) * TOKEN_BINS + np.tile(np.arange(TOKEN_BINS), len(place))
        self.cells.recode(columns, (self.strata + 1) * TOKEN_BINS)

    def totals(self) -> Ints:
        """Counts per column."""
        _, columns, counts = self.cells.read()
        return np.bincount(columns, weights=counts, minlength=self.cells.columns).astype(np.int64)
