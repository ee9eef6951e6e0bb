"""Judge of a stream of good and bad calls, whatever makes a call bad.

Healthy until the mixture Shiryaev-Roberts test says otherwise, then breached until a reverse CUSUM
says it is over. Traffic that was beyond its ceiling from the first record that was ever seen says
nothing of a change: the predicate is then `unusable` (a notice, never an activation) until the
traffic has been seen within the ceiling. Only a failure rate over one half, which is nobody's
healthy traffic, is acted on all the same.
"""

from collections.abc import Sequence
from typing import Any

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, JudgeBase, Outcome, Verdict
from detector.predicates.recovery import Recovery
from detector.predicates.shiryaev_roberts import MixtureShiryaevRoberts
from detector.windows.segment import Segment

# A change this near to the first record seen is no change.
_KNOWN_HEALTHY = 10
_NOBODY_IS_HEALTHY = 0.5


class BernoulliJudge(JudgeBase):
    """Base of `rate` and `exceedance`: a subclass says which calls are judged and which were bad."""

    walks = True
    acts_on_total_failure = True

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec)
        self._test = MixtureShiryaevRoberts(spec.ceiling, budget.run_length, spec.design_effect)
        self._recovery: Recovery | None = None
        self._before = 0  # records seen before the test was last restarted
        self._unusable = False
        self._undo: Any = 0  # the test's gap if that is all that the last walk changed, else everything
        self.verdict = Verdict(Outcome.INSUFFICIENT, threshold=spec.ceiling)

    def flags(self, segment: Segment) -> tuple[Sequence[int], Sequence[int]]:
        """Return (positions of the judged calls, ascending indices into them of the bad ones)."""
        raise NotImplementedError

    @property
    def armed(self) -> bool:
        """Armed from the first judged call on: the ceiling comes with the contract."""
        known = self._before or self._test.seen or self._test.gap or self._recovery is not None
        return bool(known) and not self._unusable

    def close(self, boundary: int, *, frozen: bool) -> None:
        """Say so once there is something to judge."""
        if self.verdict.outcome is Outcome.INSUFFICIENT and self.armed:
            self.verdict = Verdict(Outcome.CLEAR, threshold=self.spec.ceiling)

    @property
    def calm(self) -> bool:
        """A good call raises no alarm; it may end one."""
        return self._recovery is None

    def observe(self, segment: Segment) -> int | None:
        """Walk the judged calls of a segment; see `Judge.observe`."""
        judged, bad = self.flags(segment)
        return self.take(judged, bad)

    def take(self, judged: Sequence[int], bad: Sequence[int]) -> int | None:
        """Walk `judged` calls, named by position, of which those at the indices `bad` were bad."""
        recovery = self._recovery
        if recovery is None:
            if not bad:
                self._undo = self._test.pass_over(len(judged))
                return None
            self._undo = (self._test.save(), None, None, False, False, self._before, self.verdict)
            index = self._test.observe(len(judged), bad)
            if index is None:
                return None
            self._breached()
        else:
            state = (self.latched, self._unusable, self._before, self.verdict)
            self._undo = (self._test.save(), recovery, recovery.save(), *state)
            index = recovery.observe(len(judged), bad)
            if index is None:
                return None
            self._recovered(recovery)
        return judged[index]

    def rollback(self) -> None:
        """See `Judge.rollback`."""
        undo = self._undo
        if isinstance(undo, int):
            self._test.gap = undo
            return
        test, self._recovery, recovery, self.latched, self._unusable, self._before, self.verdict = undo
        self._test.undo(test)
        if self._recovery is not None:
            self._recovery.load(recovery)

    def _breached(self) -> None:
        healthy, samples, bad = self._test.excursion()
        rate = bad / samples
        known = self._before + healthy >= _KNOWN_HEALTHY
        total_failure = self.acts_on_total_failure and rate >= _NOBODY_IS_HEALTHY
        self._unusable = not known and not total_failure
        self.latched = not self._unusable
        outcome = Outcome.UNUSABLE if self._unusable else Outcome.BREACH
        self.verdict = Verdict(
            outcome, rate, self.spec.ceiling, samples, detail={"evidence": self._test.evidence}
        )
        self._recovery = Recovery(self.spec.ceiling, rate)

    def _recovered(self, recovery: Recovery) -> None:
        rate = recovery.bad / recovery.probes
        self.verdict = Verdict(Outcome.CLEAR, rate, self.spec.ceiling, recovery.probes)
        self.latched = self._unusable = False
        self._recovery = None
        self._test.restart()
        self._before = _KNOWN_HEALTHY

    def restart(self, at: float) -> None:
        """Old evidence says nothing of the calls made from now on."""
        if self._recovery is not None:
            self._recovery.restart()
        else:
            self._before += self._test.seen + self._test.gap
            self._test.restart()

    def progress(self) -> str:
        """Where the test of recovery stands, in words."""
        if self._recovery is None:
            return "recovered"
        return f"{self._recovery.bad} of {self._recovery.probes} probes bad"

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        recovery = self._recovery
        return {
            "test": self._test.save(),
            "recovery": None if recovery is None else (recovery.rate, recovery.save()),
            "latched": self.latched,
            "unusable": self._unusable,
            "before": self._before,
        }

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self._test.load(state["test"])
        self._recovery = None
        if state["recovery"] is not None:
            rate, saved = state["recovery"]
            self._recovery = Recovery(self.spec.ceiling, rate)
            self._recovery.load(saved)
        self.latched, self._unusable, self._before = state["latched"], state["unusable"], state["before"]
        outcome = Outcome.UNUSABLE if self._unusable else Outcome.BREACH if self.latched else Outcome.CLEAR
        self.verdict = Verdict(outcome, threshold=self.spec.ceiling)
