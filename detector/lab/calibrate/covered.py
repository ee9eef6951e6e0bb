"""How much time a recording covers.

A pace is calls over the time in which calls could have been seen, silent minutes of a sparse route
included. Files of several days may have gaps between them that tell of nobody's traffic: in a hole the
whole fleet is silent, for an hour at least and for over ten times its mean gap. The mean, as gaps that
come again and again are a way to call and no holes: more than one in ten of the gaps can never be one,
and of calls that come at random one gap in 20,000 is as long.
"""

from collections.abc import Iterable

import numpy as np

from detector.lab.calibrate.tally import Ints

_LEAST_MINUTES = 60
_TIMES_THE_MEAN = 10


def holes(minutes: Iterable[int]) -> Ints:
    """The minutes that lie in holes, ascending.

    Args:
        minutes: those in which the fleet made any call.

    >>> holes([*range(100), *range(200, 300)]).tolist() == list(range(100, 200)), holes([0, 90]).tolist()
    (True, [])
    """
    held = np.unique(np.fromiter(minutes, np.int64))
    gaps = np.diff(held)
    if not len(gaps):
        return np.zeros(0, np.int64)
    long = (gaps > _LEAST_MINUTES) & (gaps > _TIMES_THE_MEAN * gaps.mean())
    parts = [np.arange(held[i] + 1, held[i + 1]) for i in np.flatnonzero(long)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def covered_minutes(held: Iterable[int], holes: Ints, left_out: Ints | None = None) -> int:
    """Minutes from the first to the last one, both of them included, that are in no hole; at least 1.

    Args:
        held: minutes that hold calls, of a route or of one predicate.
        holes: of the recording.
        left_out: minutes taken for incidents, none of which hold calls that count.

    >>> covered_minutes([3, 12], holes=np.arange(5, 7), left_out=np.array([9, 40]))
    7
    """
    within = np.fromiter(held, np.int64)
    gone = holes if left_out is None else np.union1d(holes, left_out)  # minutes around an incident too
    first, last = int(within.min()), int(within.max())
    return max(1, last - first + 1 - int(((gone >= first) & (gone <= last)).sum()))
