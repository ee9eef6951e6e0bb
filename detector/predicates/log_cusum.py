"""Early sign that calls have become slower: a CUSUM of standardised log values (`method: log_cusum`).

    z = (ln x - mean) / deviation, kept within -4 .. 4;  S <- max(0, S + z - 1/2);  breach at S >= h

It reacts to any slowing of all calls, within the limits of an SLO too, and therefore says nothing of
harm: for modes of severity `notice`. Simulated at A = 1e9 with a deviation of 0.4 and independent
calls, calls that take 1.3, 1.5, 2 or 3 times as long are noticed after 143, 40, 17 and 10 of them.

Mean and deviation come from the first 1,600 calls, or since a restart without them; afterwards the mean
follows blocks of 200 that end with S under h/2, each with a weight of 2 %, so that days do not add up to
a breach. So does phi, the design effect of the blocks' means, within which

    h = phi (ln A - 1.2)

is where a CUSUM of independent normal values with drift -1/2 has a mean run length of at least A
(D. Siegmund 1985, Sequential Analysis, corrected diffusion). Real values are neither: the bound is an
estimate (measured at A = 1e3: 9e3 to 2e4 at autocorrelations from 0 to 0.9). The breach ends when S
has come back to 0; S is not let above 1.5 h, so that it does.

Source: E. S. Page (1954), Biometrika 41.
"""

import math
from collections.abc import Sequence
from typing import Any

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, JudgeBase, Outcome, Verdict
from detector.predicates.exceedance import measured
from detector.windows.columns import Table
from detector.windows.segment import Segment

_CLIP = 4.0
_SLACK = 0.5
_BLOCK = 200
_LEARNT_BLOCKS = 8
_WEIGHT = 0.02
_LEAST_DEVIATION = 0.02  # of the log: calls that all take the same time are still not alike to 2 %
_SMALLEST = 1e-6
_MOST_PHI = 32.0
_HIGHEST = 1.5  # times h


class LogCusum(JudgeBase):
    """`type: exceedance, method: log_cusum`."""

    walks = True

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec)
        self._log_a = math.log(budget.run_length) - 1.2
        # Blocks of learning: calls, sum and sum of squares of logs, sum and sum of squares of block means.
        self._learnt = (0, 0.0, 0.0, 0.0, 0.0)
        self._mean = self._deviation = 0.0
        self._phi = 1.0
        self._score = 0.0
        self._block = (0, 0.0)  # calls and sum of logs of the open block
        self._since = 0  # calls since the score last left zero
        self._undo: Any = None
        self.verdict = Verdict(Outcome.LEARNING)

    @property
    def armed(self) -> bool:
        """Once mean and deviation are known."""
        return self._deviation > 0.0

    @property
    def calm(self) -> bool:
        """Every call moves the score."""
        return False

    def suspects(self, calls: Table) -> Sequence[int]:
        """See `Judge.suspects`; nobody asks, for it is never calm."""
        return range(len(calls.columns["served_by"]))

    def observe(self, segment: Segment) -> int | None:
        """See `Judge.observe`."""
        self._undo = self._all()
        positions, values = measured(segment, self.spec.field)
        for position, value in zip(positions, values, strict=True):
            if self._flips(math.log(max(value, _SMALLEST))):
                return position
        return None

    def _flips(self, log: float) -> bool:
        n, total = self._block
        self._block = (n + 1, total + log)
        if not self._deviation:
            calls, first, second, means, squares = self._learnt
            self._learnt = (calls + 1, first + log, second + log * log, means, squares)
            if n + 1 == _BLOCK:
                self._learn()
            return False
        z = (log - self._mean) / self._deviation
        raised = self._score + max(-_CLIP, min(_CLIP, z)) - _SLACK
        limit = self._phi * self._log_a
        self._score = min(max(0.0, raised), _HIGHEST * limit)
        self._since = self._since + 1 if self._score else 0
        if n + 1 == _BLOCK:
            self._follow(limit)
        if self.latched:
            if self._score:
                return False
            self.latched = False
            self.verdict = Verdict(Outcome.CLEAR, self._score, limit)
            return True
        if self._score < limit:
            return False
        self.latched = True
        detail: dict[str, float | str] = {"usual_s": math.exp(self._mean), "design_effect": self._phi}
        self.verdict = Verdict(Outcome.BREACH, self._score, limit, self._since, detail=detail)
        return True

    def _learn(self) -> None:
        """Close a block of learning; after the last one, be armed."""
        (n, total), (calls, first, second, means, squares) = self._block, self._learnt
        mean = total / n
        means, squares = means + mean, squares + mean * mean
        self._learnt, self._block = (calls, first, second, means, squares), (0, 0.0)
        blocks = calls // _BLOCK
        if blocks < _LEARNT_BLOCKS:
            return
        self._mean = first / calls
        variance = max(0.0, second / calls - self._mean**2)
        self._deviation = max(_LEAST_DEVIATION, math.sqrt(variance))
        between = max(0.0, squares - means * means / blocks) / (blocks - 1)
        self._phi = min(_MOST_PHI, max(1.0, _BLOCK * between / self._deviation**2))
        self.verdict = Verdict(Outcome.CLEAR, 0.0, self._phi * self._log_a)

    def _follow(self, limit: float) -> None:
        """Let the mean and the design effect follow a block that raises no doubt."""
        n, total = self._block
        self._block = (0, 0.0)
        if self.latched or self._score >= limit / 2:
            return
        away = total / n - self._mean
        effect = _BLOCK * (away / self._deviation) ** 2
        self._mean += _WEIGHT * away
        self._phi = min(_MOST_PHI, max(1.0, self._phi + _WEIGHT * (effect - self._phi)))

    def rollback(self) -> None:
        """See `Judge.rollback`."""
        self._set(self._undo)

    def restart(self, at: float) -> None:
        """Old evidence says nothing of the calls made from now on."""
        self._block = (0, 0.0)
        if not self.latched:
            self._score, self._since = 0.0, 0

    def _all(self) -> tuple[Any, ...]:
        learnt = (self._learnt, self._mean, self._deviation, self._phi)
        return (*learnt, self._score, self._block, self._since, self.latched, self.verdict)

    def _set(self, values: Sequence[Any]) -> None:
        self._learnt, self._mean, self._deviation, self._phi = values[:4]
        self._score, self._block, self._since, self.latched, self.verdict = values[4:]

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        return {"values": self._all()[:-1]}

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        learnt, mean, deviation, phi, score, block, since, latched = state["values"]
        outcome = Outcome.BREACH if latched else Outcome.CLEAR if deviation else Outcome.LEARNING
        verdict = Verdict(outcome, threshold=phi * self._log_a if deviation else None)
        self._set((tuple(learnt), mean, deviation, phi, score, tuple(block), since, latched, verdict))
