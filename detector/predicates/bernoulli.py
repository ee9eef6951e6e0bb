"""Judge of a stream of good and bad calls, whatever makes a call bad.

Healthy until the mixture Shiryaev-Roberts test says otherwise, then breached until a reverse CUSUM
says it is over. Traffic that was beyond its ceiling from the first record that was ever seen says
nothing of a change: the predicate is then `unusable` (a notice, never an activation) until the
traffic has been seen within the ceiling. Only a failure rate over one half, which is nobody's
healthy traffic, is acted on all the same.

Where neither contract nor calibration states a design effect, that of the healthy stream is learnt,
block by block, and evidence is tempered by it as soon as it stands out; the run length is then 100
times the one wanted, for tempering alone falls short (measured: by 10 to 12 times at
autocorrelations from 0.7 to 0.9 and A = 1e6).
"""

from collections.abc import Sequence
from typing import Any

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, JudgeBase, Outcome, Verdict
from detector.predicates.design_effect import DesignEffect
from detector.predicates.recovery import Recovery
from detector.predicates.shiryaev_roberts import MixtureShiryaevRoberts
from detector.windows.segment import Segment

# A change this near to the first record seen is no change.
_KNOWN_HEALTHY = 10
_NOBODY_IS_HEALTHY = 0.5
_DEPENDENT = 100.0  # times the run length once dependence has been learnt


class BernoulliJudge(JudgeBase):
    """Base of `rate` and `exceedance`: a subclass says which calls are judged and which were bad."""

    walks = True
    acts_on_total_failure = True

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec)
        self._test = MixtureShiryaevRoberts(spec.ceiling, budget.run_length, spec.design_effect)
        self._run_length = budget.run_length
        given = "design_effect" in spec.stated or spec.design_effect > 1.0
        # Panes close by telemetry: verdicts of their own topic would be learnt from depending on its pace.
        self._effect = None if given or not self.walks else DesignEffect()
        self._phi = spec.design_effect
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
        """Say so once there is something to judge, and learn from what is healthy."""
        self._learn()
        if self.verdict.outcome is Outcome.INSUFFICIENT and self.armed:
            self.verdict = Verdict(Outcome.CLEAR, threshold=self.spec.ceiling)

    def skip(self, boundary: int) -> None:
        """See `Judge.skip`."""
        self._learn()

    def _learn(self) -> None:
        """Learn the stream's design effect; only when panes close, so that batches make no difference."""
        effect, test = self._effect, self._test
        if effect is None or self._recovery is not None or not effect.due(test.seen + test.gap):
            return
        if effect.add(test.seen + test.gap, test.bad, test.clear):
            self._temper(effect.value)

    def _temper(self, phi: float) -> None:
        if phi != self._phi:
            self._phi = phi
            self._test.temper(self._run_length * (_DEPENDENT if phi > 1.0 else 1.0), phi)

    def _restart_test(self) -> None:
        self._test.restart()
        if self._effect is not None:
            self._effect.restart()

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
            outcome,
            rate,
            self.spec.ceiling,
            samples,
            detail={"evidence": self._test.evidence, "design_effect": self._phi},
        )
        self._recovery = Recovery(self.spec.ceiling, rate)

    def _recovered(self, recovery: Recovery) -> None:
        rate = recovery.bad / recovery.probes
        self.verdict = Verdict(Outcome.CLEAR, rate, self.spec.ceiling, recovery.probes)
        self.latched = self._unusable = False
        self._recovery = None
        self._restart_test()
        self._before = _KNOWN_HEALTHY

    def restart(self, at: float) -> None:
        """Old evidence says nothing of the calls made from now on."""
        if self._recovery is not None:
            self._recovery.restart()
        else:
            self._before += self._test.seen + self._test.gap
            self._restart_test()

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
            "effect": None if self._effect is None else self._effect.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self._test.load(state["test"])
        if self._effect is not None and state.get("effect") is not None:
            self._effect.load(state["effect"])
            self._temper(self._effect.value)
        self._recovery = None
        if state["recovery"] is not None:
            rate, saved = state["recovery"]
            self._recovery = Recovery(self.spec.ceiling, rate)
            self._recovery.load(saved)
        self.latched, self._unusable, self._before = state["latched"], state["unusable"], state["before"]
        outcome = Outcome.UNUSABLE if self._unusable else Outcome.BREACH if self.latched else Outcome.CLEAR
        self.verdict = Verdict(outcome, threshold=self.spec.ceiling)
