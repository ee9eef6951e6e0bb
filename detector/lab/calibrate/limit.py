"""A limit for slow calls that healthy traffic keeps."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detector.contract.model import PredicateSpec
from detector.lab.calibrate import shares
from detector.lab.calibrate.tally import FINE, SLOT_S, Ints, ShareTally

_FEW = 50  # of so many stretches one is few
FAR = 2.0  # times the limit of all others


@dataclass(frozen=True, slots=True)
class Kept:
    """A limit, milliseconds, that healthy traffic keeps.

    Attributes:
        set_by: Unix seconds at which the few stretches begin that alone need such a limit; each is ten
            minutes long, or as many tens of minutes as hold a thousand calls.
        others_ms: what it would be without them; the same where there are none.
    """

    above_ms: float
    set_by: tuple[int, ...]
    others_ms: float


def kept(tally: ShareTally, spec: PredicateSpec, left_out: Ints) -> Kept | None:
    """A limit that the calls of no stretch exceed more often than stated; None: too few calls.

    With a margin for what has not been recorded: the share of slow calls wanders with the length of answers.
    """
    if tally.slots is None:
        return None
    slots, columns, counts = tally.slots.read()
    keep = ~np.isin(slots, np.unique(left_out * 60 // SLOT_S))
    slots, columns, counts = slots[keep], columns[keep], counts[keep]
    limits, recorded_s = {}, 0
    for first, last, recorded in stretches(slots, counts):
        inside = slice(*np.searchsorted(slots, [first, last + 1]).tolist())
        share = np.cumsum(np.bincount(columns[inside], weights=counts[inside]))
        column = int(np.searchsorted(share / share[-1], 1 - spec.ceiling / shares.MARGIN**2))
        limits[first] = float(FINE[min(column, len(share) - 1, len(FINE) - 1)])
        recorded_s += SLOT_S * recorded
    if not limits:
        return None
    margin = _margin(recorded_s)
    ranked = sorted(limits.values(), reverse=True)
    others = ranked[min(len(ranked) - 1, max(1, len(ranked) // _FEW))]
    far = sorted(slot * SLOT_S for slot, each in limits.items() if each > FAR * others)
    above_ms = _rounded_up(1000.0 * ranked[0] * margin)
    rest = ranked[len(far)] if far else ranked[0]
    return Kept(above_ms, tuple(far), _rounded_up(1000.0 * rest * margin))


def stretches(slots: Ints, counts: Ints) -> Iterator[tuple[int, int, int]]:
    """First and last slot of neighbours that hold a block of calls together, and how many have any.

    Most often they are one.
    """
    first = held = recorded = 0
    for slot, start in zip(*np.unique(slots, return_index=True), strict=True):
        first = first if recorded else int(slot)
        held += int(counts[start : np.searchsorted(slots, slot, side="right")].sum())
        recorded += 1
        if held >= shares.BLOCK:
            yield first, int(slot), recorded
            held = recorded = 0


def _rounded_up(limit: float) -> float:
    """To two digits."""
    step = 10.0 ** (np.floor(np.log10(limit)) - 1)
    return float(f"{np.ceil(limit / step) * step:.6g}")


def _margin(recorded_s: float) -> float:
    """How many times the highest limit that so long a recording needed: 1.5 up to a day, 1.3 at a week.

    Measured on five days each of three kinds of simulated traffic that nothing is wrong with: false
    activations of whole calls a week after a day's recording 4.0 at 1.2 times and 1.4 at 1.5 times, of first
    tokens less their wait in a queue 5.2 and none; after an hour's recording, of whole calls, 5.0 at 1.5
    times. Twice as much would leave 3.3 of these and find little.
    """
    return float(np.clip(1.5 * (86_400.0 / recorded_s) ** 0.07, 1.25, 1.5))


def typical(tally: ShareTally) -> float | None:
    """The median value, in the field's own unit; None if nothing was kept."""
    if tally.slots is None:
        return None
    _, columns, counts = tally.slots.read()
    if not len(columns):
        return None
    share = np.cumsum(np.bincount(columns, weights=counts)) / counts.sum()
    return float(FINE[min(int(np.searchsorted(share, 0.5)), len(FINE) - 1)])
