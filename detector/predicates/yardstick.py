"""A reference histogram, made ready to measure windows with: every second, so it has to cost little.

With counts c (n in all) of a window and q of the reference, the raw distance in nats is
sum c (ln c - ln q) / n - ln n; ln q and the bias are worked out once for a reference, the bias
when it is first asked for. See `GivenYardstick` for the one that compares like with like.
"""

import math
from typing import Any

import numpy as np

from detector.predicates.kl import BiasTable, noncentral_chi2_quantile, reference_share
from detector.windows.panes import Counts

LEAST_REFERENCE = 300  # records: fewer say too little of what is usual


class Yardstick:
    """One reference of `n` records, by bin.

    Attributes:
        counts: int64 array (bins,), the reference's own; not to be written to.
        n: records in it.
        q: float array (bins,), the reference's shares, none of them zero.
    """

    __slots__ = ("_bias", "_log_q", "_occupied", "counts", "n", "q")

    def __init__(self, counts: Counts) -> None:
        self.counts = np.array(counts, dtype=np.int64)
        self.n = int(self.counts.sum())
        self.q = reference_share(self.counts)
        self._log_q = np.log(self.q)
        self._occupied: Any = self.counts > 0
        self._bias: BiasTable | None = None

    @property
    def freedom(self) -> int:
        """Degrees of freedom of a window that holds what the reference does."""
        return max(1, int(self._occupied.sum()) - 1)

    def judged(self, totals: Counts, sizes: list[int]) -> list[int]:
        """Records of each window that can be compared; here all, `sizes`."""
        return sizes

    def distances(self, totals: Counts, sizes: list[int]) -> list[float]:
        """Raw KL of windows, one row of `totals` each, of sizes > 0, nats; biased upwards."""
        logs = np.log(np.maximum(totals, 1))
        logs -= self._log_q
        logs *= totals
        sums: list[float] = logs.sum(axis=1).tolist()
        return [one / n - math.log(n) for one, n in zip(sums, sizes, strict=True)]

    def biases(self, totals: Counts, sizes: list[int]) -> list[float]:
        """Mean raw distance of windows like these under no change, design effect 1; nats."""
        table = self._bias
        if table is None:
            table = self._bias = BiasTable(self.q, self.n)
        return [table.at(max(n, 1)) for n in sizes]

    def beyond_chance(self, counts: Counts, design_effect: float) -> float | None:
        """How far one histogram is, nats, less what chance explains; None: it cannot be compared."""
        totals = counts[np.newaxis]
        sizes = self.judged(totals, [int(counts.sum())])
        if not sizes[0]:
            return None
        return self.distances(totals, sizes)[0] - design_effect * self.biases(totals, sizes)[0]

    def far_from(self, first: "Yardstick") -> float:
        """How far the histogram that this one was made of is from another, nats."""
        return first.distances(self.counts[np.newaxis], [self.n])[0]

    def certain(
        self, raw: float, n: int, counts: Counts, *, design_effect: float, tolerance: float, alpha: float
    ) -> bool:
        """Whether neither chance (`alpha`) nor a true distance of `tolerance` nats explains a window."""
        freedom, own = self._spread(counts, n)
        scale = design_effect * own
        limit = noncentral_chi2_quantile(freedom, 2.0 * tolerance / scale, alpha)
        return 2.0 * raw / scale > limit

    def _spread(self, counts: Counts, n: int) -> tuple[float, float]:
        """(degrees of freedom of a window, what its raw distance is to be doubled and divided by)."""
        return max(1, int((self._occupied | (counts > 0)).sum()) - 1), 1.0 / n + 1.0 / self.n

    def contributions(self, counts: Counts, n: int, most: int) -> list[tuple[int, float, float]]:
        """The bins that add most to a window's distance: (bin, its share in the window, in the reference)."""
        share = counts / n
        parts = share * (np.log(np.maximum(counts, 1)) - math.log(n) - self._log_q)
        top = np.argsort(-parts, kind="stable")[:most]
        return [(int(i), float(share[i]), float(self.q[i])) for i in top if parts[i] > 0]
