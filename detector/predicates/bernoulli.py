"""Judge of a stream of good and bad calls, whatever makes a call bad.

Healthy until the mixture Shiryaev-Roberts test says otherwise, then breached until a reverse CUSUM
says it is over. Traffic that was beyond its ceiling from the first record that was ever seen says
nothing of a change: the predicate is then `unusable`, a notice and never an activation. It is so until
twice the ceiling has been ruled out, from when the next pane closes: so calls may wait meanwhile. A
breach counts only behind calls that show the traffic to be healthy. Only a rate by which all but all of the
first calls are bad, which is nobody's healthy traffic, is acted on all the same. Where calibration knows
that healthy traffic exceeds the contract's ceiling the predicate is `unusable` until it is calibrated
again: in its calmer hours such traffic keeps the ceiling, and would be taken for a fault in all others.

Where neither contract nor calibration states a design effect, that of the healthy stream is learnt,
block by block, and evidence is tempered by it as soon as it stands out; the run length is then 100
times the one wanted, for tempering alone falls short (measured: by 10 to 12 times at
autocorrelations from 0.7 to 0.9 and A = 1e6).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, JudgeBase, Outcome, Verdict, WayBack
from detector.predicates.change import is_change
from detector.predicates.cohorts import CohortTest
from detector.predicates.design_effect import MARGIN, DesignEffect
from detector.predicates.interval import wilson
from detector.predicates.lone import NONE, LoneCaller, Row
from detector.predicates.power import smallest_share
from detector.predicates.probes import with_slow, without_early
from detector.predicates.recovery import Recovery, Relapses
from detector.predicates.shiryaev_roberts import MOST_PATIENCE
from detector.windows.segment import EARLY, SLOW, Positions, Segment
from detector.windows.shares import Flagged, Share

# Times the ceiling: what traffic may always have been like; a rate beyond it was an outage, and says nothing
# of other times.
_CHRONIC = 4.0
_FOUND_WITHIN_S = 10.0
CALLS_BEFORE = "calls_before"  # a breach that says nothing: how many calls there were to hold it against
# Nobody's healthy traffic. Half would be too, but half of some eight calls often fail where a third do.
_ALL_BUT_ALL = 0.9
# Normal quantile of the interval. The test stops where the rate looks worst, so that 1.96 would hold the
# true rate in 73 to 92 % of cases; 3 does in 97 % or more at a run length of 1e9 (in 91 at 1e6; simulated).
_STOPPED = 3.0


class BernoulliJudge(JudgeBase, ABC):
    """Base of all that judge single calls: a subclass says which calls are judged and which were bad."""

    walks = True
    acts_on_total_failure = True

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec)
        # What the verdicts show when the true rate is at its ceiling: a judge errs both ways.
        self._ceiling = spec.judge.observed(spec.ceiling) if spec.judge else spec.ceiling
        self._test = CohortTest(self._ceiling, budget.run_length, spec.design_effect)
        self._run_length = budget.run_length
        given = "design_effect" in spec.stated or spec.design_effect > 1.0
        # Panes close by telemetry: verdicts of their own topic would be learnt from depending on its pace.
        self._effect = None if given or not self.walks else DesignEffect()
        self._phi = spec.design_effect
        self._lone = LoneCaller() if spec.unless_alone else None
        self._undo_lone = NONE
        self._recovery: Recovery | None = None
        self._relapses = Relapses()
        # Calls, and bad ones, seen before the test was last restarted, breaches that were acted on left out.
        self._before = (0, 0)
        self._unusable = False
        self._exceeded = False  # by healthy traffic, as calibration has found
        self._was_over = False  # a breach, or the time in which it was unusable
        self._calls = 0  # of the primary since the test was last restarted, judged or not
        self._just_restarted = False  # by the call walked last: what is absorbed next came before that
        self._last_bad = 0.0  # event time of the last bad call while in breach
        self._undo_last_bad = 0.0
        self._undo_kept = self._test.kept
        self._undo: Any = 0  # the test's gap if that is all that the last walk changed, else everything
        self.verdict = Verdict(Outcome.INSUFFICIENT, threshold=spec.ceiling)

    def begin_unusable(self, rate: float | None) -> None:
        """Healthy calls were bad at this rate, too often: no alarm while that is what is known of them."""
        self._unusable = self._exceeded = True
        self.verdict = Verdict(Outcome.UNUSABLE, rate, self.spec.ceiling)

    @property
    def identity(self) -> str:
        """See `Judge.identity`: what calibration has found since counts from then on."""
        return f"{super().identity}{' exceeded' if self._exceeded else ''}"

    @property
    def alone(self) -> tuple[str, int]:
        """See `Judge.alone`."""
        return (self._lone.row.whose, self._lone.row.left_out) if self._lone is not None else ("", 0)

    def _way_out(self) -> Recovery:
        """The test of whether traffic that was never seen within its ceiling is so now."""
        return Recovery(self._ceiling, _CHRONIC * self._ceiling)

    @abstractmethod
    def flags(self, segment: Segment) -> Flagged:
        """Return (positions of the judged calls, ascending indices into them of the bad ones)."""

    @property
    def armed(self) -> bool:
        """Armed from the first judged call on: the ceiling comes with the contract."""
        known = (
            self._before[0]
            or self._test.seen
            or self._test.gap
            or self._was_over
            or self._recovery is not None
        )
        return bool(known) and not self._unusable

    def close(self, boundary: int, *, frozen: bool) -> None:
        """Say so once there is something to judge, and learn from what is healthy."""
        self._learn()
        self._be_usable_again()
        if self.verdict.outcome is Outcome.INSUFFICIENT and self.armed:
            self.verdict = Verdict(Outcome.CLEAR, threshold=self.spec.ceiling)

    def skip(self, boundary: int, *, frozen: bool) -> None:
        """See `Judge.skip`."""
        self._learn()
        self._be_usable_again()

    def _be_usable_again(self) -> None:
        """Begin to judge; nobody waits for it, so calls may wait until a pane closes while it is unusable."""
        if self._unusable and self._recovery is not None and self._recovery.over:
            self._recovered(self._recovery)

    def _learn(self) -> None:
        """Learn the stream's design effect; only when panes close, so that batches make no difference."""
        self._test.close()
        effect, test = self._effect, self._test
        if effect is None or self._recovery is not None or not effect.due(test.seen + test.gap):
            return
        if effect.add(test.seen + test.gap, test.bad, test.clear):
            self._temper(effect.value)

    def _temper(self, phi: float) -> None:
        if phi != self._phi:
            self._phi = phi
            self._test.temper(self._run_length * (MARGIN if phi > 1.0 else 1.0), phi)

    def _restart_test(self) -> None:
        self._forget_row()
        self._test.restart()
        self._calls = 0
        if self._effect is not None:
            self._effect.restart()

    @property
    def calm(self) -> bool:
        """A good call raises no alarm; it may end one."""
        return self._recovery is None or self._unusable

    @property
    def patience(self) -> int:
        """See `Judge.patience`."""
        return MOST_PATIENCE if self._unusable else self._test.patience

    def observe(self, segment: Segment) -> int | None:
        """Walk the judged calls of a segment; see `Judge.observe`."""
        judged, bad = self.flags(segment)
        if self._lone is not None:
            self._undo_lone = self._lone.row
            callers = segment.columns[self.spec.unless_alone]
            judged, bad = self._lone.leave_out(judged, bad, callers.__getitem__)
        self.flagged = judged, bad
        self._undo_last_bad, self._undo_kept = self._last_bad, self._test.kept
        if self._recovery is not None:
            if SLOW in segment.columns:
                judged, bad = with_slow(judged, bad, segment.columns[SLOW])
            if any(early := segment.columns.get(EARLY, ())):
                judged, bad = without_early(judged, bad, early)
            flip = self.take(judged, bad)
            seen = [i for i in bad if flip is None or judged[i] <= flip]
            if seen:
                self._last_bad = segment.times[judged[seen[-1]]]
            return flip
        if not bad or self._exceeded:
            self._test.passed(segment, judged)
        return self.take(judged, bad, segment)

    def take(self, judged: Positions, bad: Sequence[int], along: Segment | None = None) -> int | None:
        """Walk calls, named by position, bad ones at the indices `bad`; `along`: telemetry that has them."""
        recovery = self._recovery
        if recovery is None:
            if not bad or self._exceeded:
                self._undo = self._test.pass_over(len(judged))
                return None
            state = (False, False, self._before, self._relapses, self.verdict)
            self._undo = (self._test.save(), None, None, *state)
            index = self._test.walk(along, judged, bad)
            if index is None:
                return None
            self._forget_row()
            self._breached()
        else:
            state = (self.latched, self._unusable, self._before, self._relapses, self.verdict)
            self._undo = (self._test.save(), recovery, recovery.save(), *state)
            index = recovery.observe(len(judged), bad)
            if index is None or (self._unusable and self.walks):
                return None
            calls = self._calls
            self._recovered(recovery)
            if self.walks:
                self._calls, self._just_restarted = calls, True
        return int(judged[index])

    def _forget_row(self) -> None:
        if self._lone is not None:
            self._lone.restart()  # it has walked beyond the call that decided

    def rollback(self) -> None:
        """See `Judge.rollback`."""
        undo, self._last_bad, self._just_restarted = self._undo, self._undo_last_bad, False
        self._test.kept = self._undo_kept
        if self._lone is not None:
            self._lone.row = self._undo_lone
        if isinstance(undo, int):
            self._test.gap = undo
            return
        test, self._recovery, recovery, self.latched, self._unusable, *before = undo
        self._before, self._relapses, self.verdict = before
        self._test.undo(test)
        if self._recovery is not None:
            self._recovery.load(recovery)

    def _breached(self) -> None:
        healthy, samples, bad = self._test.excursion()
        rate = bad / samples
        value, detail = self._said(bad, samples)
        calls, earlier = self._before
        before = calls + healthy, earlier + self._test.bad - bad
        known = is_change(before, (samples, bad), self._ceiling, self._phi, self._run_length)
        total_failure = self.acts_on_total_failure and value >= _ALL_BUT_ALL
        self._unusable = not known and not total_failure
        self.latched = not self._unusable
        outcome = Outcome.UNUSABLE if self._unusable else Outcome.BREACH
        detail |= {"evidence": self._test.evidence, "design_effect": self._phi}
        if self._unusable and before[0]:
            detail |= {CALLS_BEFORE: before[0], "rate_before": before[1] / before[0]}
        self.verdict = Verdict(outcome, value, self.spec.ceiling, samples, detail=detail)
        self._relapses = self._relapses.breached(healthy)
        again = self._relapses.level
        self._recovery = self._way_out() if self._unusable else Recovery(self._ceiling, rate, again)

    def _said(self, bad: int, samples: int) -> tuple[float, dict[str, float | str]]:
        """The rate to be reported, and what else there is to say of it.

        Where the judge of the calls errs, that is the corrected rate; its interval is Wilson's of the
        observed one, corrected likewise.
        """
        judge = self.spec.judge
        if judge is None:
            return bad / samples, {}
        low, high = wilson(bad / self._phi, samples / self._phi, _STOPPED)
        return judge.corrected(bad / samples), {
            "observed": bad / samples,
            "observed_ceiling": self._ceiling,
            "low": judge.corrected(low),
            "high": judge.corrected(high),
        }

    def _recovered(self, recovery: Recovery) -> None:
        value, detail = self._said(recovery.bad, recovery.probes)
        self.verdict = Verdict(Outcome.CLEAR, value, self.spec.ceiling, recovery.probes, detail=detail)
        self._remember(recovery)
        self._relapses = self._relapses.over(recovery.needed)
        self._was_over = True
        self.latched = self._unusable = False
        self._recovery = None
        self._restart_test()

    def _remember(self, recovery: Recovery) -> None:
        """Add the calls before a breach that is over to those that say what the traffic is usually like.

        Those of a time in which it was unusable as well, if they were not far worse: where the share follows
        the day, the calm hours alone would make every busy one look like a change.
        """
        calls, since, bad_since = self._test.excursion()
        bad = self._test.bad - bad_since
        since, bad_since = since + recovery.probes, bad_since + recovery.bad
        if self._unusable and bad_since < _CHRONIC * self._ceiling * since:
            calls, bad = calls + since, bad + bad_since
        self._before = (self._before[0] + calls, self._before[1] + bad)

    def breach(self, share: Share, detail: Mapping[str, float | str]) -> None:
        """See `Judge.breach`."""
        value, said = self._said(int(share.bad), int(share.calls))
        samples = int(share.calls)
        self.verdict = Verdict(
            Outcome.BREACH,
            value,
            self.spec.ceiling,
            samples,
            detail=said | {"design_effect": self._phi, **detail},
        )
        self.latched, self._unusable = True, False
        self._recovery = Recovery(self._ceiling, share.bad / share.calls)

    def release(self) -> None:
        """See `Judge.release`; whether the traffic was ever within its ceiling before is still known."""
        if self._unusable:
            return
        if self._recovery is not None:
            self._remember(self._recovery)
            self._recovery = None
            self._restart_test()
        self.latched = False
        self.verdict = Verdict(Outcome.CLEAR, threshold=self.spec.ceiling)

    def absorb(self, segment: Segment) -> None:
        """Count the primary's calls, of which not all are judged; a breach says which share was."""
        self._calls = 0 if self._just_restarted else self._calls + len(segment.primary())
        self._just_restarted = False
        self._say_share()

    def _say_share(self) -> None:
        if self.latched and self._recovery is not None and "judged_share" not in self.verdict.detail:
            share = min(1.0, (self._test.seen + self._test.gap) / self._calls) if self._calls else 0.0
            self.verdict = replace(self.verdict, detail=self.verdict.detail | {"judged_share": share})

    def restart(self, at: float) -> None:
        """Old evidence says nothing of the calls made from now on."""
        if self._recovery is not None:
            self._recovery.restart()
        else:
            (calls, bad), seen, again = self._before, self._test.seen + self._test.gap, self._relapses
            self._before = (calls + seen, bad + self._test.bad)
            self._relapses = again._replace(since=again.since + seen)
            self._restart_test()

    def finds(self, per_s: float) -> float | None:
        """See `Judge.finds`."""
        run_length = self._run_length * (MARGIN if self._effect is not None and self._phi > 1.0 else 1.0)
        calls = float(f"{_FOUND_WITHIN_S * per_s:.2g}")
        return smallest_share(self._ceiling, run_length, float(f"{self._phi:.2g}"), calls)

    def progress(self) -> str:
        """Where the test of recovery stands, in words; empty as long as it has seen no probe."""
        if self._recovery is None:
            return "recovered"
        if not self._recovery.probes:
            return ""
        return f"{self._recovery.bad} of {self._recovery.probes} probes bad"

    def way_back(self) -> WayBack:
        """See `Judge.way_back`."""
        recovery, judged = self._recovery, self._before[0] + self._test.seen + self._test.gap
        if recovery is None:
            return WayBack(judged=judged, last_bad=self._last_bad)
        return WayBack(judged, recovery.probes, recovery.bad, recovery.needed, self._last_bad)

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        recovery = self._recovery
        return {
            "test": self._test.save(),
            "cohorts": self._test.kept,
            "recovery": None if recovery is None else (recovery.rate, recovery.relapses, recovery.save()),
            "relapses": self._relapses,
            "latched": self.latched,
            "unusable": self._unusable,
            "before": self._before,
            "was_over": self._was_over,
            "calls": self._calls,
            "effect": None if self._effect is None else self._effect.state(),
            "last_bad": self._last_bad,
            "lone": None if self._lone is None else self._lone.row,
        }

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self._test.load(state["test"])
        if "cohorts" in state:
            self._test.take_over(state["cohorts"])
        if self._effect is not None and state.get("effect") is not None:
            self._effect.load(state["effect"])
            self._temper(self._effect.value)
        self._relapses, self._recovery = Relapses(*state["relapses"]), None
        if state["recovery"] is not None:
            rate, relapses, saved = state["recovery"]
            self._recovery = Recovery(self._ceiling, rate, relapses)
            self._recovery.load(saved)
        self.latched, self._unusable = state["latched"], state["unusable"]
        self._before = (state["before"][0], state["before"][1])
        self._was_over = state.get("was_over", False)
        self._calls = state.get("calls", 0)
        self._last_bad = state.get("last_bad", 0.0)
        if self._lone is not None and state.get("lone") is not None:
            self._lone.row = Row(*state["lone"])
        outcome = Outcome.UNUSABLE if self._unusable else Outcome.BREACH if self.latched else Outcome.CLEAR
        self.verdict = Verdict(outcome, threshold=self.spec.ceiling)
