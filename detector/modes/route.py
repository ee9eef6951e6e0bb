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
from collections.abc import Iterable, Sequence
from operator import sub
from typing import Any

from detector.modes.decision import Decision
from detector.modes.findings import Findings
from detector.modes.machine import ScopeMachine
from detector.modes.plan import Plan
from detector.modes.state import State
from detector.modes.verdicts import VerdictJoin
from detector.predicates.absence import Absence
from detector.predicates.base import Judge
from detector.predicates.evaluation_rate import EvaluationRate
from detector.predicates.registry import judge_for
from detector.windows.segment import Segment, join, made_after
from detector.windows.watermark import FUTURE_S, Watermark
from topics.control import Evidence
from topics.partitioner import murmur2
from topics.scope import scope_of
from topics.telemetry import Evaluation, TelemetryRecord

_PHASES = 1024
_FEW = 16  # calls of one batch; more are cheaper to read as columns at once
_LONGEST_GAP_S = 86_400  # attempts to revert are made through longer gaps, but not for years


class RouteJudge:
    """All state of one route.

    Attributes:
        covers: next offset of telemetry and of evaluations: everything below is part of this state.
        judged: records judged; `late`, `clamped`, `verdicts`, `verdicts_skipped` count likewise.
        armed: per predicate, records that were judged while it was armed.
    """

    def __init__(self, plan: Plan, route: str) -> None:
        contract, budget, partition = plan.contract, plan.budget, plan.partition
        self.route = route
        self._columns = plan.columns
        self._phase = murmur2(route.encode()) % _PHASES / _PHASES
        self._lateness_s = contract.defaults.lateness_s
        self._evaluations_topic = plan.topics[1]
        self.judges: dict[str, Judge] = {
            name: judge_for(spec, budget, contract.calibrated(route, name))
            for name, spec in contract.predicates.items()
        }
        self._walkers = [judge for judge in self.judges.values() if judge.walks]
        self._silences = [judge for judge in self.judges.values() if isinstance(judge, Absence)]
        self._verdict_judges = [judge for judge in self.judges.values() if isinstance(judge, EvaluationRate)]
        self._join = VerdictJoin() if self._verdict_judges else None
        self._modes_of = {
            name: mode.name for mode in reversed(contract.modes.values()) for name in mode.predicates
        }
        self.machine = ScopeMachine(contract, scope_of(route), partition)
        self._watermark = Watermark(self._lateness_s)
        self._boundary: int | None = None
        self._now = self._stepped = -math.inf
        self._history_s = plan.history_s
        # Rows, times and offsets of calls that were put off: while every judge is calm, none can matter.
        self._unwalked: tuple[list[Any], list[float], list[int]] = ([], [], [])
        self._suspicions = [judge.suspicious for judge in self._walkers]
        self._calm = self._is_calm()
        # Segments that sequential judges have walked and windows have not taken yet.
        self._waiting: list[Segment] = []
        self._findings = Findings(self.judges, plan.topics[0], partition)
        self.covers = [0, 0]
        self.judged = self.late = self.clamped = self.verdicts = self.verdicts_skipped = 0
        self.armed = dict.fromkeys(self.judges, 0)

    def feed(
        self, records: Sequence[TelemetryRecord], offsets: Sequence[int], arrivals: Sequence[float]
    ) -> list[Decision]:
        """Judge records of this route, in arrival order; offsets ascend, arrivals are Unix seconds."""
        self.covers[0] = offsets[-1] + 1
        times = [record.event_time for record in records]
        if max(map(sub, times, arrivals)) > FUTURE_S:
            times = self._clamp(times, arrivals)
        if self._boundary is None:
            self._boundary = self._pane(times[0])
        decisions: list[Decision] = []
        if self._calm and len(records) <= _FEW and self._put_off(records, times, offsets):
            return decisions
        self._walk_unwalked()
        start, n = 0, len(records)
        while start < n:
            end = self._segment_end(times, start)
            if end > start:
                self._take(*self._on_time(records, times, offsets, start, end), decisions)
            if end < n:
                self._advance(times[end], decisions)
            start = end
        self._calm = self._is_calm()
        return decisions

    def _put_off(
        self, records: Sequence[TelemetryRecord], times: list[float], offsets: Sequence[int]
    ) -> bool:
        """Keep a few calls for later if that cannot change a decision: walking each of them alone is dear."""
        if self._pane(max(times)) > self._boundary_or_fail() or min(times) < self._oldest():
            return False
        for record in records:
            for suspicious in self._suspicions:
                if suspicious(record):
                    return False
        self._unwalked[0].extend(self._columns.rows(records))
        self._unwalked[1].extend(times)
        self._unwalked[2].extend(offsets)
        self._count_in(records, times)
        return True

    def _walk_unwalked(self) -> None:
        """Walk what was put off; nobody flips, or it would not have been."""
        if self._unwalked[0]:
            segment = self._segment(*self._unwalked, None)
            self._unwalked = ([], [], [])
            for judge in self._walkers:
                judge.observe(segment)
            self._waiting.append(segment)

    def _is_calm(self) -> bool:
        return not self.machine.engaged and all(judge.calm for judge in self._walkers)

    def _clamp(self, times: list[float], arrivals: Sequence[float]) -> list[float]:
        believed = [min(time, arrival + FUTURE_S) for time, arrival in zip(times, arrivals, strict=True)]
        self.clamped += sum(a != b for a, b in zip(times, believed, strict=True))
        return believed

    def _segment_end(self, times: list[float], start: int) -> int:
        """First position from `start` whose record lets a pane close, else the end."""
        boundary = self._boundary_or_fail()
        if self._pane(max(times[start:] if start else times)) <= boundary:
            return len(times)
        return next(i for i in range(start, len(times)) if self._pane(times[i]) > boundary)

    def _pane(self, time: float) -> int:
        """The pane that is the oldest open one when the newest event time is `time`."""
        return math.floor((time - self._lateness_s) + self._phase)

    def _boundary_or_fail(self) -> int:
        if self._boundary is None:
            raise RuntimeError(f"route {self.route} has no time yet")
        return self._boundary

    def _on_time(
        self,
        records: Sequence[TelemetryRecord],
        times: list[float],
        offsets: Sequence[int],
        start: int,
        end: int,
    ) -> tuple[Sequence[TelemetryRecord], list[float], Sequence[int]]:
        """The records [start, end) that are not older than every window."""
        if start or end < len(records):
            records, times, offsets = records[start:end], times[start:end], offsets[start:end]
        oldest = self._oldest()
        if min(times) >= oldest:
            return records, times, offsets
        kept = [i for i, time in enumerate(times) if time >= oldest]
        self.late += len(times) - len(kept)
        return [records[i] for i in kept], [times[i] for i in kept], [offsets[i] for i in kept]

    def _oldest(self) -> float:
        """Event time before which no window reaches."""
        return self._boundary_or_fail() - self._phase - self._history_s

    def _segment(
        self, rows: Iterable[Any], times: Sequence[float], offsets: Sequence[int], fresh: list[bool] | None
    ) -> Segment:
        return Segment(times, offsets, self._columns.of(rows), fresh, self._boundary_or_fail(), self._phase)

    def _take(
        self,
        records: Sequence[TelemetryRecord],
        times: list[float],
        offsets: Sequence[int],
        decisions: list[Decision],
    ) -> None:
        """Judge records between which no pane closes."""
        while records:
            since = self._since()
            fresh = None if since is None else made_after(records, times, since)
            rows = self._columns.rows(records)
            segment, flipped = self._walk(self._segment(rows, times, offsets, fresh))
            self._count_in(records[: len(segment)], segment.times)
            self._waiting.append(segment)
            if flipped:
                self._flush()
                self._findings.refresh((segment.offsets[-1], segment.times[-1]))
                self._step(self._now, decisions)
                if len(segment) == len(records):
                    return
                taken = len(segment)
                records, times, offsets = records[taken:], times[taken:], offsets[taken:]
            else:
                return

    def _since(self) -> float | None:
        return self.machine.status.since if self.machine.engaged else None

    def _walk(self, segment: Segment) -> tuple[Segment, bool]:
        """Let sequential judges walk up to the first flip; return what they walked, whether one flipped."""
        first = None
        for judge in self._walkers:
            flip = judge.observe(segment)
            if flip is not None and (first is None or flip < first):
                first = flip
        if first is None:
            return segment, False
        if first < len(segment) - 1:
            for judge in self._walkers:
                judge.rollback()
            segment = segment.head(first + 1)
            for judge in self._walkers:
                judge.observe(segment)
        return segment, True

    def _count_in(self, records: Sequence[TelemetryRecord], times: Sequence[float]) -> None:
        self._now = max(self._now, max(times))
        self.judged += len(times)
        if self._join is not None:
            self._join.remember(records)

    def _flush(self) -> None:
        """Hand what was gathered to the windows; before an evaluation, a change of state, a snapshot."""
        self._walk_unwalked()
        if not self._waiting:
            return
        segment = join(self._waiting)
        self._waiting = []
        for name, judge in self.judges.items():
            if judge.armed:
                self.armed[name] += len(segment)
            judge.absorb(segment)
        self._findings.note(segment)

    def _advance(self, time: float, decisions: list[Decision]) -> None:
        """Let time come to `time` less the lateness, closing panes on the way."""
        self._flush()
        self._watermark.advance(time)
        target = math.floor(self._watermark.value + self._phase)
        if target - self._boundary_or_fail() > _LONGEST_GAP_S:
            self._skip(target)
        while self._boundary_or_fail() < target:
            if self._nothing_happens() and target - self._boundary_or_fail() > 1:
                self._skip(target)
                return
            self._close(decisions)

    def _skip(self, target: int) -> None:
        """Jump to `target` over panes that hold nothing, or over a gap that nobody waits through."""
        for judge in self.judges.values():
            judge.skip(target)
        self._closed(target)

    def _nothing_happens(self) -> bool:
        return not self.machine.open and all(judge.idle() for judge in self.judges.values())

    def _close(self, decisions: list[Decision]) -> None:
        boundary = self._boundary_or_fail() + 1
        frozen = self.machine.open or bool(self._findings.holds)
        for judge in self.judges.values():
            judge.close(boundary, frozen=frozen)
        self._closed(boundary)
        self._findings.refresh()
        if self._findings.holds or self.machine.open or self.machine.status.noticed:
            self._step(boundary - self._phase + self._lateness_s, decisions)

    def _closed(self, boundary: int) -> None:
        self._boundary = boundary
        self._findings.close(boundary)

    def _step(self, now: float, decisions: list[Decision]) -> None:
        """Let the state machine see what holds now; tell the judges if the scope changed state."""
        before = self.machine.status.state
        # A tick may have come between; the state machine's time never goes back.
        now = self._stepped = max(self._stepped, now)
        decisions += self._unusable_notices(now)
        decisions += self.machine.step(now, self._findings.holds, self._progress)
        after = self.machine.status.state
        if after is not before and after in (State.ACTIVE, State.RECOVERING):
            for judge in self.judges.values():
                judge.restart(now)

    def _unusable_notices(self, now: float) -> list[Decision]:
        notices = []
        for name in self._findings.newly_unusable():
            evidence = self._findings.evidence(name, self._findings.closed)
            reason = f"{name} is unusable: traffic was never seen within its limit; calibrate or raise it"
            notices.append(self.machine.notice(now, self._modes_of.get(name, name), evidence, reason))
        return notices

    def _progress(self, predicate: str) -> str:
        return self.judges[predicate].progress()

    @property
    def newest(self) -> float:
        """Greatest event time seen, Unix seconds."""
        return self._now

    def silent(self, now: float) -> bool:
        """Whether at `now` the route has been silent for longer than its habit explains."""
        return any(judge.due(now - self._now) for judge in self._silences)

    def tick(self, now: float, *, together: bool = False) -> list[Decision]:
        """Time has come to `now` (Unix seconds) and all earlier records are in.

        `together`: most routes are silent, which is said once for all of them.
        """
        decisions: list[Decision] = []
        if self._boundary is None or now <= self._now or self._too_early(now):
            return decisions
        self._advance(now, decisions)
        if not together:
            for judge in self.judges.values():
                judge.tick(now)
        # Only a silence begins at a tick; all else goes by panes, so that it does not matter when ticks come.
        if self._findings.refresh():
            self._step(now, decisions)
        self._calm = self._is_calm()
        return decisions

    def _too_early(self, now: float) -> bool:
        """Whether no pane closes and no silence can begin by `now`."""
        if self._pane(now) > self._boundary_or_fail():
            return False
        return all(now - self._now <= judge.spec.after_s or judge.latched for judge in self._silences)

    def feed_evaluations(self, evaluations: Sequence[Evaluation], offsets: Sequence[int]) -> list[Decision]:
        """Judge verdicts on this route's calls, in arrival order."""
        self.covers[1] = offsets[-1] + 1
        self._walk_unwalked()
        decisions: list[Decision] = []
        if self._join is None:
            self.verdicts_skipped += len(evaluations)
            return decisions
        for i, evaluation in enumerate(evaluations):
            if not self._join.counts(evaluation, self._since()):
                self.verdicts_skipped += 1
                continue
            self.verdicts += 1
            flips = [
                judge.judge_verdicts((i,), evaluations)
                for judge in self._verdict_judges
                if judge.spec.evaluation == evaluation.name
            ]
            if any(flip is not None for flip in flips):
                self._flush()
                self._findings.refresh((offsets[i], evaluation.event_time), self._evaluations_topic)
                self._step(max(self._now, evaluation.event_time), decisions)
        self._calm = self._is_calm()
        return decisions

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back."""
        self._flush()
        return {
            "route": self.route,
            "covers": self.covers,
            "boundary": self._boundary,
            "watermark": self._watermark.value,
            "now": self._now,
            "stepped": self._stepped,
            "judges": {name: (judge.identity, judge.state()) for name, judge in self.judges.items()},
            "machine": self.machine.state(),
            "findings": self._findings.state(),
            "counts": [self.judged, self.late, self.clamped, self.verdicts, self.verdicts_skipped],
            "armed": self.armed,
            "join": None if self._join is None else self._join.state(),
        }

    def load(self, state: dict[str, Any], evidence: dict[str, Evidence]) -> None:
        """Take over what `state` returned; a predicate whose definition has changed since starts afresh."""
        self.covers = list(state["covers"])
        self._boundary, self._now, self._stepped = state["boundary"], state["now"], state["stepped"]
        self._watermark.value = state["watermark"]
        for name, (identity, saved) in state["judges"].items():
            judge = self.judges.get(name)
            if judge is not None and judge.identity == identity:
                judge.load(saved)
        self.machine.load(state["machine"])
        self._calm = self._is_calm()
        self._findings.load(state["findings"], evidence)
        self.judged, self.late, self.clamped, self.verdicts, self.verdicts_skipped = state["counts"]
        self.armed |= {name: n for name, n in state["armed"].items() if name in self.armed}
        if self._join is not None and state["join"] is not None:
            self._join.load(state["join"])
