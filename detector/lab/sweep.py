"""The threshold lab: the production pipeline on one stream of records, once per setting of a contract.

The stream is read and decoded once, and handed to every setting as it goes by, so memory does not grow
with the files. With several workers the settings are shared out over processes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from detector.lab.columns import Columns
from detector.lab.doubts import Doubts
from detector.lab.files import SHOWN, Malformed, Progress, Row, read_evaluations, read_rows
from detector.lab.incidents import Incident
from detector.lab.matching import longest_window_s
from detector.lab.outcome import activations_of
from detector.lab.settings_grid import Setting
from detector.lab.sweep_measure import Calls, Measures, Stretch, measure
from detector.lab.sweep_workers import Judged, judge_all
from detector.lab.verdict_lag import VerdictLag
from detector.modes.decision import Decision
from topics.telemetry import Evaluation, TelemetryRecord

_CHUNK = 4096
_BEFORE = "it begins before the first record, so it is not counted"  # why a row of this traffic is unused


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One setting and what came of it.

    Attributes:
        measures: on all traffic, or with a held-out split on the first part of it.
        held_out: on the rest, where nothing was chosen.
        armed: predicate -> share of records judged while it was armed, 0..1.
        late: records older than every window of it, not judged.
        pareto: no other setting is as good in everything and better in something.
        chosen: the one with the fewest mistakes (missed and false), then the shortest delay, then the fewest
            calls diverted needlessly, in the part of `measures`; of equals the one nearest to the contract as
            it is written; none where no incident begins there.
    """

    setting: Setting
    measures: Measures
    held_out: Measures | None
    armed: dict[str, float]
    decisions: tuple[Decision, ...]
    digest: str
    late: int
    pareto: bool = False
    chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """What a sweep found.

    Attributes:
        records: rows judged; `malformed` rows were not, `shown` are the first few of them.
        split_at: where the held-out part begins, Unix seconds.
        incidents: how many faults are known of this traffic, `unused` ones left out; None: nobody has said.
        unused: rows of the incidents that have no part in the measures, and why.
        warnings: what makes the recording doubtful as a whole, a sentence each.
    """

    records: int
    malformed: int
    shown: tuple[Malformed, ...]
    first_event_time: float | None
    last_event_time: float | None
    split_at: float | None
    incidents: int | None
    unused: tuple[tuple[Incident, str], ...]
    tried: tuple[Tried, ...]
    warnings: tuple[str, ...] = ()

    @property
    def late(self) -> int:
        """Records that some setting could not judge, as they were older than every window."""
        return max((each.late for each in self.tried), default=0)


def sweep(
    files: Sequence[Path],
    settings: Sequence[Setting],
    *,
    columns: Columns | None = None,
    incidents: Sequence[Incident] | None = None,
    split: float | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    evaluations: Sequence[Path] = (),
) -> SweepResult:
    """Try each setting on the files' records.

    Args:
        files: one stream, in the order given.
        settings: see `settings_grid.grid`.
        columns: which column is which field; None if the names agree.
        incidents: what was really wrong; None if nobody has said, then activations are only counted.
        split: share of the event time, 0..1, after which the rest is held out; None: no split.
        workers: processes; 1 judges in this one.
        progress: told the bytes read so far, now and then.
        evaluations: files of late verdicts, read whole; each is judged when it was made, and what most of
            them took to come is added to the time in which an activation is true.

    Raises:
        FileError: a file is missing or of an unknown kind.
        MappingError: a column is not there.
    """
    columns = columns or Columns()
    doubts = Doubts(columns)
    rows = read_rows(files, columns, progress, doubts.tell, doubts.unread_columns)
    verdicts = list(read_evaluations(evaluations, doubts.tell))
    return sweep_rows(
        rows,
        settings,
        incidents=incidents,
        split=split,
        workers=workers,
        verdicts=verdicts,
        doubts=doubts,
    )


def sweep_rows(
    rows: Iterable[Row],
    settings: Sequence[Setting],
    *,
    incidents: Sequence[Incident] | None = None,
    split: float | None = None,
    workers: int = 1,
    verdicts: Sequence[tuple[int, Evaluation] | Malformed] = (),
    doubts: Doubts | None = None,
) -> SweepResult:
    """`sweep` on rows from anywhere; `doubts`: what their reader tells goes there."""
    if split is not None and not 0 < split < 1:
        raise ValueError("split is a share of the time, above 0 and below 1")
    known = [each for each in verdicts if not isinstance(each, Malformed)]
    doubts = doubts or Doubts()
    reading = _Reading(doubts.watch(rows), VerdictLag(evaluation for _, evaluation in known))
    judged = judge_all(reading.chunks(), [setting.contract for setting in settings], workers, known)
    for each in verdicts:
        if isinstance(each, Malformed):
            reading.refuse(each)
    return replace(_result(reading, settings, judged, incidents, split), warnings=doubts.said())


