"""Judgement of one route: its clock, its judges, its scope's state machine.

Records are taken in arrival order and cut into segments in which nothing is evaluated: a segment
ends before a record that lets a pane close, and at a record at which a judge flips. So the result
depends on the order of one route's records alone, not on batches or on other routes.

Panes of different routes close at different fractions of a second, fixed by the route's name:
a thousand routes whose windows were all judged at once would hold up everybody's records.

The windows run on the watermark (two seconds behind the newest record); holds, ramps and attempts
to revert run on the newest event time itself, looked at whenever a pane closes.
"""

import math
from collections.abc import Sequence
from typing import Any

from detector.modes.attribution import Attribution
from detector.modes.decision import Decision
from detector.modes.findings import Findings
from detector.modes.machine import ScopeMachine
from detector.modes.plan import Plan
from detector.modes.probing import Probing
from detector.modes.state import State
from detector.modes.verdicts import Coming, LateVerdicts
from detector.modes.walk import walk
from detector.predicates.absence import Absence
from detector.predicates.base import Judge
from detector.predicates.registry import judge_for
from detector.windows.inbox import Inbox
from detector.windows.paneclock import PaneClock
from detector.windows.segment import Calls, Row, Segment, join, made_after
from topics.control import Evidence, Override
from topics.partitioner import murmur2
from topics.scope import scope_of
from topics.telemetry import Evaluation, TelemetryRecord

_PHASES = 1024
_WORTH_ABSORBING = 32  # calls; fewer are gathered for the windows, which costs a copy of each
_LONGEST_GAP_S = 86_400  # attempts to revert are made through longer gaps, but not for years


