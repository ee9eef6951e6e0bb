"""Decisions on recorded telemetry, by the production code."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detector.contract.model import Contract
from detector.lab.columns import Columns
from detector.lab.doubts import Doubts
from detector.lab.feed import Feed
from detector.lab.files import SHOWN, Malformed, Progress, Row, read_evaluations, read_rows
from detector.lab.outcome import Activation, Notice, activations_of, digest_of, notices_of
from detector.lab.unmeasured import Unmeasured
from detector.modes.counts import armed_shares
from detector.modes.decision import Decision
from detector.pipeline import Pipeline
from topics.telemetry import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What a replay found.

    Attributes:
        records: rows that are records, `late` ones too; `malformed` rows are none.
        late: records older than every window, not judged.
        clamped: rows and verdicts whose time lay too far ahead of what came with them.
        first_event_time: least event time, None without records; `last_event_time` the greatest.
        elapsed_s: wall time of the replay.
        notices: what was said beside activations, such as that a predicate is unusable.
        armed: predicate -> share of records judged while it was armed, of those on routes that have it, 0..1.
        digest: SHA-256 of the decisions; equal for equal input, however it was batched or partitioned.
        shown: the first few malformed rows.
        warnings: what makes the recording doubtful as a whole, a sentence each.
        unmeasured: predicate -> its field, of those whose field no row carries.
    """

    records: int
    malformed: int
    late: int
    clamped: int
    first_event_time: float | None
    last_event_time: float | None
    elapsed_s: float
    activations: tuple[Activation, ...]
    notices: tuple[Notice, ...]
    armed: dict[str, float]
    digest: str
    decisions: tuple[Decision, ...]
    shown: tuple[Malformed, ...]
    warnings: tuple[str, ...] = ()
    unmeasured: Mapping[str, str] = field(default_factory=dict)


def replay(
    files: Sequence[Path],
    contract: Contract,
    *,
    columns: Columns | None = None,
    batch: int = 4096,
    partitions: int = 1,
    progress: Progress | None = None,
    evaluations: Sequence[Path] = (),
) -> ReplayResult:
    """Judge the files' records in file order.

    Args:
        files: read one after the other; the row index goes on from one to the next.
        contract: what to judge by.
        columns: which column is which field; None if the names agree.
        batch: most records judged at once; changes memory and speed, never a decision.
        partitions: judge in as many pipelines as a topic of so many partitions would have.
        progress: told the bytes read so far, now and then.
        evaluations: files of late verdicts, read whole; each is judged when it was made.

    Raises:
        FileError: a file is missing or of an unknown kind.
        MappingError: a column is not there.
    """
    columns = columns or Columns()
    doubts = Doubts(columns)
    rows = read_rows(files, columns, progress, doubts.tell, doubts.unread_columns)
    verdicts = list(read_evaluations(evaluations, doubts.tell))
    return replay_rows(rows, contract, batch=batch, partitions=partitions, verdicts=verdicts, doubts=doubts)


def replay_rows(
    rows: Iterator[Row],
    contract: Contract,
    *,
    batch: int = 4096,
    partitions: int = 1,
    verdicts: Sequence[tuple[int, Evaluation] | Malformed] = (),
    doubts: Doubts | None = None,
) -> ReplayResult:
    """`replay` on rows from anywhere; `doubts`: what their reader tells goes there."""
    started = time.monotonic()
    doubts = doubts or Doubts()
    pipelines = [Pipeline(contract, partition=number) for number in range(partitions)]
    late = [each for each in verdicts if not isinstance(each, Malformed)]
    no_verdicts = [each for each in verdicts if isinstance(each, Malformed)]
    feed = Feed.for_contract(pipelines, contract, batch, late)
    unmeasured = Unmeasured(contract.predicates)
    records, malformed, shown = _feed_all(feed, unmeasured.watch(doubts.watch(rows)))
    malformed += len(no_verdicts)
    shown = (*shown, *no_verdicts)[:SHOWN]
    routes = [pipeline.route(name) for pipeline in pipelines for name in pipeline.routes]
    return ReplayResult(
        records=records,
        malformed=malformed,
        late=sum(pipeline.counts.late for pipeline in pipelines),
        clamped=sum(pipeline.counts.clamped for pipeline in pipelines),
        first_event_time=feed.first,
        last_event_time=feed.last,
        elapsed_s=time.monotonic() - started,
        activations=activations_of(feed.decisions),
        notices=notices_of(feed.decisions),
        armed=armed_shares(sorted(contract.predicates), routes),
        digest=digest_of(feed.decisions),
        decisions=tuple(feed.decisions),
        shown=shown,
        warnings=doubts.said(),
        unmeasured=unmeasured.fields(),
    )


def _feed_all(feed: Feed, rows: Iterator[Row]) -> tuple[int, int, tuple[Malformed, ...]]:
    malformed = index = 0
    shown: list[Malformed] = []
    for index, row in enumerate(rows, start=1):
        if isinstance(row, Malformed):
            malformed += 1
            if len(shown) < SHOWN:
                shown.append(row)
        else:
            feed.add(row, index - 1)
    feed.finish()
    return index - malformed, malformed, tuple(shown)
