"""Has a route fallen silent for longer than its own habit explains?

Judged by ticks alone, which come only while the partition is drained: a lagging reader hears
silence everywhere. The bound is `after_s`, or three times the longest of the last 64 gaps if that
is more, so that a route that calls once a minute is not reported every minute.

A gap that was reported is an outage, not a habit, until it has come three times within eight days: a
route that is quiet at night is reported for some nights, and one outage does not make it deaf for the next.
"""

import math
from collections import deque
from typing import Any

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, JudgeBase, Outcome, Verdict
from detector.windows.segment import Segment

GAPS = 64
HABIT = 3.0
LEAST_RECORDS = 10
REMEMBERED = 3
MEMORY_S = 8 * 86_400
TOGETHER_S = 5.0  # others that fall silent with this route are waited for


class Absence(JudgeBase):
    """`type: absence`."""

    walks = True

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec)
        self._gaps: deque[float] = deque(maxlen=GAPS)
        self._last = float("-inf")
        self._reported: deque[tuple[float, float]] = deque(maxlen=GAPS)  # when each ended, its length
        self._longest = 0.0
        self._seen = 0
        self._undo = (False, self.verdict)

    @property
    def armed(self) -> bool:
        """Whether the route's habit is known."""
        return self._seen >= LEAST_RECORDS

    @property
    def calm(self) -> bool:
        """Any call ends a silence, none begins one."""
        return not self.latched

    def observe(self, segment: Segment) -> int | None:
        """Any record ends a silence, at once."""
        self._undo = (self.latched, self.verdict)
        if self.latched and len(segment):
            self.latched = False
            self.verdict = Verdict(Outcome.CLEAR, 0.0, self._bound())
            return 0
        return None

    def rollback(self) -> None:
        """See `Judge.rollback`."""
        self.latched, self.verdict = self._undo

    def absorb(self, segment: Segment) -> None:
        """Take note of the time since the last record."""
        self._seen += len(segment)
        first = segment.first_after(self._last)
        if first is None:
            return
        # A gap of a second or more always begins a segment of its own, whatever the batches were.
        if self._last > float("-inf") and first - self._last >= 1.0:
            self._note(first, first - self._last)
        self._last = segment.newest
        self.verdict = Verdict(Outcome.CLEAR, 0.0, self._bound(), self._seen)

    def _note(self, at: float, gap: float) -> None:
        if self.armed and gap > self._bound() + TOGETHER_S:
            self._reported.append((at, gap))
        else:
            self._gaps.append(gap)
        while self._reported and self._reported[0][0] < at - MEMORY_S:
            self._reported.popleft()
        self._longest = self._habit()

    def _habit(self) -> float:
        again = sorted(gap for _, gap in self._reported)[-REMEMBERED:]
        return max([*self._gaps, *(again[:1] if len(again) == REMEMBERED else ())], default=0.0)

    def due(self, silent: float) -> bool:
        """Whether a silence of so many seconds is more than the route's habit explains."""
        return self.armed and silent > self._bound()

    @property
    def begins_at(self) -> float:
        """Up to when a tick changes nothing if no call comes, Unix seconds; inf: it never will."""
        if self.latched or not self.armed:
            return math.inf
        return self._last + self._bound() + TOGETHER_S

    def tick(self, now: float) -> None:
        """See `Judge.tick`."""
        silent = now - self._last
        bound = self._bound()
        if silent > bound + TOGETHER_S and not self.latched and self.armed:
            self.latched = True
            self.verdict = Verdict(Outcome.BREACH, silent, bound, self._seen, silent)

    def _bound(self) -> float:
        return max(self.spec.after_s, HABIT * self._longest)

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        return {
            "gaps": list(self._gaps),
            "reported": list(self._reported),
            "last": self._last,
            "seen": self._seen,
            "latched": self.latched,
        }

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self._gaps = deque(state["gaps"], maxlen=GAPS)
        self._reported = deque(((at, gap) for at, gap in state["reported"]), maxlen=GAPS)
        self._longest = self._habit()
        self._last, self._seen, self.latched = state["last"], state["seen"], state["latched"]
        self.verdict = Verdict(Outcome.BREACH if self.latched else Outcome.CLEAR, threshold=self._bound())