class RouteJudge:
    """All state of one route.

    Attributes:
        covers: next offset of telemetry and of evaluations: everything below is part of this state.
        inbox: calls that may wait before they are judged; `settle` judges them.
        late, clamped: records as in `Counts`.
        armed: per predicate, records that were judged while it was armed.
        due: a tick before it (Unix seconds) changes nothing.
    """

    def __init__(self, plan: Plan, route: str) -> None:
        contract, budget, partition = plan.contract, plan.budget, plan.partition
        self.route = route
        self._columns = plan.columns
        self._clock = PaneClock(murmur2(route.encode()) % _PHASES / _PHASES, contract.defaults.lateness_s)
        self._evaluations_topic = plan.topics[1]
        self.judges: dict[str, Judge] = {
            name: judge_for(spec, budget, contract.calibrated(route, name))
            for name, spec in contract.predicates.items()
        }
        self._walkers = [judge for judge in self.judges.values() if judge.walks]
        self._silences = [judge for judge in self.judges.values() if isinstance(judge, Absence)]
        self._shortest_silence_s = min((judge.spec.after_s for judge in self._silences), default=math.inf)
        self.late_verdicts = LateVerdicts(self.judges.values())
        self._modes_of = plan.modes_of
        self.machine = ScopeMachine(contract, scope_of(route), partition, plan.panic)
        plan.panic.meet(scope_of(route))
        self._probing = Probing(contract, route, self.judges)
        self._now = self._stepped = -math.inf
        self.due = -math.inf
        self._history_s = plan.history_s
        self.inbox = Inbox()
        # Segments that sequential judges have walked and windows have not taken yet.
        self._waiting: list[Segment] = []
        self._attribution = Attribution(self.judges, plan.acting) if plan.attributes else None
        self._findings = Findings(self.judges, plan.topics[0], partition)
        self.covers = [0, 0]
        self._judged = self.late = self.clamped = 0
        self.armed = dict.fromkeys(self.judges, 0)

    def feed(self, calls: Calls) -> list[Decision]:
        """Judge calls of this route, in arrival order."""
        self.covers[0] = calls.offsets[-1] + 1
        times = calls.times()
        if not self._clock.started:
            self._clock.move(self._clock.pane(times[0]))
        decisions: list[Decision] = []
        start, n = 0, len(times)
        while start < n:
            end = self._segment_end(times, start)
            if end > start:
                some = calls if end - start == n else calls.part(start, end)
                self._take(self._on_time(some), decisions)
            if end < n:
                if not self.machine.engaged:
                    self._probing.sample(calls.records[end])
                self._advance(times[end], decisions)
            start = end
        self._open_inbox()
        return decisions

    def settle(self) -> None:
        """Walk what waits in the inbox; nobody flips, or it would not have been put there."""
        if self.inbox.rows:
            rows, offsets = self.inbox.empty()
            segment = self._segment(rows, offsets, None)
            for judge in self._walkers:
                judge.observe(segment)
            self._waiting.append(segment)
            self._count_in(len(rows), max(segment.times))
            self.covers[0] = max(self.covers[0], offsets[-1] + 1)

    def _open_inbox(self) -> None:
        """Let calls wait while all judges are calm, until a pane closes."""
        inbox = self.inbox
        inbox.calm = not self.machine.engaged and all(judge.calm for judge in self._walkers)
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

    def _segment(self, rows: Sequence[Row], offsets: Sequence[int], fresh: Sequence[bool] | None) -> Segment:
        table = self._columns.of(rows)
        return Segment(table.times, offsets, table.columns, fresh, self._clock.boundary, self._clock.phase)

    def _take(self, calls: Calls, decisions: list[Decision]) -> None:
        """Judge calls between which no pane closes."""
        while calls.rows:
            since = self._since()
            before = 0
            if since is None and self.inbox.rows:
                # Those that have waited go first, in one walk with these.
                rows, offsets = self.inbox.empty()
                before = len(rows)
                whole = self._segment([*rows, *calls.rows], [*offsets, *calls.offsets], None)
            else:
                self.settle()
                fresh = None if since is None else made_after(calls.records, calls.times(), since)
                whole = self._segment(calls.rows, calls.offsets, fresh)
                if fresh is not None:
                    self._probing.mark_slow(whole, calls.records)
            segment, flipped = walk(self._walkers, whole)
            taken = len(segment) - before
            self._count_in(len(segment), max(segment.times))
            self.remember(calls.records[:taken])
            self._waiting.append(segment)
            if not flipped:
                if len(segment) >= _WORTH_ABSORBING:
                    self._flush()
                return
            self._flush()
            self._findings.refresh((segment.offsets[-1], segment.times[-1]))
            self._step(self._now, decisions)
            if taken == len(calls.rows):
                return
            calls = calls.part(taken, len(calls.rows))

    def _since(self) -> float | None:
        return self.machine.status.since if self.machine.engaged else None

    def _count_in(self, count: int, newest: float) -> None:
        if newest > self._now:
            self._now = newest
        self._judged += count

    def remember(self, records: Sequence[TelemetryRecord]) -> None:
        """Take note of calls that verdicts may come for."""
        if self.late_verdicts.judges:
            self.late_verdicts.remember(records, engaged=self.machine.engaged)

    def _flush(self) -> None:
        """Hand what was gathered to the windows; before an evaluation, a change of state, a snapshot."""
        self.settle()
        if not self._waiting:
            return
        segment = join(self._waiting)
        self._waiting = []
        for name, judge in self.judges.items():
            if judge.armed:
                self.armed[name] += len(segment)
            judge.absorb(segment)
        if self._attribution is not None:
            self._attribution.absorb(segment)
        self._findings.note(segment)

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
        """Jump to `target` over panes that hold nothing, or over a gap that nobody waits through."""
        frozen = self.frozen
        for judge in self.judges.values():
            judge.skip(target, frozen=frozen)
        if self._attribution is not None:
            self._attribution.skip()
        self._closed(target)

    def _quiet(self) -> float:
        """The boundary up to which nothing can happen as long as no calls come; inf: none is known."""
        if self.late_verdicts.waiting or not all(judge.idle() for judge in self.judges.values()):
            return -math.inf
        if not self.machine.open:
            return math.inf
        until = -math.inf if self._attribution is not None else self.machine.quiet_until()
        # A second is left to the pane that closes next.
        return until if math.isinf(until) else self._clock.pane(until) - 1

    @property
    def frozen(self) -> bool:
        """Whether references do not learn now: something is open, pending, or holds without acting."""
        return self.machine.open or bool(self._findings.holds)

    def _close(self, decisions: list[Decision]) -> None:
        boundary = self._clock.boundary + 1
        frozen = self.frozen
        for judge in self.judges.values():
            judge.close(boundary, frozen=frozen)
        unknown = "" if self._attribution is None else self._attribution.close(boundary, frozen=frozen)
        self._closed(boundary)
        for verdict in self.late_verdicts.take_waiting():
            self._take_verdict(verdict, decisions)
        self._findings.refresh()
        if self._findings.holds or self.machine.open or self.machine.status.noticed:
            self._step(self._clock.said_at(boundary), decisions)
        if unknown:
            decisions += self.machine.remark(self._stepped, unknown)

    def _closed(self, boundary: int) -> None:
        panes = boundary - self._clock.boundary
        self._probing.close(self._judged, panes, engaged=self.machine.engaged)
        self._clock.move(boundary)
        self._findings.close(boundary)

    def _step(self, now: float, decisions: list[Decision]) -> None:
        """Let the state machine see what holds now; tell the judges if the scope changed state."""
        before, benign = self.machine.status.state, self.machine.status.benign
        # A tick may have come between; the state machine's time never goes back.
        now = self._stepped = max(self._stepped, now)
        if self._attribution is not None and self._attribution.settle():
            self._findings.refresh()
        for name, evidence in self._findings.newly_unusable():
            decisions.append(self.machine.unusable(now, self._modes_of.get(name, name), evidence))
        decisions += self.machine.step(now, self._findings.holds, self._probing)
        after = self.machine.status.state
        if after is not before and after in (State.ACTIVE, State.RECOVERING):
            self._probing.begin()
            for judge in self.judges.values():
                judge.restart(now)
            self.late_verdicts.since = now
        for name in set(self.machine.status.benign).difference(benign):
            self.judges[name].tolerate()

    @property
    def newest(self) -> float:
        """Greatest event time seen, Unix seconds."""
        return max(self._now, *(row[1] for row in self.inbox.rows)) if self.inbox.rows else self._now

    @property
    def judged(self) -> int:
        """Records judged."""
        return self._judged + len(self.inbox.rows)

    def silent(self, now: float) -> bool:
        """Whether at `now` the route has been silent for longer than its habit explains."""
        if now - self._now <= self._shortest_silence_s:
            return False
        silent_s = now - self.newest
        return any(judge.due(silent_s) for judge in self._silences)

    def tick(self, now: float, *, together: bool = False) -> list[Decision]:
        """Time has come to `now` (Unix seconds) and all earlier records are in.

        `together`: most routes are silent, which is said once for all of them.
        """
        decisions: list[Decision] = []
        if not self._clock.started or now <= self.newest:
            return decisions
        if now >= self._due():
            self._advance(now, decisions)
            if not together:
                for judge in self.judges.values():
                    judge.tick(now)
            # Only a silence begins at a tick; all else goes by panes: when ticks come does not matter.
            if self._findings.refresh():
                self._step(now, decisions)
            self._open_inbox()
        self.due = self._due()
        return decisions

    def overdue(self, now: float) -> bool:
        """Whether `tick` would find something to do at `now`, Unix seconds."""
        return now >= self.due or (bool(self.inbox.rows) and now >= self._clock.closes_at)

    def _due(self) -> float:
        """When a pane closes that matters, or a silence can begin; both only get later as records come."""
        closes = self._clock.closes_at
        if not self.inbox.rows and not self._waiting:
            closes += max(0.0, self._quiet() - self._clock.boundary)
        silences = [self._now + judge.spec.after_s for judge in self._silences if not judge.latched]
        return min([closes, *silences])

    def accept(self, order: Override) -> list[Decision]:
        """Learn the references of what drifts anew, and go on with what is left; see `Pipeline.accept`."""
        drifts = [each for each in self.judges.values() if each.latched and each.spec.type == "divergence"]
        for judge in drifts:
            judge.rebase()
        self._findings.refresh()
        decisions = self.machine.accept(self._stepped, order, [judge.spec.name for judge in drifts])
        self._step(self._stepped, decisions)
        return decisions

    def feed_evaluations(self, evaluations: Sequence[Evaluation], offsets: Sequence[int]) -> list[Decision]:
        """Judge verdicts on this route's calls, in arrival order."""
        self.covers[1] = offsets[-1] + 1
        self.settle()
        decisions: list[Decision] = []
        for offset, evaluation in zip(offsets, evaluations, strict=True):
            self._take_verdict(Coming(evaluation, offset, self._now), decisions)
        if self._clock.started:
            self._open_inbox()
        return decisions

    def _take_verdict(self, verdict: Coming, decisions: list[Decision]) -> None:
        if self.late_verdicts.take(verdict, self._now, engaged=self.machine.engaged):
            self._flush()
            at = verdict.evaluation.event_time
            self._findings.refresh((verdict.offset, at), self._evaluations_topic)
            self._step(max(self._now, at), decisions)

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back."""
        self._flush()
        return {
            "route": self.route,
            "covers": self.covers,
            "boundary": self._clock.boundary if self._clock.started else None,
            "watermark": self._clock.watermark.value,
            "now": self._now,
            "stepped": self._stepped,
            "judges": {name: (judge.identity, judge.state()) for name, judge in self.judges.items()},
            "machine": self.machine.state(),
            "findings": self._findings.state(),
            "attribution": None if self._attribution is None else self._attribution.state(),
            "probing": self._probing.state(),
            "counts": [self._judged, self.late, self.clamped],
            "armed": self.armed,
            "late_verdicts": self.late_verdicts.state(),
        }

    def load(self, state: dict[str, Any], evidence: dict[str, Evidence]) -> None:
        """Take over what `state` returned; a predicate whose definition has changed since starts afresh."""
        self.covers = list(state["covers"])
        self._now, self._stepped = state["now"], state["stepped"]
        self._clock.watermark.value = state["watermark"]
        if state["boundary"] is not None:
            self._clock.move(state["boundary"])
        for name, (identity, saved) in state["judges"].items():
            if (judge := self.judges.get(name)) is not None and judge.identity == identity:
                judge.load(saved)
        self.machine.load(state["machine"])
        self._findings.load(state["findings"], evidence)
        if self._attribution is not None and state.get("attribution") is not None:
            self._attribution.load(state["attribution"])
        self._probing.load(state["probing"])
        self._judged, self.late, self.clamped = state["counts"]
        self.armed |= {name: n for name, n in state["armed"].items() if name in self.armed}
        self.late_verdicts.load(state["late_verdicts"])
        if self._clock.started:
            self._open_inbox()
