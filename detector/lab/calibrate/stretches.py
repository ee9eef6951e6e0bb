"""Which few stretches of a recording alone make a learnt ceiling what it is.

They are at most a fifth of all, and their share of bad calls is certainly above, and over twice, that of
the worst of the others. Whether something was wrong then nobody can tell from the counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from detector.lab.calibrate import limit, shares, silent
from detector.lab.calibrate.healthy import MOST_LEFT_OUT, spans
from detector.lab.calibrate.tally import SLOT_S, Ints
from detector.predicates.interval import wilson

_LEAST_STRETCHES = 3
_Z = 4.0  # a week has a thousand stretches
_MINUTES = SLOT_S // 60


@dataclass(frozen=True, slots=True)
class FewStretches:
    """What a few stretches did to a ceiling.

    Attributes:
        spans: [from, to) of them in Unix seconds; neighbours are one.
        others: the ceiling that the rest of the recording teaches.
    """

    spans: tuple[tuple[int, int], ...]
    others: float


def set_by(
    per_second: tuple[Ints, Ints, Ints],
    minutes: Mapping[int, tuple[int, Ints]],
    ceiling: float,
    *,
    least: float,
    run_length: float,
    phi: float | None,
    highest: float,
) -> FewStretches | None:
    """The stretches without which the ceiling would be less than half of `ceiling`; None: there are none.

    Args:
        per_second: seconds, judged calls and bad ones, ascending.
        minutes: minute -> (judged calls, positions of the bad ones among them), ascending.
        ceiling: as learnt from all of them, by `Shares.ceiling` and `silent_ceiling`.
        least, run_length, highest: as given to these; `phi`: as stated, None where it is learnt.
    """
    seconds, judged, bad = per_second
    left_out = _worst(seconds, judged, bad, phi or shares.design_effect(judged, bad))
    if not len(left_out):
        return None
    rest = ~np.isin(seconds // 60, left_out)
    found = shares.measure(judged[rest], bad[rest])
    out = set(left_out.tolist())
    kept = [each for minute, each in minutes.items() if minute not in out]
    others = silent.silent_ceiling(
        kept, found.ceiling(least), run_length, phi or found.design_effect, highest
    )
    recorded = (left_out >= seconds[0] // 60) & (left_out <= seconds[-1] // 60)
    return FewStretches(tuple(spans(left_out[recorded])), others) if ceiling > limit.FAR * others else None


def _worst(seconds: Ints, judged: Ints, bad: Ints, phi: float) -> Ints:
    """Minutes of the few stretches that are far worse than all others, ascending."""
    slots = seconds // SLOT_S
    before = np.concatenate([[0], np.cumsum(judged)])
    bad_before = np.concatenate([[0], np.cumsum(bad)])
    found = []
    for first, last, _ in limit.stretches(slots, judged):
        start, end = np.searchsorted(slots, [first, last + 1])
        found.append((first, last, before[end] - before[start], bad_before[end] - bad_before[start]))
    if len(found) < _LEAST_STRETCHES:
        return np.zeros(0, np.int64)
    rates = sorted((x / n for *_, n, x in found), reverse=True)
    others = rates[max(1, int(MOST_LEFT_OUT * len(rates)))]
    far = [
        np.arange(first * _MINUTES, (last + 1) * _MINUTES)
        for first, last, n, x in found
        if x / n > limit.FAR * others and wilson(x / phi, n / phi, _Z)[0] > others
    ]
    return np.concatenate(far) if far else np.zeros(0, np.int64)
