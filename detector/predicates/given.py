"""A reference to compare like with like: how a field is distributed, given what was asked.

    KL(P(y|x) || Q(y|x)) = sum_x p(x) KL(P(y|x) || Q(y|x))

is what is left of the divergence of (x, y) once that of x is taken off: callers that come and go move the
mix of answers, and none of their answers. Histograms are of pairs, stratum by stratum. A stratum of which
the reference holds too few records is not judged: so many are asked of each as of a whole.

Source: T. M. Cover, J. A. Thomas (2006), Elements of Information Theory, theorem 2.5.3 (chain rule).
"""

import math
from typing import Any

import numpy as np

from detector.predicates.kl import bias_tables, reference_share, summed_bias
from detector.predicates.yardstick import LEAST_REFERENCE, Yardstick
from detector.windows.panes import Counts

_AS_MUCH = 0.9  # of the records that can be compared now


class GivenYardstick(Yardstick):
    """One reference of pairs, (stratum, bin) flat; `n` counts the records of the strata that are judged.

    Args:
        counts: int64 array (strata x bins,).
        strata: how many.
        least: records of a stratum that is judged.
    """

    __slots__ = ("_bins", "_known", "_sizes", "_tables")

    def __init__(self, counts: Counts, strata: int, least: int = LEAST_REFERENCE) -> None:
        self.counts = np.array(counts, dtype=np.int64)
        table = self.counts.reshape(strata, -1)
        self._bins = table.shape[1]
        self._sizes: Any = table.sum(axis=1)
        self._known: Any = self._sizes >= least
        self.n = int(self._sizes[self._known].sum())
        shares = np.stack([reference_share(row) for row in table])
        self.q = shares.ravel()
        self._log_q = np.log(self.q)
        self._occupied = self.counts > 0
        self._bias = None
        self._tables: Any = None

    @property
    def freedom(self) -> int:
        """See `Yardstick.freedom`."""
        occupied = self._strata(self._occupied).sum(axis=1)[self._known]
        return max(1, int((occupied - 1).sum()))

    def judged(self, totals: Counts, sizes: list[int]) -> list[int]:
        """See `Yardstick.judged`: those of known strata."""
        found: list[int] = self._by_stratum(totals).sum(axis=1).tolist()
        return found

    def distances(self, totals: Counts, sizes: list[int]) -> list[float]:
        """See `Yardstick.distances`; `sizes` are what `judged` has said."""
        logs = np.log(np.maximum(totals, 1))
        logs -= self._log_q
        logs *= totals
        of_strata = logs.reshape(len(totals), len(self._known), self._bins).sum(axis=2)
        by_stratum = self._by_stratum(totals)
        of_strata -= by_stratum * np.log(np.maximum(by_stratum, 1))
        sums: list[float] = of_strata[:, self._known].sum(axis=1).tolist()
        return [one / n if n else 0.0 for one, n in zip(sums, sizes, strict=True)]

    def biases(self, totals: Counts, sizes: list[int]) -> list[float]:
        """See `Yardstick.biases`."""
        if self._tables is None:
            self._tables = bias_tables(self._strata(self.counts))
        sums: list[float] = summed_bias(self._tables, self._by_stratum(totals)).tolist()
        return [one / max(n, 1) for one, n in zip(sums, sizes, strict=True)]

    def contributions(self, counts: Counts, n: int, most: int) -> list[tuple[int, float, float]]:
        """See `Yardstick.contributions`; shares are of the bin's own stratum."""
        held = self._strata(counts).sum(axis=1)
        share = counts / np.repeat(np.maximum(held, 1), self._bins)
        parts = counts / n * (np.log(np.maximum(share, 1e-12)) - self._log_q)
        parts[~np.repeat(self._known, self._bins)] = -math.inf
        top = np.argsort(-parts, kind="stable")[:most]
        return [(int(i), float(share[i]), float(self.q[i])) for i in top if parts[i] > 0]

    def far_from(self, first: Yardstick) -> float:
        """See `Yardstick.far_from`; of strata that both know, less what chance explains."""
        table = self._strata(self.counts).copy()
        table[~self._known] = 0
        return first.beyond_chance(table.ravel(), 1.0) or 0.0

    def _spread(self, counts: Counts, n: int) -> tuple[float, float]:
        held = self._strata(counts).sum(axis=1)
        occupied = self._strata(self._occupied | (counts > 0)).sum(axis=1)
        freedom = np.where(self._known & (held > 0), occupied - 1, 0)
        # A sum of chi-squares, each with the weight of its own window and reference, is taken for the one of
        # the same mean and variance (F. E. Satterthwaite 1946, Biometrics Bulletin 2).
        weight = 1.0 + held / np.maximum(self._sizes, 1)
        sums, squares = float((freedom * weight).sum()), float((freedom * weight * weight).sum())
        return (sums * sums / squares, squares / sums / n) if squares else (1.0, 1.0 / n)

    def _strata(self, cells: Any) -> Any:
        return cells.reshape(len(self._known), self._bins)

    def _by_stratum(self, totals: Counts) -> Any:
        """Records by window and stratum; none in those that are not known."""
        return totals.reshape(len(totals), len(self._known), self._bins).sum(axis=2) * self._known


def yardstick_of(counts: Counts, strata: int, least: int = LEAST_REFERENCE) -> Yardstick:
    """The yardstick for histograms of so many strata; 1: of a field by itself."""
    return Yardstick(counts) if strata == 1 else GivenYardstick(counts, strata, least)


def tells_as_much(usual: Yardstick, present: Yardstick | None, window: Counts) -> bool:
    """Whether `window`, shape (1, bins), can be compared with what is usual as with the present yardstick.

    An hour may know less of a caller than a calibration does.
    """
    if present is None:
        return usual.n >= LEAST_REFERENCE
    size = [int(window.sum())]
    known = usual.judged(window, size)[0]
    return usual.n >= LEAST_REFERENCE and known >= _AS_MUCH * present.judged(window, size)[0]
