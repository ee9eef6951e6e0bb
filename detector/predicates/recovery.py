"""Reverse CUSUM: has a rate of bad calls fallen back from `p_f` to the healthy `p0`?

    S <- max(0, S + ln(p0 / p_f) if bad else S + ln((1 - p0) / (1 - p_f)))

p_f = max(2 p0, min(0.1, rate / 2)) for a fault of this rate, but nine tenths of the rate at most: where p_f
lies beyond the fault, half of the fault looks like recovery. Recovered when S >= h. With h = ln 1000 and
p_f = 0.1 it takes 76 probes (median) after recovery from p0 = 1 %; a fault of 10 % is then reverted falsely
in 6 % of 1,000 probes, one of 20 % never (simulated).

Source: E. S. Page (1954), Biometrika 41; M. R. Reynolds, Z. G. Stoumbos (1999), J. Quality Technology 31.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

THRESHOLD = math.log(1000.0)
_BELOW_RATE, _ABOVE_P0 = 0.9, 1.25
_BRIEF = 10.0  # times the calls that a way back takes
_MOST_RELAPSES = 2


class Relapses(NamedTuple):
    """How often a breach was back at once: it had not been over, and its next way back takes more evidence.

    Attributes:
        level: how many in a row, two at most.
        brief: what begins within so many calls of a way back is the breach that it led back from.
        since: calls since then, those that the present test has seen left out.
    """

    level: int = 0
    brief: float = 0.0
    since: int = 0

    def over(self, needed: float) -> "Relapses":
        """A way back that takes `needed` calls has been found."""
        return Relapses(self.level, _BRIEF * needed)

    def breached(self, healthy: int) -> "Relapses":
        """A breach begins after so many healthy calls of the present test."""
        again = self.since + healthy < self.brief
        return Relapses(min(self.level + 1, _MOST_RELAPSES) if again else 0)


class Recovery:
    """Test of recovery from a rate seen at activation.

    Args:
        p0: healthy rate, in (0, 1).
        rate: rate of bad calls when the fault was found, in (0, 1].
        relapses: each doubles the threshold.
    """

    __slots__ = ("_gain", "_loss", "_p0", "_threshold", "bad", "probes", "rate", "relapses", "run", "score")

    def __init__(self, p0: float, rate: float, relapses: int = 0) -> None:
        p_f = min(max(2 * p0, min(0.1, rate / 2)), max(_BELOW_RATE * rate, _ABOVE_P0 * p0), (1 + p0) / 2)
        self._threshold = THRESHOLD * 2.0**relapses
        self.rate, self.relapses = rate, relapses
        self._p0 = p0
        self._gain = math.log((1 - p0) / (1 - p_f))
        self._loss = math.log(p0 / p_f)
        self.restart()

    def restart(self) -> None:
        """Only calls from now on count."""
        self.score = 0.0  # after the last bad call
        self.run = 0  # good calls since: counted, not summed up, so that batches make no difference
        self.probes = 0
        self.bad = 0

    def observe(self, n: int, bad: Sequence[int]) -> int | None:
        """Take `n` calls, bad ones at the ascending indices `bad`; return the index of recovery.

        Once that was reached no call is taken any more.
        """
        last = -1
        for index in bad:
            found = self._good(last + 1, index)
            if found is not None:
                return found
            self.score = max(0.0, self.score + self.run * self._gain + self._loss)
            self.run = 0
            self.probes += 1
            self.bad += 1
            last = index
        return self._good(last + 1, n)

    def _good(self, start: int, end: int) -> int | None:
        """Good calls [start, end); return the one at which the threshold is reached."""
        needed = self._lacking()
        taken = min(needed, end - start)
        self.run += taken
        self.probes += taken
        return start + taken - 1 if taken == needed else None

    def _lacking(self) -> int:
        """Good calls in a row that it takes from here."""
        return math.ceil((self._threshold - self.score) / self._gain) - self.run

    @property
    def over(self) -> bool:
        """Whether the threshold was reached: nothing that comes later counts."""
        return self._lacking() <= 0

    @property
    def needed(self) -> float:
        """Probes within which about 19 of 20 recoveries to `p0` are seen, from a fresh start.

        The walk's first passage taken as inverse Gaussian: mean h / m, variance h s^2 / m^3, with m and s
        the mean and deviation of one step.
        """
        mean = (1 - self._p0) * self._gain + self._p0 * self._loss
        square = (1 - self._p0) * self._gain**2 + self._p0 * self._loss**2 - mean**2
        return self._threshold / mean + 1.645 * math.sqrt(self._threshold * square / mean**3)

    def save(self) -> tuple[float, int, int, int]:
        """Return what `load` takes back."""
        return self.score, self.run, self.probes, self.bad

    def load(self, saved: Sequence[float]) -> None:
        """Take over what `save` returned."""
        self.score = saved[0]
        self.run, self.probes, self.bad = map(int, saved[1:])
