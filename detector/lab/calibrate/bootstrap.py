"""The threshold A that gives the wanted run length on traffic whose calls depend on each other.

The mixture Shiryaev-Roberts statistic is run over blocks of the calibration's own calls, drawn at
random with their inner order kept. Its greatest value over a run of T calls has a tail of
P(max < A) = exp(-T / ARL(A)) with ARL(A) ~ c A^theta, so a line through the quantiles of its
logarithm gives theta and c, and from them A for run lengths far beyond what was recorded. A run that the
chains are about as long as is read off their own quantiles: bursts make steps that no line follows.

Independent calls at the ceiling give theta = 1; dependence makes it less than 1.
"""

from math import exp, log

import numpy as np

from detector.lab.calibrate.tally import Floats, Ints
from detector.predicates.shiryaev_roberts import alternatives

CHAINS = 256
_BAD_CALLS = (300, 3000)  # steps of each chain, least and most
_LEAST_BLOCKS = 20
_LARGEST = 1e200
_NO_SPREAD = 1e-6  # nats
_FITTED = np.linspace(0.1, 0.95, 18)


def run_length_threshold(
    minutes: list[tuple[int, Ints]],
    ceiling: float,
    phi: float,
    wanted: float,
    *,
    block: int = 1000,
    seed: int = 1,
) -> float | None:
    """A, records, for a mean run of `wanted` records between false alarms, never less than `wanted`.

    None where there are too few blocks or bad calls to tell.

    Args:
        minutes: (judged calls, positions of the bad ones among them), in the order of time.
        ceiling: p0 of the test.
        phi: design effect that its evidence is tempered by.
        wanted: records.
        block: least calls of a block; longer than the dependence reaches.
        seed: of the drawing.
    """
    gaps, ends = _blocks(minutes, block)
    if len(gaps) < _LEAST_BLOCKS or sum(map(len, gaps)) < 10 * _LEAST_BLOCKS:
        return None
    bad, good = sum(map(len, gaps)), sum(int(each.sum()) for each in gaps) + sum(ends)
    steps = int(np.clip(wanted * bad / (bad + good), *_BAD_CALLS))
    log_max, length = _maxima(gaps, ends, ceiling, phi, steps, np.random.default_rng(seed))
    silent = exp(-length / wanted)
    if _FITTED[0] <= silent <= _FITTED[-1]:
        return max(wanted, exp(min(float(np.quantile(log_max, silent)), log(_LARGEST))))
    # Chains end at a number of bad calls; they differ little in length.
    levels = np.quantile(log_max, _FITTED)
    if np.ptp(levels) < _NO_SPREAD:
        return None  # one burst is all that the chains know of
    theta, offset = np.polyfit(levels, -np.log(-np.log(_FITTED)), 1)
    if not theta > 0.02:
        return _LARGEST
    log_threshold = (log(wanted) - log(length) - offset) / theta
    return max(wanted, exp(min(log_threshold, log(_LARGEST))))


def _blocks(minutes: list[tuple[int, Ints]], least: int) -> tuple[list[Ints], list[int]]:
    """Per block of neighbouring minutes: good calls before each bad one, and good calls after the last."""
    gaps: list[Ints] = []
    ends: list[int] = []
    n, found = 0, [np.zeros(0, np.int64)]
    for judged, bad in minutes:
        found.append(bad + n)
        n += judged
        if n >= least:
            positions = np.concatenate(found)
            gaps.append(np.diff(positions, prepend=-1) - 1)
            ends.append(n - 1 - int(positions[-1]) if len(positions) else n)
            n, found = 0, [np.zeros(0, np.int64)]
    return gaps, ends


def _maxima(
    gaps: list[Ints], ends: list[int], ceiling: float, phi: float, steps: int, random: np.random.Generator
) -> tuple[Floats, float]:
    """Logarithm of the greatest statistic of each chain, and the chains' mean length in records."""
    rates = np.array(alternatives(ceiling))
    up, down = np.log(rates / ceiling) / phi, np.log((1 - rates) / (1 - ceiling)) / phi
    sequences = np.stack([_chain(gaps, ends, steps, random) for _ in range(CHAINS)])
    factor = np.exp(down)
    statistic = np.zeros((CHAINS, len(rates)))
    greatest = np.full(CHAINS, -np.inf)
    boost = np.exp(up)
    for step in range(steps):
        decay = np.exp(sequences[:, step, None] * down)
        statistic = (1.0 + statistic * decay + factor * (1.0 - decay) / (1.0 - factor)) * boost
        np.minimum(statistic, 1e250, out=statistic)
        np.maximum(greatest, np.log(statistic.mean(axis=1)), out=greatest)
    return greatest, float((sequences + 1).sum(axis=1).mean())


def _chain(gaps: list[Ints], ends: list[int], steps: int, random: np.random.Generator) -> Ints:
    """Good calls before each of the first `steps` bad calls of blocks in random order."""
    parts: list[Ints] = []
    n = carried = 0
    while n < steps:
        i = int(random.integers(len(gaps)))
        part = gaps[i]
        if len(part):
            part = part.copy()
            part[0] += carried
            parts.append(part)
            n += len(part)
            carried = ends[i]
        else:
            carried += ends[i]
    return np.concatenate(parts)[:steps]
