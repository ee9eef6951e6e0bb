"""What the healthy rate of bad calls is, how far it wanders, and what stands out from it.

    phi      variance inflation by dependence, from pairs of neighbouring blocks of about 200 calls
             (stays clear of slow wander, which belongs to the ceiling)
    tau^2    variance of the rate between blocks of >= 1,000 calls, less phi p (1 - p) / n: what is left
             when the noise of counting is removed, so that it does not depend on n
    ceiling  1.1 times the 99 % point of a gamma distribution of mean p and variance tau^2, p taken at
             its own upper 99 % limit; never under what nobody would call an outage

A quantile of block rates, in place of the gamma's, would measure n: for the same traffic it falls as
blocks grow.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.stats import chi2

from detector.lab.calibrate.tally import Floats, Ints
from detector.predicates.interval import wilson
from detector.predicates.power import smallest_share
from detector.predicates.shiryaev_roberts import HIGHEST

NEAR_BLOCK = 200
BLOCK = 1000
MARGIN = 1.1
MOST_IN_TAIL = 0.05
LEAST_CEILING = 0.001  # a tenth of a percent is nobody's outage
# Latency is promised at its 99 % point: one slow call in a hundred keeps that. Bursts that brief recordings
# do not hold reach 3 % for minutes, in simulated and in recorded traffic.
LEAST_SLOW = 0.01
_Z99 = 2.326
_SURE = 0.999  # counts of a few bad calls a block spread more than a chi-square says
WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Shares:
    """Healthy share of bad calls over `records` calls: mean, design effect, spread.

    Attributes:
        highest: upper limit of what it comes to at times, of all that the calls allow.
        at_least: lower limit of the same: by mean and by spread only what chance does not explain.
    """

    records: int
    bad: int
    rate: float
    design_effect: float
    between_sd: float
    highest: float
    at_least: float
    blocks: int

    @property
    def measured(self) -> float:
        """What it comes to at times by the mean and spread found: `highest` if calls were without end."""
        return _gamma_q99(self.rate, self.between_sd**2)

    def ceiling(self, least: float = LEAST_CEILING) -> float:
        """Upper limit of the healthy rate with a margin, never under `least`."""
        return min(HIGHEST / 2, max(least, MARGIN * self.highest))


def measure(judged: Ints, bad: Ints) -> Shares:
    """Learn from judged and bad calls per second, in the order of time."""
    n, x = int(judged.sum()), int(bad.sum())
    p = x / n if n else 0.0
    phi = design_effect(judged, bad)
    sizes, counts = blocks(judged, bad, BLOCK)
    tau2 = least_tau2 = 0.0
    if len(sizes) > 1 and 0 < p < 1:
        # Weighted by size, as the mean is:
        # E[sum n_b (rate_b - p)^2] = (B - 1) phi p (1 - p) + tau^2 (n - sum n_b^2 / n).
        between = float((sizes * (counts / sizes - p) ** 2).sum())
        room = sizes.sum() - (sizes**2).sum() / sizes.sum()
        by_chance = (len(sizes) - 1) * phi * p * (1 - p)
        tau2 = max(0.0, float(between - by_chance) / float(room))
        surely = between * (len(sizes) - 1) / float(chi2.ppf(_SURE, len(sizes) - 1))
        least_tau2 = max(0.0, float(surely - by_chance) / float(room))
    low, high = wilson(x / phi, n / phi, _Z99) if n else (0.0, 1.0)
    return Shares(n, x, p, phi, sqrt(tau2), _gamma_q99(high, tau2), _gamma_q99(low, least_tau2), len(sizes))


def blocks(judged: Ints, bad: Ints, least: int) -> tuple[Floats, Floats]:
    """Sizes and bad calls of blocks of neighbouring seconds with >= `least` calls; the rest is dropped."""
    before = np.concatenate([[0], np.cumsum(judged)])
    bad_before = np.concatenate([[0], np.cumsum(bad)])
    cuts = [0]
    while True:
        cut = int(np.searchsorted(before, before[cuts[-1]] + least, side="left"))
        if cut >= len(before):
            break
        cuts.append(cut)
    at = np.array(cuts)
    return np.diff(before[at]).astype(np.float64), np.diff(bad_before[at]).astype(np.float64)


def design_effect(judged: Ints, bad: Ints) -> float:
    """phi >= 1: mean squared difference of neighbouring blocks over what independent calls would show."""
    n, x = blocks(judged, bad, NEAR_BLOCK)
    if len(n) < 8:
        return 1.0
    size = 1 / n[1:] + 1 / n[:-1]
    pooled = (x[1:] + x[:-1]) / (n[1:] + n[:-1])
    # A pooled rate takes one degree of freedom out of p (1 - p).
    expected = pooled * (1 - pooled) * size * (n[1:] + n[:-1]) / (n[1:] + n[:-1] - 1)
    if expected.sum() == 0:
        return 1.0
    squared = (x[1:] / n[1:] - x[:-1] / n[:-1]) ** 2
    return max(1.0, float(squared.sum() / expected.sum()))


def _gamma_q99(mean: float, variance: float) -> float:
    """99 % point of a gamma distribution (Wilson and Hilferty, 1931)."""
    if variance <= 0 or mean <= 0:
        return mean
    shape = mean * mean / variance
    root = 1 - 1 / (9 * shape) + _Z99 / (3 * sqrt(shape))
    return min(1.0, mean * max(root, 0.0) ** 3) if shape > 0.1 else min(1.0, mean + _Z99 * sqrt(variance))


def smallest_detectable(
    ceiling: float, run_length: float, phi: float, records_per_s: float, within_s: float = WITHIN_S
) -> float | None:
    """Smallest share found within `within_s` with 99 % power at this rate of calls; None: none is."""
    return smallest_share(ceiling, run_length, phi, records_per_s * within_s)
