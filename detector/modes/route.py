"""Judgement of one route: its clock, its scope, and those of its deployments that are at fault alone.

Records are taken in arrival order and cut into segments in which nothing is evaluated: a segment
ends before a record that lets a pane close, and at a record at which a judge flips. So the result
depends on the order of one route's records alone, not on batches or on other routes.

Panes of different routes close at different fractions of a second, fixed by the route's name:
a thousand routes whose windows were all judged at once would hold up everybody's records.

The windows run on the watermark (two seconds behind the newest record); holds, ramps and attempts
to revert run on the newest event time itself, looked at whenever a pane closes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from detector.modes.decision import Decision
from detector.modes.deployments import Deployments
from detector.modes.plan import Plan
from detector.modes.scope import ScopeJudge
from detector.modes.verdicts import Coming, LateVerdicts
from detector.modes.walk import let_wait, walk
from detector.predicates.absence import Absence
from detector.windows.array_segment import ArraySegment
from detector.windows.columns import Calls
from detector.windows.inbox import Inbox
from detector.windows.paneclock import clock_of
from detector.windows.put_off import WORTH_LAYING
from detector.windows.segment import Place, Segment
from topics.control import Override
from topics.scope import scope_of
from topics.telemetry import Evaluation, TelemetryRecord

NONE_YET = -1  # an odd number, see `CommonSilence`
_LOOK_FOR_CREEP_S = 60
_LONGEST_GAP_S = 86_400  # attempts to revert are made through longer gaps, but not for years


class RouteJudge(ScopeJudge):
    """All state of one route.

    Attributes:
        covers: next offset of telemetry and of evaluations: everything below is part of this state.
        inbox: calls that may wait before they are judged; `settle` judges them.
        deployments: those that are, or lately were, at fault alone.
        common: number of the last silence of most routes together, or of its end.
        late, clamped: records as in `Counts`.
        due: a tick before it (Unix seconds) changes nothing.
    """

    def __init__(self, plan: Plan, route: str) -> None:
        clock = clock_of(route, plan.contract.defaults.lateness_s)
        super().__init__(plan, route, "", predicates=plan.contract.predicates, clock=clock, panic=plan.panic)
        self.route = route
        self.deployments = Deployments(plan, route, clock)
        self._tellers = [(n, self.judges[n]) for n in plan.apart_walkers if n in self.judges]
        self._silences = [judge for judge in self.judges.values() if isinstance(judge, Absence)]
        self._shortest_silence_s = min((judge.spec.after_s for judge in self._silences), default=math.inf)
        self.late_verdicts = LateVerdicts(self.judges.values())
        plan.panic.meet(scope_of(route))
        self.due = self.silence_due = -math.inf
        self._history_s = plan.history_s
        self.inbox = Inbox()
        self.covers = [0, 0]
        self.common = NONE_YET
        self.late = self.clamped = 0

    def instead_of(self, lost: "RouteJudge") -> list[Decision]:
        """Take the place of a judge that has failed: what was counted goes on, all else begins anew."""
        self.covers, self.common = lost.covers, lost.common
        self.late, self.clamped = lost.late, lost.clamped
        self._judged, self.now, self._stepped = lost.judged, lost.now, lost.now
        self.armed = lost.armed
        self.probing.count_from(self._judged)
        self._plan.panic.leave(self.machine.scope)
        return [
            *self.machine.go_on_from(lost.machine.status, lost.now),
            *self.deployments.go_on_from(lost.deployments, lost.now),
        ]

    def feed(self, calls: Calls) -> list[Decision]:
        """Judge calls of this route, in arrival order."""
        self.covers[0] = calls.offsets[-1] + 1
        times = calls.times()
        if not self._clock.started:
            self._clock.move(self._clock.pane(times[0]))
        decisions: list[Decision] = []
        start, n, closed = 0, len(times), False
        while start < n:
            end = self._segment_end(times, start)
            if end > start:
                some = calls if end - start == n else calls.part(start, end)
                if closed and end == n and self._put_off(some, many=n >= WORTH_LAYING):
                    return decisions
                self.take(self._on_time(some), decisions)
            if end < n:
                if not self.machine.engaged:
                    self.probing.sample(calls.records[end])
                self._advance(times[end], decisions)
                closed = True
            start = end
        self._open_inbox()
        return decisions

    def _put_off(self, calls: Calls, *, many: bool) -> bool:
        """Let the calls behind a pane that has closed wait, if all of them may; `many` more will come so."""
        self._open_inbox()
        if waits := let_wait(self.walkers, self._columns, calls, self.inbox, many=many):
            self.remember(calls.records)
        return waits

    def settle(self) -> None:
        """Walk what waits in the inbox; nobody flips, or it would not have been put there."""
        if not self.inbox:
            return
        segment, _ = self._walk_with_waiting(Calls((), (), ()))
        self._count_in(segment)
        self._waiting.append(segment)
        self.covers[0] = max(self.covers[0], segment.last[0] + 1)

    def _walk_with_waiting(self, calls: Calls) -> tuple[Segment, bool]:
        """Walk what waits and calls that come after it in one go; see `walk`."""
        waiting, parts, (rows, offsets) = len(self.inbox), self.inbox.empty_parts(), self.inbox.empty()
        rows, offsets = [*rows, *calls.rows], [*offsets, *calls.offsets]
        clock, whole = self._clock, [self._segment(rows, offsets, None)] if rows else []
        if parts:
            whole = [ArraySegment([*parts, *whole], self._columns.layout, clock.boundary, clock.phase)]
        segment, flipped = walk(self.walkers, whole[0])
        if flipped and len(segment) <= waiting:
            raise AssertionError(f"{self.route}: a call that makes a judge flip had been left to wait")
        return segment, flipped

    def _open_inbox(self) -> None:
        """Let calls wait while all judges are calm, until a pane closes."""
        inbox, alone = self.inbox, not self.machine.engaged and not self.deployments
        inbox.calm = alone and all(judge.calm for judge in self.walkers)
        if inbox.calm:
            inbox.patience = {judge.spec.name: judge.patience for judge in self.walkers}
        inbox.since = self._clock.begins - self._history_s
        inbox.until = self._clock.closes_at if inbox.calm else -math.inf
        self.due = -math.inf

    def _segment_end(self, times: Sequence[float], start: int) -> int:
        """First position from `start` whose record lets a pane close, else the end."""
        closes = self._clock.closes_at
        if max(times[start:] if start else times) < closes:
            return len(times)
        return next(i for i in range(start, len(times)) if times[i] >= closes)

    def _on_time(self, calls: Calls) -> Calls:
        """The calls that are not older than every window."""
        oldest = self._clock.begins - self._history_s
        kept = [i for i, row in enumerate(calls.rows) if row[1] >= oldest]
        self.late += len(calls.rows) - len(kept)
        return calls if len(kept) == len(calls.rows) else calls.only(kept)

    def take(self, calls: Calls, decisions: list[Decision]) -> None:
        """Judge calls between which no pane closes; see `ScopeJudge.take`."""
        calls = self._take_apart(calls, None, decisions)
        while calls.rows:
            avoided = set(self.deployments.avoided)
            calls = self._take_some(calls, decisions)
            if handed := self.deployments.avoided - avoided:
                calls = self._take_apart(calls, sorted(handed), decisions)

    def _take_apart(self, calls: Calls, only: Sequence[str] | None, decisions: list[Decision]) -> Calls:
        """Give deployments their calls; return those that count for the route."""
        if not self.deployments:
            return calls
        mine = self.deployments.take(calls, decisions, only)
        if self.late_verdicts.judges and len(mine.rows) < len(calls.rows):
            avoided = self.deployments.avoided
            self.late_verdicts.leave_out(each for each in calls.records if each.deployment in avoided)
        return mine

    def _take_some(self, calls: Calls, decisions: list[Decision]) -> Calls:
        """See `ScopeJudge`; those that have waited go first, in one walk with these."""
        waiting = len(self.inbox)
        if self.machine.engaged or not waiting:
            self.settle()
            return super()._take_some(calls, decisions)
        segment, flipped = self._walk_with_waiting(calls)
        return self._taken(calls, len(segment) - waiting, segment, decisions, flipped=flipped)

    def _taken(
        self, calls: Calls, taken: int, segment: Segment, decisions: list[Decision], *, flipped: bool
    ) -> Calls:
        self.remember(calls.records[:taken])
        return super()._taken(calls, taken, segment, decisions, flipped=flipped)

    def _count_in(self, segment: Segment) -> None:
        super()._count_in(segment)
        if self._tellers:
            self.deployments.count(segment, self._tellers)

    def remember(self, records: Sequence[TelemetryRecord]) -> None:
        """Take note of calls that verdicts may come for."""
        if self.late_verdicts.judges:
            self.late_verdicts.remember(records, engaged=self.machine.engaged)

    def _flush(self) -> None:
        self.settle()
        super()._flush()

    def _advance(self, time: float, decisions: list[Decision]) -> None:
        """Let time come to `time` less the lateness, closing panes on the way."""
        self._flush()
        target = self._clock.advance(time)
        if target - self._clock.boundary > _LONGEST_GAP_S:
            self._skip(target)
        while self._clock.boundary < target:
            quiet = min(self._quiet(), target)
            if quiet > self._clock.boundary + 1:
                self._skip(int(quiet))
            else:
                self._close(decisions)

    def _skip(self, target: int) -> None:
        frozen = self.frozen
        super()._skip(target)
        self.deployments.skip(target, self.judged, frozen=frozen)
        self._move(target)

    def _quiet(self) -> float:
        """The boundary up to which nothing can happen as long as no calls come; inf: none is known."""
        idle = all(judge.idle() for judge in self.judges.values())
        if self.late_verdicts.waiting or self.deployments.busy or not idle:
            return -math.inf
        if not self.machine.open:
            return math.inf
        watched = self.attribution is not None or (self._tellers and self.deployments.comparable)
        until = -math.inf if watched else self.machine.quiet_until()
        # A second is left to the pane that closes next.
        return until if math.isinf(until) else self._clock.pane(until) - 1

    @property
    def open(self) -> bool:
        """Whether anything is open or pending, on the route or on one of its deployments."""
        return self.machine.open or self.deployments.busy

    @property
    def frozen(self) -> bool:
        """See `ScopeJudge`; nor while a deployment is at fault."""
        return super().frozen or self.deployments.busy

    def _close(self, decisions: list[Decision]) -> None:
        boundary = self._clock.boundary + 1
        self.deployments.close(decisions, self.judged, frozen=self.frozen)
        super()._close(decisions)
        if boundary % _LOOK_FOR_CREEP_S == 0:
            now = self._clock.said_at(boundary)
            for name, evidence, since in self.findings.newly_crept(now):
                mode = self._modes_of.get(name, name)
                decisions.append(self.machine.crept(now, mode, evidence, since))
            for name, evidence, whose, left_out in self.findings.newly_alone(now):
                mode = self._modes_of.get(name, name)
                decisions.append(self.machine.alone(now, mode, evidence, whose, left_out))

    def _closed(self, boundary: int, decisions: list[Decision]) -> None:
        self._move(boundary)
        for verdict in self.late_verdicts.take_waiting():
            self._take_verdict(verdict, decisions)

    def _move(self, boundary: int) -> None:
        """All panes before `boundary` are closed."""
        panes = boundary - self._clock.boundary
        self.probing.close(self._judged, panes, engaged=self.machine.engaged)
        self._clock.move(boundary)
        self.findings.close(boundary)

    def _step(self, now: float, decisions: list[Decision], place: Place | None = None) -> None:
        """See `ScopeJudge`; what a deployment alone has done is its own scope's from now on."""
        found = self.deployments.find(self.findings.holds, self.attribution) if self._tellers else None
        if found is not None:
            deployment, culprits = found
            self.deployments.hand_over(self, deployment, culprits, place, decisions)
            for name in culprits:
                self.judges[name].release()
            self.findings.refresh()
        super()._step(now, decisions, place)

    def _begin(self, now: float) -> None:
        super()._begin(now)
        self.late_verdicts.since = now

    @property
    def newest(self) -> float:
        """Greatest event time seen, Unix seconds."""
        return max(self.now, self.inbox.newest)

    @property
    def judged(self) -> int:
        """Records judged."""
        return self._judged + len(self.inbox) + self.deployments.judged_apart

    def silent(self, now: float) -> bool:
        """Whether at `now` the route has been silent for longer than its habit explains."""
        if now - self.now <= self._shortest_silence_s:
            return False
        silent_s = now - self.newest
        return any(judge.due(silent_s) for judge in self._silences)

    def tick(self, now: float, *, together: bool = False) -> list[Decision]:
        """Time has come to `now` (Unix seconds) and all earlier records are in.

        `together`: the silence is not this route's own: it is said once for all of them, or is no silence.
        """
        decisions: list[Decision] = []
        if not self._clock.started:
            return decisions
        if now > self.newest and (now >= self._closes() or (not together and now >= self._silence_begins())):
            self._advance(now, decisions)
            if not together:
                for judge in self.judges.values():
                    judge.tick(now)
            # Only a silence begins at a tick; all else goes by panes: when ticks come does not matter.
            if self.findings.refresh():
                self._step(now, decisions)
            self._open_inbox()
        self.due, self.silence_due = self._closes(), self._silence_begins()
        return decisions

    def overdue(self, now: float, *, together: bool = False) -> bool:
        """Whether `tick` would find something to do at `now`, Unix seconds; `together` as there."""
        if now >= self.due or (bool(self.inbox) and now >= self._clock.closes_at):
            return True
        return not together and now >= self.silence_due

    def _closes(self) -> float:
        """When a pane closes that matters; it only gets later as records come."""
        closes = self._clock.closes_at
        if not self.inbox and not self._waiting:
            closes += max(0.0, self._quiet() - self._clock.boundary)
        return closes

    def _silence_begins(self) -> float:
        """When a silence can begin that is said of this route; likewise."""
        return min((judge.begins_at for judge in self._silences), default=math.inf)

    def accept(self, order: Override) -> list[Decision]:
        """Learn the references of what drifts anew, and go on with what is left; see `Pipeline.accept`."""
        decisions = super().accept(order)
        if self._clock.started:
            self._open_inbox()
        return decisions

    def feed_evaluations(self, evaluations: Sequence[Evaluation], offsets: Sequence[int]) -> list[Decision]:
        """Judge verdicts on this route's calls, in arrival order."""
        self.covers[1] = offsets[-1] + 1
        self._flush()
        decisions: list[Decision] = []
        for offset, evaluation in zip(offsets, evaluations, strict=True):
            self._take_verdict(Coming(evaluation, offset, self.now), decisions)
        if self._clock.started:
            self._open_inbox()
        return decisions

    def _take_verdict(self, verdict: Coming, decisions: list[Decision]) -> None:
        if verdict.evaluation.deployment in self.deployments.avoided:
            self.late_verdicts.skipped += 1
            return
        flipped = self.late_verdicts.take(verdict, self.now, engaged=self.machine.engaged)
        at = verdict.evaluation.event_time
        if flipped is not None:
            self.findings.note_verdict(verdict.evaluation.name, (verdict.offset, at))
        if flipped:
            self._flush()
            self.findings.refresh()
            self._step(max(self.now, at), decisions)

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back."""
        return super().state() | {
            "route": self.route,
            "covers": self.covers,
            "common": self.common,
            "boundary": self._clock.boundary if self._clock.started else None,
            "watermark": self._clock.watermark.value,
            "counts": [self.late, self.clamped],
            "late_verdicts": self.late_verdicts.state(),
            "deployments": self.deployments.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """See `ScopeJudge.load`."""
        self.covers, self.common = list(state["covers"]), state["common"]
        self._clock.watermark.value = state["watermark"]
        if state["boundary"] is not None:
            self._clock.move(state["boundary"])
        super().load(state)
        self.late, self.clamped = state["counts"]
        self.late_verdicts.load(state["late_verdicts"])
        self.deployments.load(state["deployments"])
        if self._clock.started:
            self._open_inbox()
