"""A reference histogram, made ready to measure windows with: every second, so it has to cost little.

With counts c (n in all) of a window and q of the reference, the raw distance in nats is
sum c (ln c - ln q) / n - ln n; ln q and the bias are worked out once for a reference, the bias
when it is first asked for.
"""

import math
from typing import Any

import numpy as np

from detector.predicates.kl import BiasTable, noncentral_chi2_quantile, reference_share
from detector.windows.panes import Counts


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

    def distances(self, totals: Counts, sizes: list[int]) -> list[float]:
        """Raw KL of windows, one row of `totals` each, of sizes > 0, nats; biased upwards."""
        logs = np.log(np.maximum(totals, 1))
        logs -= self._log_q
        logs *= totals
        sums: list[float] = logs.sum(axis=1).tolist()
        return [one / n - math.log(n) for one, n in zip(sums, sizes, strict=True)]

    def bias(self, n: int) -> float:
        """Mean raw distance of a window of n records under no change, design effect 1; nats."""
        if self._bias is None:
            self._bias = BiasTable(self.q, self.n)
        return self._bias.at(n)

    def certain(
        self, raw: float, n: int, counts: Counts, *, design_effect: float, tolerance: float, alpha: float
    ) -> bool:
        """Whether neither chance (`alpha`) nor a true distance of `tolerance` nats explains a window."""
        scale = design_effect * (1.0 / n + 1.0 / self.n)
        freedom = max(1, int((self._occupied | (counts > 0)).sum()) - 1)
        limit = noncentral_chi2_quantile(freedom, 2.0 * tolerance / scale, alpha)
        return 2.0 * raw / scale > limit

    def contributions(self, counts: Counts, n: int, most: int) -> list[tuple[int, float, float]]:
        """The bins that add most to a window's distance: (bin, its share in the window, in the reference)."""
        share = counts / n
        parts = share * (np.log(np.maximum(counts, 1)) - math.log(n) - self._log_q)
        top = np.argsort(-parts, kind="stable")[:most]
        return [(int(i), float(share[i]), float(self.q[i])) for i in top if parts[i] > 0]
