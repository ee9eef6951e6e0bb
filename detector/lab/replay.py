"""Decisions on recorded telemetry, by the production code.

Time comes with the data. The watermark of the whole stream is the greatest event time so far, less
the contract's lateness; whenever it passes whole seconds, all records read before are judged first
and then one tick is given per second. Records are handed over in runs that end at these seconds, so
neither the size of batches nor the order of routes inside one can change a decision.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import floor
from pathlib import Path
from typing import Protocol

import msgspec

from detector.contract.model import Contract
from detector.lab.columns import Columns
from detector.lab.files import Malformed, Progress, Row, read_rows
from detector.pipeline import Decision, Pipeline
from topics.control import Evidence
from topics.partitioner import partition_for
from topics.telemetry import TelemetryRecord

_MALFORMED_SHOWN = 5
# A gap longer than this is ticked at both of its ends only: no window, hold or attempt is as long.
_LONGEST_TICKED_S = 3600


class Judge(Protocol):
    """What replay needs of a pipeline."""

    def step(
        self, records: Sequence[TelemetryRecord], offsets: Sequence[int], arrivals: Sequence[float]
    ) -> list[Decision]:
        """Judge records in order."""

    def tick(self, now: float) -> list[Decision]:
        """Advance time to `now`."""


class Activation(msgspec.Struct, kw_only=True):
    """From the decision to leave the primary to the decision to return; times in Unix seconds of the data."""

    scope: str
    mode: str
    predicate: str
    disposition: str
    activated_at: float
    deactivated_at: float | None
    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What a replay found.

    Attributes:
        records: rows judged; `malformed` rows were not.
        late: records older than every window, not judged.
        first_event_time: least event time, None without records; `last_event_time` the greatest.
        elapsed_s: wall time of the replay.
        armed: predicate -> share of records judged while it was armed, 0..1.
        digest: SHA-256 of the decisions; equal for equal input, however it was batched or partitioned.
        shown: the first few malformed rows.
    """

    records: int
    malformed: int
    late: int
    first_event_time: float | None
    last_event_time: float | None
    elapsed_s: float
    activations: tuple[Activation, ...]
    armed: dict[str, float]
    digest: str
    decisions: tuple[Decision, ...]
    shown: tuple[Malformed, ...]


@dataclass(slots=True)
class Feed:
    """Hands rows to one judge per partition, with ticks; `decisions` grows.

    Args:
        judges: one per partition.
        lateness_s: seconds by which ticks trail the greatest event time.
        batch: most records handed over at once.
    """

    judges: Sequence[Judge]
    lateness_s: float
    batch: int = 4096
    decisions: list[Decision] = field(default_factory=list)
    first: float | None = None
    last: float | None = None
    _ticked: int = 0
    _pending: list[tuple[list[TelemetryRecord], list[int], list[float]]] = field(default_factory=list)
    _waiting: int = 0
    _partitions: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pending = [([], [], []) for _ in self.judges]

    def add(self, record: TelemetryRecord, offset: int) -> None:
        """Take the next record; `offset` is its row's index."""
        at = record.event_time
        if self.last is None or self.first is None:
            self.first = self.last = at
            self._ticked = floor(at - self.lateness_s)
        elif at > self.last:
            if floor(at - self.lateness_s) > self._ticked:
                self._tick_to(floor(at - self.lateness_s))
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
        """Judge what is left and let time pass to the last event; what comes after it is not known."""
        if self.last is not None:
            self._tick_to(floor(self.last))

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
                self.decisions += judge.step(records, offsets, arrivals)
        self._pending = [([], [], []) for _ in self.judges]
        self._waiting = 0

    def _tick_to(self, second: int) -> None:
        self._flush()
        for now in _seconds(self._ticked, second):
            for judge in self.judges:
                self.decisions += judge.tick(float(now))
        self._ticked = max(self._ticked, second)


