"""Mixture Shiryaev-Roberts e-detector on a stream of good (0) and bad (1) calls.

For each alternative rate p_j the statistic restarts at every record:

    R_j <- (1 + R_j) * (p_j / p0 if bad else (1 - p_j) / (1 - p0)) ** (1 / phi)

and the alarm is raised when the mean of the R_j reaches A. Whenever the conditional probability of
a bad call is at most p0 and phi = 1, each factor has mean <= 1, so E[records until a false alarm]
>= A, whatever the dependence. phi > 1 (design effect) tempers the evidence of dependent calls; the
bound is then an estimate.

Beside each R_j runs a CUSUM of the same likelihood ratios; the place where it last left zero
estimates the change point, hence the rate since and how long the fault has been there.

Work is done on bad calls only: m good ones in between have a closed form, and its powers are kept
in tables that all detectors of one ceiling share. State is replaced, never changed in place, so
that to remember it is to hold on to it.

Source: J. Shin, A. Ramdas, A. Rinaldo (2023), E-detectors, New England J. Statistics in Data Science.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

_TIMES = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # p0
# A ceiling this high is often one of verdicts, and half as many again are soon told: 0.075 from 0.05 within
# some 3,000 calls. With its double alone nothing up to 1.44 times the ceiling would ever be found.
_OFTEN, _HALF_MORE = 0.05, 1.5
HIGHEST = 0.9
MOST_PATIENCE = 16
_SOON = 3  # with less patience than that it pays to look again: good calls may have brought more
_ROUNDED = 1.0 - 1e-6
_UNKNOWN: tuple[Any, int, int] = (None, 0, 0)  # of which statistic, after how many good calls; how much
_GAPS_KEPT = 2048  # gaps between bad calls whose powers are kept, of each ceiling and design effect

Saved = tuple[list[float], list[float], list[tuple[int, int]], int, int, int]


def alternatives(p0: float) -> list[float]:
    """The rates above the ceiling `p0`, in (0, 1), that a test looks for, ascending."""
    times = (_HALF_MORE, *_TIMES) if p0 >= _OFTEN else _TIMES
    highest = max(HIGHEST, (1.0 + p0) / 2)
    return sorted({min(highest, p0 * factor) for factor in times})


class _Factors:
    """Factors of one ceiling and design effect, by alternative."""

    __slots__ = ("_gaps", "down", "lift", "rest", "up")

    def __init__(self, p0: float, design_effect: float) -> None:
        rates = alternatives(p0)
        self.up = [math.log(p / p0) / design_effect for p in rates]
        self.down = [math.log((1 - p) / (1 - p0)) / design_effect for p in rates]
        self.lift = [math.exp(up) for up in self.up]
        # What good calls alone lead each statistic to, from wherever it is.
        self.rest = [1.0 / math.expm1(-down) for down in self.down]
        self._gaps: dict[int, list[tuple[float, float, float, float, float]]] = {}

    def after(self, good: int) -> list[tuple[float, float, float, float, float]]:
        """What `good` good calls and a bad one do, by alternative.

        They turn the statistic R into (1 + (R * decay + restarts)) * lift, the CUSUM C into C + fall + up.
        """
        found = self._gaps.get(good)
        if found is None:
            found = []
            for up, down, lift in zip(self.up, self.down, self.lift, strict=True):
                decay, factor = math.exp(good * down), math.exp(down)
                found.append((decay, factor * (1.0 - decay) / (1.0 - factor), lift, good * down, up))
            if len(self._gaps) < _GAPS_KEPT:
                self._gaps[good] = found
        return found


_factors = lru_cache(maxsize=256)(_Factors)


class MixtureShiryaevRoberts:
    """Detector of "the rate of bad calls exceeds `p0`", with mean run length >= `run_length` records.

    Args:
        p0: ceiling of the healthy rate, in (0, 1).
        run_length: A, records; > 1.
        design_effect: phi >= 1.

    >>> detector = MixtureShiryaevRoberts(0.01, 1e9)
    >>> detector.observe(10, list(range(10)))
    5
    """

    __slots__ = (
        "_cusum",
        "_factors",
        "_patience",
        "_start",
        "_statistic",
        "bad",
        "gap",
        "limit",
        "p0",
        "seen",
    )

    def __init__(self, p0: float, run_length: float, design_effect: float = 1.0) -> None:
        self.p0 = p0
        self._factors = _factors(p0, design_effect)
        self.limit = run_length * len(self._factors.up)
        self._patience = _UNKNOWN
        self.restart()

    def temper(self, run_length: float, design_effect: float) -> None:
        """Weigh the evidence from now on for this design effect; what was gathered stays."""
        self._factors = _factors(self.p0, design_effect)
        self.limit = run_length * len(self._factors.up)
        self._patience = _UNKNOWN

    @property
    def clear(self) -> int:
        """Calls up to which no excursion that is still open reaches back."""
        seen = self.seen + self.gap
        clear = seen
        for cusum, down, (start, _) in zip(self._cusum, self._factors.down, self._start, strict=True):
            if cusum + self.gap * down > 0.0:
                clear = min(clear, start)
        return clear

    def restart(self) -> None:
        """Forget everything."""
        size = len(self._factors.up)
        self._statistic = [0.0] * size
        self._cusum = [0.0] * size
        # Of each alternative: records and bad ones seen before its present excursion began.
        self._start = [(0, 0)] * size
        self.gap = 0
        self.seen = 0
        self.bad = 0

    @property
    def patience(self) -> int:
        """Bad calls, at most 16, that cannot raise an alarm, however many good ones come in between.

        Good calls lead a statistic to where it rests: it is never above the greater of that and where it is.
        """
        statistic, gap, known = self._patience
        if statistic is not self._statistic or gap > self.gap or known < _SOON:
            known = self._bearable()
            self._patience = (self._statistic, self.gap, known)
        return known

    def _bearable(self) -> int:
        factors, gap = self._factors, self.gap
        worst = [
            rest + max(0.0, statistic - rest) * math.exp(gap * down)
            for statistic, rest, down in zip(self._statistic, factors.rest, factors.down, strict=True)
        ]
        limit = self.limit * _ROUNDED
        for calls in range(MOST_PATIENCE):
            worst = [(1.0 + each) * lift for each, lift in zip(worst, factors.lift, strict=True)]
            if sum(worst) >= limit:
                return calls
        return MOST_PATIENCE

    def observe(self, n: int, bad: Sequence[int]) -> int | None:
        """Take `n` calls, bad ones at the ascending indices `bad`; return the index of an alarm.

        After an alarm the calls behind it have not been seen.
        """
        last = -1
        gap = self.gap
        for index in bad:
            good = gap + index - last - 1
            gap = 0
            last = index
            if self._hit(good):
                self.gap = 0
                return index
        self.gap = gap + n - last - 1
        return None

    def pass_over(self, n: int) -> int:
        """Take `n` good calls; return the `gap` from before, which undoes it."""
        before = self.gap
        self.gap = before + n
        return before

    def _hit(self, good: int) -> bool:
        """`good` good calls, then a bad one."""
        total = 0.0
        statistics, cusums = [], []
        start, here = self._start, None
        for j, (decay, restarts, lift, fall, up) in enumerate(self._factors.after(good)):
            statistic = (1.0 + (self._statistic[j] * decay + restarts)) * lift
            statistics.append(statistic)
            total += statistic
            cusum = self._cusum[j] + fall
            if cusum <= 0.0:
                cusum = 0.0
                if here is None:
                    here = (self.seen + good, self.bad)
                    start = list(start)
                start[j] = here
            cusums.append(cusum + up)
        self._statistic, self._cusum, self._start = statistics, cusums, start
        self.seen += good + 1
        self.bad += 1
        return total >= self.limit

    @property
    def evidence(self) -> float:
        """The mean of the R_j after the last bad call; an alarm at `limit` / number of alternatives."""
        return sum(self._statistic) / len(self._statistic)

    def excursion(self) -> tuple[int, int, int]:
        """The best-supported change: (records before it, records since, bad ones since)."""
        best = max(range(len(self._cusum)), key=self._cusum.__getitem__)
        start, bad_before = self._start[best]
        return start, self.seen - start, self.bad - bad_before

    def save(self) -> Saved:
        """Return what `load` takes back; it stays as it is, whatever comes."""
        return self._statistic, self._cusum, self._start, self.gap, self.seen, self.bad

    def load(self, saved: Sequence[Any]) -> None:
        """Take over what `save` returned, plain lists included."""
        statistic, cusum, start, self.gap, self.seen, self.bad = saved
        self._statistic = list(statistic)
        self._cusum = list(cusum)
        self._start = [(records, bad) for records, bad in start]

    def undo(self, saved: Saved) -> None:
        """Go back to what `save` returned in this process."""
        self._statistic, self._cusum, self._start, self.gap, self.seen, self.bad = saved
