"""Which minutes look like incidents, so that nothing is learnt from them.

A minute stands out when it is far worse than the median minute, measured by the median absolute
deviation and by what counting alone explains. It and its neighbours are left out, unless such minutes
come again and again, or hold a burst of some seconds: then that is how the traffic is. Nothing here can
tell an incident that lasts as long as the recording from that.
"""

import numpy as np

from detector.lab.calibrate.tally import Floats, Ints

MOST_LEFT_OUT = 0.2  # of the minutes; more, and this is no healthy recording
FEW_RUNS = 5
RUNS_A_DAY = 12  # more incidents than that nobody calls a healthy recording
_LEAST_CALLS = 30
_LEAST_MINUTES = 10
_DEVIATIONS = 6.0
_TO_SD = 1.4826
LEAST_RISE = 0.02  # of a share
# Where the ceiling is learnt: lesser bursts are more often the traffic's own, and a ceiling that does not
# know them would call the next one a fault.
LEAST_RISE_UNSTATED = 0.1
OUTAGE = 0.3  # share of bad calls in a minute that is one however short
BURST_S = 20
_MOST_OF = 0.8
_TIMES = 3.0
_FAR_NATS = 0.3
_AROUND = 60  # minutes on either side that a minute's distribution is compared with
_NEAREST = 2


def bad_share_minutes(seconds: Ints, judged: Ints, bad: Ints, phi: float, rise: float = LEAST_RISE) -> Ints:
    """Minutes whose share of bad calls stands out, by `rise` at least, from counts per second."""
    minutes, where = np.unique(seconds // 60, return_inverse=True)
    n = np.bincount(where, weights=judged)
    x = np.bincount(where, weights=bad)
    full = n >= _LEAST_CALLS
    if full.sum() < _LEAST_MINUTES:
        return np.zeros(0, np.int64)
    rate = x[full] / n[full]
    usual = float(np.median(rate))
    usual = max(usual, 1.0 / float(n.sum()))
    spread = _TO_SD * float(np.median(np.abs(rate - usual)))
    noise = phi * usual * (1 - usual) / n[full]
    out = (rate > usual + _DEVIATIONS * np.sqrt(noise + spread**2)) & (
        rate > max(_TIMES * usual, usual + rise) if usual < 0.3 else rate > usual + 0.3
    )
    runs = np.split(np.flatnonzero(out), np.flatnonzero(np.diff(minutes[full][out]) > 1) + 1)
    kept = [
        run
        for run in runs
        if rate[run].max(initial=0) >= OUTAGE or not _is_burst(minutes[full][run], seconds, bad)
    ]
    return _with_neighbours(minutes[full][np.concatenate(kept)] if kept else minutes[:0])


def _is_burst(minutes: Ints, seconds: Ints, bad: Ints) -> bool:
    """Whether most bad calls of these neighbouring minutes came within some seconds."""
    if not len(minutes):
        return False
    first, end = np.searchsorted(seconds, [minutes[0] * 60, (minutes[-1] + 1) * 60])
    at, sums = seconds[first:end], np.concatenate([[0], np.cumsum(bad[first:end])])
    most = (sums[np.searchsorted(at, at + BURST_S)] - sums[:-1]).max()
    return bool(most >= _MOST_OF * sums[-1])


def recurs(out: Ints, minutes: int) -> bool:
    """Whether what stands out of a recording of so many minutes does so again and again: then it is usual."""
    return len(spans(out)) > max(FEW_RUNS, RUNS_A_DAY * minutes / 1440)


def strange_minutes(seconds: Ints, table: Ints, phi: float) -> Ints:
    """Minutes whose distribution stands out from the hours around them; `table`: (seconds, bins)."""
    minutes, first = np.unique(seconds // 60, return_index=True)
    if len(minutes) < _LEAST_MINUTES:
        return np.zeros(0, np.int64)
    counts = np.add.reduceat(table.astype(np.float64), first, axis=0)
    total = np.concatenate([np.zeros((1, counts.shape[1])), np.cumsum(counts, axis=0)])
    at = np.arange(len(minutes))
    around = _sum(total, at, _AROUND) - _sum(total, at, _NEAREST)
    n, big = counts.sum(axis=1), around.sum(axis=1)
    full = (n >= _LEAST_CALLS * phi) & (big >= 300)
    if full.sum() < _LEAST_MINUTES:
        return np.zeros(0, np.int64)
    counts, around, n, big = counts[full], around[full], n[full], big[full]
    bins = counts.shape[1]
    q = (around + 0.5) / (big + 0.5 * bins)[:, None]
    kl = (counts * np.log(np.where(counts > 0, counts, 1.0) / q)).sum(axis=1) / n - np.log(n)
    kl -= phi * (bins - 1) / 2 * (1 / n + 1 / big)
    usual = float(np.median(kl))
    spread = _TO_SD * float(np.median(np.abs(kl - usual)))
    chance = _DEVIATIONS * phi * np.sqrt(2.0 * bins) / (2 * n)
    out = kl > np.maximum(usual + 8 * spread, _FAR_NATS) + chance
    return _with_neighbours(minutes[full][out])


def _sum(total: Floats, at: Ints, reach: int) -> Floats:
    last = len(total) - 1
    found: Floats = total[np.minimum(at + reach + 1, last)] - total[np.maximum(at - reach, 0)]
    return found


def _with_neighbours(minutes: Ints) -> Ints:
    return np.unique(np.concatenate([minutes - 1, minutes, minutes + 1]))


def spans(minutes: Ints) -> list[tuple[int, int]]:
    """Runs of minutes as (first second, second after the last)."""
    if not len(minutes):
        return []
    cuts = np.flatnonzero(np.diff(minutes) > 1)
    starts = minutes[np.concatenate([[0], cuts + 1])]
    ends = minutes[np.concatenate([cuts, [len(minutes) - 1]])] + 1
    return [(int(a) * 60, int(b) * 60) for a, b in zip(starts, ends, strict=True)]
