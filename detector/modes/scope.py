"""Judgement of one scope: its judges, what holds there and why, and its state machine.

That is what a route and a single deployment of it have in common. Calls are walked up to the first
record at which a judge flips; windows are judged when a pane closes. Whose calls they are, and when
panes close, is the route's business.
"""

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

import msgspec

from detector.contract.model import PredicateSpec
from detector.modes.attribution import Attribution
from detector.modes.decision import Decision
from detector.modes.findings import Findings
from detector.modes.machine import ScopeMachine
from detector.modes.panic import Panic
from detector.modes.plan import Plan
from detector.modes.probing import Probing
from detector.modes.state import State
from detector.modes.walk import bad_calls, walk
from detector.predicates.base import SEQUENTIAL, Judge
from detector.predicates.registry import judge_for
from detector.windows.array_segment import join
from detector.windows.columns import Calls, Row
from detector.windows.paneclock import PaneClock
from detector.windows.segment import EARLY, Place, Segment, made_after
from detector.windows.shares import Share
from topics.control import Evidence, Override
from topics.scope import scope_of

LEARNT = ("divergence", "shortfall")  # held to what was usual before, which an operator may let go
_WORTH_ABSORBING = 32  # calls; fewer are gathered for the windows, which costs a copy of each


class ScopeJudge:
    """All that is judged of one scope.

    Args:
        plan: what all routes have in common.
        route, deployment: whose scope it is; an empty deployment: the route's own.
        predicates: what is judged here, as far as it exists on the route.
        clock: the route's; it moves it.
        panic: who is counted as being in fallback; None: this scope is not.

    Attributes:
        judges: by predicate; `walkers`: those of them that walk, in their order.
        findings: what holds.
        attribution: what tells causes apart; None if the contract does not ask for it.
        probing: how the way back goes.
        now: greatest event time of a call that was judged, Unix seconds.
        armed: per predicate, records that were judged while it was armed.
    """

    def __init__(
        self,
        plan: Plan,
        route: str,
        deployment: str,
        *,
        predicates: Mapping[str, PredicateSpec],
        clock: PaneClock,
        panic: Panic | None = None,
    ) -> None:
        contract = plan.contract
        self._plan = plan
        self._clock = clock
        self._columns = plan.columns
        self._modes_of = plan.modes_of
        self.judges: dict[str, Judge] = {
            name: judge_for(
                spec,
                plan.budget,
                contract.calibrated(route, name),
                contract.calibration.last_event_time,
            )
            for name, spec in predicates.items()
            if spec.exists_on(route)
        }
        self.walkers = [judge for judge in self.judges.values() if judge.walks]
        self.machine = ScopeMachine(contract, scope_of(route, deployment), plan.partition, panic)
        self.probing = Probing(contract, route, self.judges)
        self.attribution = Attribution(self.judges, plan.acting) if plan.attributes else None
        self.findings = Findings(self.judges, plan.topics, plan.partition)
        self.now = self._stepped = -math.inf
        self._tells_from = -math.inf  # calls made since the scope became active and that fail have ended
        # Segments that sequential judges have walked and windows have not taken yet.
        self._waiting: list[Segment] = []
        self._judged = 0
        self.armed = dict.fromkeys(self.judges, 0)

    @property
    def judged(self) -> int:
        """Records judged."""
        return self._judged

    @property
    def frozen(self) -> bool:
        """Whether references do not learn now: something that acts is open or pending, or holds already.

        What is only said, or does no harm, is no reason: others would be held to an old reference for ever.
        """
        return self.machine.wrong or not self._plan.acting.isdisjoint(self._held())

    def _held(self) -> Set[str]:
        """Predicates that hold and are not known to do no harm: their own references do not learn."""
        holds = self.findings.holds
        return holds.keys() - set(self.machine.status.benign) if holds else frozenset()

    def take(self, calls: Calls, decisions: list[Decision]) -> None:
        """Judge calls between which no pane closes."""
        while calls.rows:
            calls = self._take_some(calls, decisions)

    def _take_some(self, calls: Calls, decisions: list[Decision]) -> Calls:
        """Judge calls up to the first at which a judge flips; return the rest."""
        since = self._since()
        fresh = None if since is None else made_after(calls.records, calls.times(), since)
        whole = self._segment(calls.rows, calls.offsets, fresh)
        if fresh is not None:
            self.probing.mark_slow(whole, calls.records)
            whole.columns[EARLY] = [time < self._tells_from for time in whole.times]
        segment, flipped = walk(self.walkers, whole)
        return self._taken(calls, len(segment), segment, decisions, flipped=flipped)

    def _taken(
        self, calls: Calls, taken: int, segment: Segment, decisions: list[Decision], *, flipped: bool
    ) -> Calls:
        """Go on from a segment that was walked, with `taken` of the calls at its end; return the others."""
        self._count_in(segment)
        self._waiting.append(segment)
        if not flipped:
            if sum(map(len, self._waiting)) >= _WORTH_ABSORBING:
                self._flush()
        else:
            self._flush()
            place = segment.last
            self.probing.found_bad()
            self.findings.refresh(place)
            self._step(self.now, decisions, place)
        return calls.part(taken, len(calls.rows))

    def _since(self) -> float | None:
        return self.machine.status.since if self.machine.engaged else None

    def _segment(self, rows: Sequence[Row], offsets: Sequence[int], fresh: Sequence[bool] | None) -> Segment:
        table = self._columns.of(rows)
        return Segment(table.times, offsets, table.columns, fresh, self._clock.boundary, self._clock.phase)

    def _count_in(self, segment: Segment) -> None:
        newest = segment.newest
        if newest > self.now:
            self.now = newest
        self._judged += len(segment)
        if bad := bad_calls(self.walkers, segment):
            self.probing.note_bad(segment.pick("latency_s", bad))
        if self.machine.engaged:
            self.probing.note_slow(segment)

    def _flush(self) -> None:
        """Hand what was gathered to the windows; before an evaluation, a change of state, a snapshot."""
        if not self._waiting:
            return
        segment = join(self._waiting)
        self._waiting = []
        for name, judge in self.judges.items():
            if judge.armed:
                self.armed[name] += len(segment)
            judge.absorb(segment)
        if self.attribution is not None:
            self.attribution.absorb(segment)
        self.findings.note(segment)

    def _skip(self, target: int) -> None:
        """Jump to `target` over panes that hold nothing, or over a gap that nobody waits through."""
        frozen, held = self.frozen, self._held()
        for name, judge in self.judges.items():
            judge.skip(target, frozen=frozen or name in held)
        if self.attribution is not None:
            self.attribution.skip()

    def _close(self, decisions: list[Decision]) -> None:
        """Close the clock's pane and judge the windows that end there."""
        boundary = self._clock.boundary + 1
        frozen, held = self.frozen, self._held()
        for name, judge in self.judges.items():
            judge.close(boundary, frozen=frozen or name in held)
        unknown = "" if self.attribution is None else self.attribution.close(boundary, frozen=frozen)
        self._closed(boundary, decisions)
        self.findings.refresh()
        under_way = self.findings.holds or self.machine.open or self.machine.status.noticed
        if under_way or self.findings.use_has_changed():
            self._step(self._clock.said_at(boundary), decisions)
        if unknown:
            decisions += self.machine.remark(self._stepped, unknown)

    def _closed(self, boundary: int, decisions: list[Decision]) -> None:
        """All panes before `boundary` are closed."""
        self.findings.close(boundary)

    def _step(self, now: float, decisions: list[Decision], place: Place | None = None) -> None:
        """Let the state machine see what holds now; tell the judges if the scope changed state.

        Args:
            place: the record at which a judge has just flipped.
        """
        before, benign = self.machine.status.state, self.machine.status.benign
        # A tick may have come between; the state machine's time never goes back.
        now = self._stepped = max(self._stepped, now)
        if self.attribution is not None and self.attribution.settle():
            self.findings.refresh()
        if not any(judge.latched for judge in self.walkers):
            self.probing.bad_take_s = 0.0
        for name, evidence in self.findings.newly_unusable():
            decisions.append(self.machine.unusable(now, self._modes_of.get(name, name), evidence))
        decisions += self.machine.step(now, self.findings.holds, self.probing)
        after = self.machine.status.state
        if after is not before and after in (State.ACTIVE, State.RECOVERING):
            self._begin(now)
        for name in set(self.machine.status.benign).difference(benign):
            self.judges[name].tolerate()

    def _begin(self, now: float) -> None:
        """Calls are diverted, or come back, from now on: only those made after it count."""
        self.probing.begin()
        self._tells_from = now + self.probing.bad_take_s
        for judge in self.judges.values():
            judge.restart(now)

    def accept(self, order: Override) -> list[Decision]:
        """Learn the references of what drifts anew, and go on with what is left; see `Pipeline.accept`."""
        self._flush()
        drifts = [n for n, judge in self.judges.items() if judge.latched and judge.spec.type in LEARNT]
        crept = [n for n, judge in self.judges.items() if judge.crept is not None and n not in drifts]
        for name in drifts:
            self.judges[name].rebase()
        for name in crept:
            self.judges[name].accept_creep()
        # What does no harm must not act because it was accepted: it stays as it is where it still holds.
        held = [name for name in drifts if self.judges[name].latched]
        learnt = [name for name in drifts if name not in held]
        self.findings.accepted((*learnt, *crept))
        self.findings.refresh()
        at = max(self._stepped, self.now)
        if at == -math.inf:  # of this scope there are no calls yet
            return self.machine.accept(order.issued_at, order, learnt, crept, held)
        decisions = self.machine.accept(at, order, learnt, crept, held)
        self._step(at, decisions)
        return decisions

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back."""
        self._flush()
        return {
            "now": self.now,
            "stepped": self._stepped,
            "judges": {
                name: (judge.identity, judge.state(), _about(judge.spec))
                for name, judge in self.judges.items()
            },
            "machine": self.machine.state(),
            "findings": self.findings.state(),
            "attribution": None if self.attribution is None else self.attribution.state(),
            "probing": self.probing.state(),
            "judged": self._judged,
            "tells_from": self._tells_from,
            "armed": self.armed,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned; a predicate whose definition has changed since starts afresh.

        One that judges the same calls by another limit starts in breach if it was: else a fault that goes on
        would look over, and then like traffic that was never healthy.
        """
        self.now, self._stepped = state["now"], state["stepped"]
        found = state["findings"]["holds"].items()
        holds = {name: msgspec.convert(evidence, Evidence) for name, evidence in found}
        for name, (identity, saved, *about) in state["judges"].items():
            judge = self.judges.get(name)
            if judge is None:
                continue
            if judge.identity == identity:
                judge.load(saved)
            elif name in holds and about == [_about(judge.spec)]:
                _breach_again(judge, holds[name])
        self.machine.load(state["machine"])
        self.findings.load(state["findings"], holds)
        if self.attribution is not None and state.get("attribution") is not None:
            self.attribution.load(state["attribution"])
        self.probing.load(state["probing"])
        self._judged = state["judged"]
        self._tells_from = state["tells_from"]
        self.armed |= {name: n for name, n in state["armed"].items() if name in self.armed}


def _about(spec: PredicateSpec) -> str:
    """Which calls a predicate judges, and by what of them, whatever its limits are."""
    return f"{spec.type} {spec.method} of {spec.field or spec.evaluation} where {spec.where}"


def _breach_again(judge: Judge, evidence: Evidence) -> None:
    tells_apart = judge.spec.type in SEQUENTIAL and judge.spec.method == "default"
    if tells_apart and evidence.samples and evidence.value is not None:
        rate = float(evidence.detail.get("observed", evidence.value))
        judge.breach(Share(evidence.samples, rate * evidence.samples), {"limit": "changed since"})
