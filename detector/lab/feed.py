"""Hands recorded rows to the pipeline, with the time that passes between them.

Time comes with the data: what a wall clock is to the service, the greatest event time of the whole
stream is here. Whenever it passes whole seconds, all records read before are judged first and then
one tick is given per second; after the last record time goes on until every pane is judged. Records
are handed over in runs that end at these seconds, so neither the size of batches nor the order of
routes inside one can change a decision.

The pipeline closes every pane of a gap by itself, at the time of that pane; ticks in between matter
to predicates that wait for something to be absent. So in a long gap, when all that can be missed is
missed already, ticks get rare, and a trace with a record every five minutes does not cost 300 of them.

Late verdicts are handed over before the first tick behind the time at which they were made. Where they
are made after the last record, nobody knows what calls there were then: nothing is said to be absent.

Files do not tell when a row arrived, which a service holds against wrong stamps: it is taken to have
arrived at its own time. But a row that lies far ahead of most that follow it came with what was before.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, floor, inf
from typing import Protocol

from msgspec import structs

from detector.contract.model import Contract
from detector.modes.decision import Decision
from detector.modes.verdicts import HORIZON_S
from topics.partitioner import partition_for
from topics.telemetry import Evaluation, TelemetryRecord

EVALUATIONS = "llm.evaluations"  # where pipelines say that verdicts come from, in files too
_AHEAD_S = 600.0  # a wrong stamp, or a gap: what follows tells
_FOLLOWING = 32  # rows
_FAR_S = 86_400.0  # no gap before the last row of all
_RARE_S = 60
_LONGEST_TICKED_S = 86_400


class Judge(Protocol):
    """What replay needs of a pipeline."""

    def step(
        self, records: Sequence[TelemetryRecord], offsets: Sequence[int], arrivals: Sequence[float]
    ) -> list[Decision]:
        """Judge records in order."""

    def step_evaluations(
        self, evaluations: Sequence[Evaluation], offsets: Sequence[int], arrivals: Sequence[float]
    ) -> list[Decision]:
        """Judge late verdicts in order."""

    def tick(self, now: float, *, ended: bool = False) -> list[Decision]:
        """Advance time to `now`; `ended`: there are no more records, which is no silence."""


@dataclass(slots=True)
class Feed:
    """Hands rows to one judge per partition, with ticks; `decisions` grows.

    Args:
        judges: one per partition.
        lateness_s: seconds by which judges wait for late records, as the contract says.
        patience_s: seconds into a gap during which every second gets its tick: longer than any absence takes.
        batch: most records handed over at once.
        evaluations: late verdicts with the index of their row, in any order.
    """

    judges: Sequence[Judge]
    lateness_s: float
    patience_s: float
    batch: int = 4096
    evaluations: Sequence[tuple[int, Evaluation]] = ()
    decisions: list[Decision] = field(default_factory=list)
    first: float | None = None
    last: float | None = None
    _ticked: int = 0
    _pending: list[tuple[list[TelemetryRecord], list[int], list[float]]] = field(default_factory=list)
    _waiting: int = 0
    _partitions: dict[str, int] = field(default_factory=dict)
    _late: deque[Evaluation] = field(default_factory=deque)
    _verdict_rows: list[int] = field(default_factory=list)  # in the order in which they are handed over
    _handed: int = 0
    _doubtful: deque[tuple[TelemetryRecord, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._pending = [([], [], []) for _ in self.judges]
        ordered = sorted(self.evaluations, key=lambda each: each[1].event_time)
        self._late = deque(evaluation for _, evaluation in ordered)
        self._verdict_rows = [row for row, _ in ordered]

    @classmethod
    def for_contract(
        cls,
        judges: Sequence[Judge],
        contract: Contract,
        batch: int = 4096,
        evaluations: Sequence[tuple[int, Evaluation]] = (),
    ) -> "Feed":
        """A feed that waits as long as the contract's predicates need."""
        absences = [spec.after_s for spec in contract.predicates.values() if spec.type == "absence"]
        lateness_s = contract.defaults.lateness_s
        # Longer than it takes to call a route absent after its last record, late records waited for.
        return cls(judges, lateness_s, 2 * max(absences, default=0.0) + lateness_s + 5, batch, evaluations)

    def add(self, record: TelemetryRecord, offset: int) -> None:
        """Take the next record; `offset` is its row's index."""
        at = record.event_time
        if self._doubtful or self.last is None or at > self.last + _AHEAD_S:
            self._doubtful.append((record, offset))
            self._settle_doubts()
        else:
            self._add(record, offset, at)

    def _settle_doubts(self, *, ended: bool = False) -> None:
        """Take rows up to the first one that leaps ahead and has too few behind it to tell why."""
        while self._doubtful:
            record, offset = self._doubtful[0]
            at = record.event_time
            leap = inf if self.last is None else at - self.last
            if leap > _AHEAD_S and len(self._doubtful) <= _FOLLOWING and not ended:
                return
            self._doubtful.popleft()
            self._add(record, offset, self._arrival(at) if leap > _AHEAD_S else at)

    def _arrival(self, at: float) -> float:
        """When a row that leaps to `at` came: then, or with what was before, by most of those behind it."""
        behind = [each.event_time for each, _ in self._doubtful]
        before = [each for each in behind if each < at - _AHEAD_S]
        if self.last is None:
            return min(before) if 2 * len(before) > len(behind) else at
        alone = not behind and at > self.last + _FAR_S
        return self.last if alone or 2 * len(before) > len(behind) else at

    def _add(self, record: TelemetryRecord, offset: int, at: float) -> None:
        """Take a record that arrived at `at`."""
        if self.last is None or self.first is None:
            self.first = self.last = at
            self._ticked = floor(at)
        elif at > self.last:
            if floor(at) > self._ticked:
                self._tick_to(floor(at))
            self.last = at
        else:
            self.first = min(self.first, at)
        records, offsets, arrivals = self._pending[self._partition(record.route)]
        records.append(record)
        offsets.append(offset)
        arrivals.append(at)
        self._waiting += 1
        if self._waiting >= self.batch:
            self._flush()

    def finish(self) -> None:
        """Judge what is left and let time pass until no pane with a record in it is open."""
        self._settle_doubts(ended=True)
        if self.last is not None:
            # One that comes later still can be joined to no call.
            made = min(self._late[-1].event_time, self.last + HORIZON_S) if self._late else self.last
            latest = max(self.last, made)
            self._tick_to(ceil(floor(latest) + 1 + self.lateness_s), ended=True)

    def _partition(self, route: str) -> int:
        if len(self.judges) == 1:
            return 0
        found = self._partitions.get(route)
        if found is None:
            found = self._partitions[route] = partition_for(route.encode(), len(self.judges))
        return found

    def _flush(self) -> None:
        for judge, (records, offsets, arrivals) in zip(self.judges, self._pending, strict=True):
            if records:
                self._decided(judge.step(records, offsets, arrivals))
        self._pending = [([], [], []) for _ in self.judges]
        self._waiting = 0

    def _tick_to(self, second: int, *, ended: bool = False) -> None:
        self._flush()
        for now in _seconds(self._ticked, second, ceil(self.patience_s)):
            self._hand_over_verdicts(now)
            for judge in self.judges:
                self._decided(judge.tick(float(now), ended=ended))
        self._ticked = max(self._ticked, second)

    def _hand_over_verdicts(self, now: int) -> None:
        while self._late and self._late[0].event_time <= now:
            verdict = self._late.popleft()
            judge = self.judges[self._partition(verdict.route)]
            # As on a topic, offsets ascend; evidence names rows.
            self._decided(judge.step_evaluations([verdict], [self._handed], [verdict.event_time]))
            self._handed += 1

    def _decided(self, decisions: Iterable[Decision]) -> None:
        for each in decisions:
            found = each.evidence
            if found.topic == EVALUATIONS and self._verdict_rows[found.offset] != found.offset:
                each = replace(each, evidence=structs.replace(found, offset=self._verdict_rows[found.offset]))
            self.decisions.append(each)


def _seconds(after: int, until: int, patience: int) -> Iterable[int]:
    dense = min(until, after + patience)
    rare = range(dense + _RARE_S, min(until, after + _LONGEST_TICKED_S), _RARE_S)
    return (*range(after + 1, dense + 1), *rare, *([until] if until > dense else []))