def _seconds(after: int, until: int) -> Iterable[int]:
    if until - after <= _LONGEST_TICKED_S:
        return range(after + 1, until + 1)
    half = _LONGEST_TICKED_S // 2
    return (*range(after + 1, after + half + 1), *range(until - half + 1, until + 1))


def digest_of(decisions: Iterable[Decision]) -> str:
    """Hash decisions scope by scope, in order; the partition says where a decision was made, not what it is.

    Returns:
        64 hexadecimal digits.
    """
    documents = [msgspec.to_builtins(decision) for decision in sorted(decisions, key=lambda each: each.scope)]
    for document in documents:
        del document["partition"]
        document["evidence"].pop("partition", None)
    return hashlib.sha256(msgspec.json.encode(documents, order="deterministic")).hexdigest()


def activations_of(decisions: Iterable[Decision]) -> tuple[Activation, ...]:
    """Pair each activation with the decision that ended it, oldest first."""
    found: list[Activation] = []
    open_at: dict[str, int] = {}
    for decision in decisions:
        if decision.kind == "activated":
            open_at[decision.scope] = len(found)
            found.append(
                Activation(
                    scope=decision.scope,
                    mode=decision.mode,
                    predicate=decision.evidence.predicate,
                    disposition=decision.disposition,
                    activated_at=decision.at,
                    deactivated_at=None,
                    evidence=decision.evidence,
                )
            )
        elif decision.kind == "deactivated" and decision.scope in open_at:
            found[open_at.pop(decision.scope)].deactivated_at = decision.at
    return tuple(sorted(found, key=lambda each: (each.activated_at, each.scope)))


def replay(
    files: Sequence[Path],
    contract: Contract,
    *,
    columns: Columns | None = None,
    batch: int = 4096,
    partitions: int = 1,
    progress: Progress | None = None,
) -> ReplayResult:
    """Judge the files' records in file order.

    Args:
        files: read one after the other; the row index goes on from one to the next.
        contract: what to judge by.
        columns: which column is which field; None if the names agree.
        batch: most records judged at once; changes memory and speed, never a decision.
        partitions: judge in as many pipelines as a topic of so many partitions would have.
        progress: told the bytes read so far, now and then.

    Raises:
        FileError: a file is missing or of an unknown kind.
        MappingError: a column is not there.
    """
    started = time.monotonic()
    pipelines = [Pipeline(contract, partition=number) for number in range(partitions)]
    feed = Feed(pipelines, contract.defaults.lateness_s, batch)
    records, malformed, shown = _feed_all(feed, read_rows(files, columns or Columns(), progress))
    judged = [(pipeline.armed(), pipeline.counts.judged) for pipeline in pipelines]
    return ReplayResult(
        records=records,
        malformed=malformed,
        late=sum(pipeline.counts.late for pipeline in pipelines),
        first_event_time=feed.first,
        last_event_time=feed.last,
        elapsed_s=time.monotonic() - started,
        activations=activations_of(feed.decisions),
        armed=_mean_share(judged),
        digest=digest_of(feed.decisions),
        decisions=tuple(feed.decisions),
        shown=shown,
    )


def _feed_all(feed: Feed, rows: Iterator[Row]) -> tuple[int, int, tuple[Malformed, ...]]:
    malformed = index = 0
    shown: list[Malformed] = []
    for index, row in enumerate(rows, start=1):
        if isinstance(row, Malformed):
            malformed += 1
            if len(shown) < _MALFORMED_SHOWN:
                shown.append(row)
        else:
            feed.add(row, index - 1)
    feed.finish()
    return index - malformed, malformed, tuple(shown)


def _mean_share(judged: Sequence[tuple[dict[str, float], int]]) -> dict[str, float]:
    total = sum(count for _, count in judged)
    names = sorted({name for armed, _ in judged for name in armed})
    return {
        name: sum(armed.get(name, 0.0) * count for armed, count in judged) / total if total else 0.0
        for name in names
    }