class _Reading:
    """Rows on their way to the judges, counted as they go by."""

    def __init__(self, rows: Iterable[Row], lag: VerdictLag) -> None:
        self._rows = rows
        self.lag = lag
        self.calls = Calls()
        self.records = self.malformed = 0
        self.shown: list[Malformed] = []
        self.first: float | None = None
        self.last: float | None = None

    def chunks(self) -> Iterator[tuple[list[TelemetryRecord], list[int]]]:
        """Records and their rows' indices, a few thousand at a time."""
        records: list[TelemetryRecord] = []
        offsets: list[int] = []
        for index, row in enumerate(self._rows):
            if isinstance(row, Malformed):
                self.refuse(row)
                continue
            records.append(row)
            offsets.append(index)
            self.calls.add(row.route, row.deployment, row.event_time)
            self.lag.see(row)
            if len(records) == _CHUNK:
                yield self._counted(records), offsets
                records, offsets = [], []
        if records:
            yield self._counted(records), offsets

    def refuse(self, row: Malformed) -> None:
        """Count a row that is no record, or no verdict."""
        self.malformed += 1
        self.shown += [row] if len(self.shown) < SHOWN else []

    def _counted(self, records: list[TelemetryRecord]) -> list[TelemetryRecord]:
        self.records += len(records)
        times = [record.event_time for record in records]
        self.first = min(times if self.first is None else [self.first, *times])
        self.last = max(times if self.last is None else [self.last, *times])
        return records


def _result(
    reading: _Reading,
    settings: Sequence[Setting],
    judged: Sequence[Judged],
    incidents: Sequence[Incident] | None,
    split: float | None,
) -> SweepResult:
    first, last = reading.first or 0.0, reading.last or 0.0
    # The end is open; what is decided while the last panes close belongs to the traffic too.
    end = last + max((setting.contract.defaults.lateness_s for setting in settings), default=0.0) + 2.0
    split_at = None if split is None else first + split * (last - first)
    parts = [Stretch(first, end)] if split_at is None else [Stretch(first, split_at), Stretch(split_at, end)]
    known = [(each, _why_unused(each, reading)) for each in incidents or ()]
    # What began before is not counted, but tells of the activations that start in it.
    of_it = None if incidents is None else [each for each, why in known if why in ("", _BEFORE)]
    tried = []
    for setting, found in zip(settings, judged, strict=True):
        measures = [_measure(setting, found.decisions, part, reading, of_it) for part in parts]
        tried.append(
            Tried(
                setting=setting,
                measures=measures[0],
                held_out=measures[1] if split_at is not None else None,
                armed=found.armed,
                decisions=found.decisions,
                digest=found.digest,
                late=found.late,
            )
        )
    return SweepResult(
        records=reading.records,
        malformed=reading.malformed,
        shown=tuple(reading.shown),
        first_event_time=reading.first,
        last_event_time=reading.last,
        split_at=split_at,
        incidents=None
        if of_it is None
        else sum(each.label == "true" and each.start >= first for each in of_it),
        unused=tuple((each, why) for each, why in known if why),
        tried=_ranked(tried, known=incidents is not None),
    )


def _why_unused(incident: Incident, reading: _Reading) -> str:
    """Why a row has no part in the measures: a name mistyped, times in another zone; nothing if it has."""
    if reading.first is None or reading.last is None:
        return ""
    if all(incident.route != route for route, _ in reading.calls.seconds):
        return "no record is of its route"
    if incident.start > reading.last or incident.end < reading.first:
        return "it lies outside the recorded time"
    return _BEFORE if incident.label == "true" and incident.start < reading.first else ""


def _measure(
    setting: Setting,
    decisions: Sequence[Decision],
    part: Stretch,
    reading: _Reading,
    incidents: Sequence[Incident] | None,
) -> Measures:
    return measure(
        decisions,
        activations_of(decisions),
        part,
        reading.calls,
        incidents,
        longest_window_s=longest_window_s(setting.contract),
        lateness_s=setting.contract.defaults.lateness_s,
        verdict_lag_s=reading.lag.p95_s(),
    )


def _ranked(tried: Sequence[Tried], *, known: bool) -> tuple[Tried, ...]:
    """Mark the front and the choice; without incidents nobody knows what is better."""
    if not known or not tried:
        return tuple(tried)
    costs = [_costs(each.measures) for each in tried]
    best = min(
        range(len(tried)), key=lambda index: (order(tried[index].measures), tried[index].setting.distance)
    )
    ranked = []
    for index, each in enumerate(tried):
        pareto = not any(_dominates(other, costs[index]) for other in costs)
        ranked.append(replace(each, pareto=pareto, chosen=index == best and each.measures.incidents > 0))
    return tuple(ranked)


def _costs(found: Measures) -> tuple[float, ...]:
    delay = float("inf") if found.delay_p50_s is None else found.delay_p50_s
    missed = found.incidents - found.found
    return (found.false_per_week, missed, delay, found.flaps, found.needless or 0.0)


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def order(found: Measures) -> tuple[float, ...]:
    """What settings are chosen by, the least first."""
    _, missed, delay, flaps, needless = _costs(found)
    return (missed + (found.false or 0), delay, needless, flaps)
