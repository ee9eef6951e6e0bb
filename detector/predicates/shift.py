"""How far a signal is from where it was: its last seconds against healthy blocks, in robust deviations.

y-hat   for a signal given x: least squares over all healthy blocks; else 0
change  mean residual of the last seconds less the median residual of the blocks
scale   1.4826 MAD of the blocks' residuals (they hold the signal's dependence and its wander),
        at least what counting allows and a sixth of the smallest change that matters;
        widened for fewer calls than a block has and for an x outside the blocks'
z       change / scale: high from 6 on, so never for a change that does not matter; normal under 3
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from detector.windows.signals import GIVEN, Sums, columns_of

HIGH_Z = 6.0
NORMAL_Z = 3.0
LEAST_CALLS = 20
LEAST_BLOCKS = 6
_LEAST_IN_BLOCK = 5
_MAD = 1.4826


class Level(StrEnum):
    """What can be said of a signal. `missing` and `unclear` are never `normal`."""

    HIGH = "high"
    UNCLEAR = "unclear"
    NORMAL = "normal"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Signal:
    """What a change of a signal is.

    Attributes:
        way: 1 if only a rise is a fault, -1 if only a fall is, 0 for either.
        matters: the smallest change that matters; relative to the expected value if `relative`.
        share: a signal of 0 and 1, for which counting alone gives a deviation.
    """

    way: int
    matters: float
    unit: str = ""
    relative: bool = False
    share: bool = False


SIGNALS = {
    "error": Signal(1, 0.01, share=True),
    "latency": Signal(1, 0.15, "ln s"),
    "own": Signal(1, 0.15, "ln s"),
    "upstream": Signal(1, 0.25, "ln s"),
    "queue": Signal(1, 0.4, "ln s"),
    "batch": Signal(1, 0.15, "log2"),
    "clock": Signal(-1, 0.015),
    "throttle": Signal(1, 0.05, share=True),
    "hallucinated": Signal(1, 0.01, share=True),
    "refused": Signal(1, 0.01, share=True),
    "input": Signal(0, 0.3, "log2"),
    "repetition": Signal(1, 0.03),
    "golden": Signal(1, 0.1, share=True),
    "decode": Signal(1, 0.05, relative=True),
    "output": Signal(0, 0.1, "log2"),
    "logprob": Signal(-1, 0.02, "nats"),
}


@dataclass(frozen=True, slots=True)
class Shift:
    """A signal's change, in its unit; positive `z` is towards the fault (for either way: any change)."""

    level: Level
    change: float = 0.0
    z: float = 0.0
    samples: int = 0


MISSING = Shift(Level.MISSING)


def shift_of(name: str, recent: Sums, blocks: Sums) -> Shift:
    """Compare one row of sums with the same row of healthy blocks.

    Args:
        name: a key of SIGNALS.
        recent: [column], of the last seconds.
        blocks: [block, column].
    """
    signal, columns = SIGNALS[name], columns_of(name)
    now, healthy = recent[columns], blocks[:, columns]
    healthy = healthy[healthy[:, 0] >= _LEAST_IN_BLOCK]
    n = now[0]
    if n < LEAST_CALLS or len(healthy) < LEAST_BLOCKS:
        return Shift(Level.MISSING, samples=int(n))
    total = healthy.sum(axis=0)
    at = healthy[:, 0]
    slope, spread_x = _slope(total) if name in GIVEN else (0.0, 0.0)
    residuals = healthy[:, 1] / at
    mine = now[1] / n
    expected = total[1] / total[0]
    reach = 0.0
    if name in GIVEN:
        mean_x = total[2] / total[0]
        residuals = residuals - slope * (healthy[:, 2] / at - mean_x)
        reach = now[2] / n - mean_x
        mine -= slope * reach
        expected += slope * reach
    middle = float(np.median(residuals))
    unit = max(abs(expected), 1e-9) if signal.relative else 1.0
    change = (mine - middle) / unit
    scale = _MAD * float(np.median(np.abs(residuals - middle))) / unit
    typical = float(np.median(at))
    if signal.share:
        rate = (total[1] + 0.5) / (total[0] + 1.0)
        scale = max(scale, math.sqrt(rate * (1.0 - rate) / typical))
    variance = scale * scale * max(1.0, typical / n)
    if spread_x > 0:
        variance += scale * scale * typical * reach * reach / spread_x
    scale = max(math.sqrt(variance), signal.matters / HIGH_Z)
    z = change / scale
    z = abs(z) if signal.way == 0 else z * signal.way
    level = Level.HIGH if z >= HIGH_Z else Level.NORMAL if z < NORMAL_Z else Level.UNCLEAR
    return Shift(level, float(change), float(z), int(n))


def _slope(total: Sums) -> tuple[float, float]:
    """(least-squares slope, sum of squares of x) from (n, y, x, xx, xy)."""
    n, y, x, xx, xy = total.tolist()
    spread = xx - x * x / n
    return ((xy - x * y / n) / spread, spread) if spread > 1e-6 * n else (0.0, 0.0)


def golden_shift(counts: Sums, blocks: Sums) -> Shift:
    """Wrong answers to golden prompts: at least 3, and more than chance explains (1 in 1,000).

    Args:
        counts: (prompts, wrong answers) of the last minute.
        blocks: [block, column], the healthy ones.
    """
    n, wrong = counts.tolist()
    if n < _LEAST_IN_BLOCK:
        return Shift(Level.MISSING, samples=int(n))
    asked, failed = blocks[:, columns_of("golden")].sum(axis=0).tolist()
    usual = max(0.005, (failed + 0.5) / (asked + 1.0)) if asked else 0.005
    tail = _poisson_tail(int(wrong), n * usual)
    share = wrong / n
    z = HIGH_Z * math.log(max(tail, 1e-12)) / math.log(1e-3)
    if wrong >= 3 and tail < 1e-3:
        return Shift(Level.HIGH, share, z, int(n))
    normal = n >= LEAST_CALLS and wrong <= 1
    return Shift(Level.NORMAL if normal else Level.UNCLEAR, share, min(z, HIGH_Z - 1), int(n))


def _poisson_tail(k: int, mean: float) -> float:
    """P(X >= k)."""
    term, below = math.exp(-mean), 0.0
    for i in range(k):
        below += term
        term *= mean / (i + 1)
    return max(0.0, 1.0 - below)
