"""The rules as people write them down, for comparison and for those who want them: `method: literal`.

They are wrong nearly always when they fire on real traffic, or deaf: see the notes of each.
"""

from typing import Any

import numpy as np

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, JudgeBase, Outcome, Verdict
from detector.predicates.bins import binner_for
from detector.predicates.divergence import INPUT_FIELDS
from detector.predicates.exceedance import limit_of, measured
from detector.predicates.kl import divergence, reference_share
from detector.predicates.rate import bad_calls
from detector.windows.panes import PaneRing
from detector.windows.segment import Segment


class LiteralDivergence(JudgeBase):
    """KL of one window of `window_s` from the first whole one ever seen, or accepted, above `threshold_nats`.

    At small n it measures n: 200 records in 32 bins are falsely active 67 % of the time (simulated).
    """

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec)
        self._binner = binner_for(spec.field)
        self._ring = PaneRing(self._binner.bins, (int(spec.window_s),))
        self._is_input = spec.field in INPUT_FIELDS or spec.field.startswith("features.")
        self._first: int | None = None
        self._q: Any = None
        self.verdict = Verdict(Outcome.LEARNING)

    def absorb(self, segment: Segment) -> None:
        """Count a segment's values into the panes of their seconds."""
        positions = segment.succeeded() if self._is_input else segment.primary_ok()
        values = segment.pick(self.spec.field, positions)
        if self._ring.boundary is None:
            self._ring.start(segment.boundary)
            self._first = segment.boundary
        for position, value in zip(positions, values, strict=True):
            if value is not None:
                self._ring.add(int(segment.times[position] + segment.phase), self._binner.count([value]))

    def close(self, boundary: int, *, frozen: bool) -> None:
        """Close the pane and compare the window, once there has been a whole one."""
        if self._ring.boundary is None or self._first is None or self._ring.boundary >= boundary:
            return
        self._ring.close()
        counts = self._ring.totals
        n = int(counts.sum())
        if self._q is None:
            if boundary - self._first >= self._ring.longest and n:
                self._q = reference_share(counts[0])
            return
        if not n:
            return
        value = float(divergence(counts, self._q)[0])
        self.latched = value > self.spec.threshold_nats
        outcome = Outcome.BREACH if self.latched else Outcome.CLEAR
        self.verdict = Verdict(outcome, value, self.spec.threshold_nats, n, self.spec.window_s)

    def rebase(self) -> None:
        """See `Judge.rebase`; the present window may hold what was before too: the next whole one is it."""
        self._first, self._q = self._ring.boundary, None
        self.latched = False
        self.verdict = Verdict(Outcome.LEARNING)

    def progress(self) -> str:
        """What the window shows."""
        return f"{self.verdict.value or 0.0:.3g} nats over {self.spec.window_s:g} s"

    def idle(self) -> bool:
        """Empty panes shrink the window, so each one counts until it is empty."""
        return self._ring.idle() and not self._ring.totals.any() and self._q is not None

    def skip(self, boundary: int, *, frozen: bool) -> None:
        """Jump over empty panes; the window is empty already."""
        if self._ring.boundary is not None and self._ring.boundary < boundary:
            self._ring.start(boundary)

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        return {
            "ring": self._ring.state(),
            "first": self._first,
            "q": None if self._q is None else self._q.tolist(),
            "bins": self._binner.state(),
            "latched": self.latched,
            "outcome": self.verdict.outcome.value,
        }

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self._ring.load(state["ring"])
        self._first, self.latched = state["first"], state["latched"]
        self._q = None if state["q"] is None else np.array(state["q"])
        self._binner.load(state["bins"])
        self.verdict = Verdict(Outcome(state["outcome"]))


class RunRule(JudgeBase):
    """`consecutive` calls in a row above the limit; over after as many in a row below it.

    At 1 % of healthy calls above the limit, three in a row come 855 times a day at 10,000 calls/s,
    and 30 to 1,800 times as often when neighbours are alike (exact; simulated).
    """

    walks = True

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec)
        self._limit = limit_of(spec)
        self._needed = spec.consecutive or 3
        self._run = 0  # bad calls in a row, or good ones while latched
        self.verdict = Verdict(Outcome.CLEAR, threshold=float(self._needed))
        self._undo = (0, False, self.verdict)

    def observe(self, segment: Segment) -> int | None:
        """Walk the calls in arrival order."""
        self._undo = (self._run, self.latched, self.verdict)
        positions, values = measured(segment, self.spec.field)
        for position, value in zip(positions, values, strict=True):
            self._run = self._run + 1 if (value > self._limit) != self.latched else 0
            if self._run >= self._needed:
                self.latched = not self.latched
                self._run = 0
                outcome = Outcome.BREACH if self.latched else Outcome.CLEAR
                self.verdict = Verdict(outcome, value, self._limit, self._needed)
                return position
        return None

    def rollback(self) -> None:
        """See `Judge.rollback`."""
        self._run, self.latched, self.verdict = self._undo

    def progress(self) -> str:
        """How many good calls in a row there are."""
        return f"{self._run} of {self._needed} calls in a row within the limit"

    def restart(self, at: float) -> None:
        """Runs do not reach over a change of state."""
        self._run = 0

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        return {"run": self._run, "latched": self.latched}

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self._run, self.latched = state["run"], state["latched"]
        self.verdict = Verdict(
            Outcome.BREACH if self.latched else Outcome.CLEAR, threshold=float(self._needed)
        )


class LiteralRate(JudgeBase):
    """Share of bad verdicts or errors over the last `window_s` seconds above the ceiling, however few.

    A share over 100 calls against 5 % raises a false alarm every 36,000 calls at a healthy 1 % (simulated).
    """

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec)
        self._window_s = int(spec.window_s)
        self._panes: dict[int, tuple[int, int]] = {}  # by second: calls judged, bad ones
        self.verdict = Verdict(Outcome.CLEAR, threshold=spec.ceiling)

    def absorb(self, segment: Segment) -> None:
        """Count calls into the panes of their seconds, late ones too."""
        judged, bad = bad_calls(segment, self.spec.field)
        wrong = set(bad)  # indices into the judged ones
        for index, position in enumerate(judged):
            second = int(segment.times[position] + segment.phase)
            n, before = self._panes.get(second, (0, 0))
            self._panes[second] = (n + 1, before + (index in wrong))

    def close(self, boundary: int, *, frozen: bool) -> None:
        """Compare the share over the window that ends at `boundary`."""
        for second in [each for each in self._panes if each < boundary - self._window_s]:
            del self._panes[second]
        inside = [pane for second, pane in self._panes.items() if second < boundary]
        n = sum(count for count, _ in inside)
        if not n:
            return
        value = sum(bad for _, bad in inside) / n
        self.latched = value > self.spec.ceiling
        outcome = Outcome.BREACH if self.latched else Outcome.CLEAR
        self.verdict = Verdict(outcome, value, self.spec.ceiling, n, float(self._window_s))

    def progress(self) -> str:
        """What the window shows."""
        return f"{self.verdict.value or 0.0:.2%} of {self.verdict.samples} calls bad in {self._window_s} s"

    def idle(self) -> bool:
        """Nothing changes when the window is empty."""
        return not self._panes

    def restart(self, at: float) -> None:
        """Only calls made from now on count."""
        self._panes.clear()

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        return {"panes": [(second, *pane) for second, pane in self._panes.items()], "latched": self.latched}

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self._panes = {second: (n, bad) for second, n, bad in state["panes"]}
        self.latched = state["latched"]
