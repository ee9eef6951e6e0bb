"""What a predicate sees: a run of one route's records between two evaluations.

Nothing is evaluated inside a segment, so histograms may take it as a whole while sequential tests
walk it record by record. The fields that a contract needs are read out of the records once, into
columns, whoever asks for them.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

from topics.telemetry import PRIMARY, TelemetryRecord

Row = tuple[Any, ...]  # of a call: route, event time, and what the contract needs
_FIRST = ("route", "event_time")
ALWAYS = ("served_by", "error")
FEATURE = "features."
SLOW = "slow probe"  # column of a segment made while a scope is active: probes whose answer took too long


def _tpot_s(record: TelemetryRecord) -> float | None:
    """Time per output token after the first, seconds; None where a part of it was not measured."""
    whole, first, tokens = record.latency_s, record.ttft_s, record.output_tokens
    if whole is None or first is None or tokens is None or tokens < 2 or whole < first:
        return None
    return (whole - first) / (tokens - 1)


# Fields that no record carries and that follow from others.
DERIVED: dict[str, Callable[[TelemetryRecord], float | None]] = {"tpot_s": _tpot_s}


def value_of(field: str) -> Callable[[TelemetryRecord], Any]:
    """How to read a field, a derived one or `features.<name>` out of a record; None where not measured."""
    if field in DERIVED:
        return DERIVED[field]
    if not field.startswith(FEATURE):
        return attrgetter(field)
    name = field.removeprefix(FEATURE)
    return lambda record: record.features.get(name)


class Columns:
    """Which telemetry fields a contract needs, and how to read them out of records."""

    __slots__ = ("_made", "_names", "_read")

    def __init__(self, fields: Iterable[str]) -> None:
        wanted = [*ALWAYS, *sorted(set(fields) - set(ALWAYS) - {""})]
        made = [field for field in wanted if field.startswith(FEATURE) or field in DERIVED]
        plain = [field for field in wanted if field not in made]
        self._names = (*plain, *made)
        self._made = [value_of(field) for field in made]
        self._read = attrgetter(*_FIRST, *plain)

    def rows(self, records: Sequence[TelemetryRecord]) -> list[Row]:
        """Route, event time and values of each record, which take a tenth of what a record takes."""
        if not self._made:
            return list(map(self._read, records))
        made = self._made
        return [(*self._read(record), *[read(record) for read in made]) for record in records]

    def of(self, rows: Iterable[Row]) -> "Table":
        """Turn at least one row into columns."""
        routes, times, *values = zip(*rows, strict=True)
        return Table(routes, times, dict(zip(self._names, values, strict=True)))


class Table(NamedTuple):
    """Calls as columns of one length.

    Attributes:
        routes, times: of each call; event times in Unix seconds.
        columns: values by field, None where not measured.
    """

    routes: Sequence[str]
    times: Sequence[float]
    columns: dict[str, Sequence[Any]]


def retimed(row: Row, time: float) -> Row:
    """The row with another event time."""
    return (row[0], time, *row[2:])


class Calls(NamedTuple):
    """Calls of one route as they come, in arrival order; all three have one length.

    Attributes:
        records: as decoded.
        rows: what the contract needs of them, see `Columns.rows`; event times no further ahead of their
            arrival than is believed.
        offsets: where they lie, ascending.
    """

    records: Sequence[TelemetryRecord]
    rows: Sequence[Row]
    offsets: Sequence[int]

    def part(self, start: int, end: int) -> "Calls":
        """The calls [start, end)."""
        part = slice(start, end)
        return Calls(self.records[part], self.rows[part], self.offsets[part])

    def only(self, positions: Sequence[int]) -> "Calls":
        """The calls at some positions."""
        records, rows, offsets = self
        return Calls(
            [records[i] for i in positions], [rows[i] for i in positions], [offsets[i] for i in positions]
        )

    def times(self) -> list[float]:
        """Event times, Unix seconds."""
        return [row[1] for row in self.rows]


class Segment:
    """Calls of one route in arrival order, as columns.

    Attributes:
        times, offsets: their (clamped) event times and where they lie.
        columns: of the fields that the contract needs; each as long as `times`.
        fresh: the scope is active: whether each call was made after its state last changed, for only those
            to the primary say how the primary is now. None: every call that the primary served does.
        boundary: the second whose pane closes next, on the route's pane clock.
        phase: what the pane clock is ahead of event time, seconds.
    """

    __slots__ = (
        "_ok",
        "_primary",
        "_seconds",
        "boundary",
        "columns",
        "fresh",
        "offsets",
        "phase",
        "times",
    )

    def __init__(
        self,
        times: Sequence[float],
        offsets: Sequence[int],
        columns: dict[str, Sequence[Any]],
        fresh: Sequence[bool] | None,
        boundary: int,
        phase: float = 0.0,
    ) -> None:
        self.times = times
        self.offsets = offsets
        self.columns = columns
        self.fresh = fresh
        self.boundary = boundary
        self.phase = phase
        self._primary: Sequence[int] | None = None
        self._ok: Sequence[int] | None = None
        self._seconds: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.times)

    def primary(self) -> Sequence[int]:
        """Positions of the calls that tell how the primary is."""
        if self._primary is None:
            served = self.columns["served_by"]
            whole = range(len(served))
            fresh = self.fresh
            if fresh is None:
                everywhere = served.count(PRIMARY) == len(served)
                self._primary = whole if everywhere else [i for i in whole if served[i] == PRIMARY]
            else:
                self._primary = [i for i in whole if fresh[i] and served[i] == PRIMARY]
        return self._primary

    def primary_ok(self) -> Sequence[int]:
        """Positions of the primary's calls that did not fail: failures have no latency and no tokens."""
        if self._ok is None:
            self._ok = self._without_errors(self.primary())
        return self._ok

    def succeeded(self) -> Sequence[int]:
        """Positions of all calls that did not fail, whoever answered them."""
        return self._without_errors(range(len(self.times)))

    def _without_errors(self, positions: Sequence[int]) -> Sequence[int]:
        errors = self.columns["error"]
        return positions if errors.count("") == len(errors) else [i for i in positions if not errors[i]]

    def seconds(self) -> Sequence[int]:
        """Pane of each record, a second of the pane clock; a single one if all share it."""
        if self._seconds is None:
            phase = self.phase
            first = int(min(self.times) + phase)
            shared = first == int(max(self.times) + phase)
            self._seconds = (first,) if shared else [int(time + phase) for time in self.times]
        return self._seconds

    def pick(self, field: str, positions: Sequence[int]) -> Sequence[Any]:
        """Values of a field at `positions`."""
        values = self.columns[field]
        return values if len(positions) == len(values) else [values[i] for i in positions]

    def head(self, length: int) -> "Segment":
        """The first `length` records as a segment of their own."""
        columns = {field: values[:length] for field, values in self.columns.items()}
        fresh = None if self.fresh is None else self.fresh[:length]
        return Segment(self.times[:length], self.offsets[:length], columns, fresh, self.boundary, self.phase)

    def only(self, positions: Sequence[int]) -> "Segment":
        """The records at `positions`, ascending, as a segment of their own."""
        if len(positions) == len(self.times):
            return self

        def picked(values: Sequence[Any]) -> list[Any]:
            return [values[i] for i in positions]

        columns: dict[str, Sequence[Any]] = {field: picked(values) for field, values in self.columns.items()}
        fresh = None if self.fresh is None else picked(self.fresh)
        return Segment(picked(self.times), picked(self.offsets), columns, fresh, self.boundary, self.phase)


def made_after(records: Sequence[TelemetryRecord], times: Sequence[float], since: float) -> list[bool]:
    """Whether each call was made, not just ended, at `since` or later; a probe always was."""
    return [
        record.probe or time - (record.latency_s or 0.0) >= since
        for record, time in zip(records, times, strict=True)
    ]


def join(segments: Sequence[Segment]) -> Segment:
    """Segments that follow each other without an evaluation in between, as one."""
    first = segments[0]
    if len(segments) == 1:
        return first
    flat = chain.from_iterable
    return Segment(
        list(flat(segment.times for segment in segments)),
        list(flat(segment.offsets for segment in segments)),
        {field: list(flat(segment.columns[field] for segment in segments)) for field in first.columns},
        None if first.fresh is None else list(flat(segment.fresh or () for segment in segments)),
        first.boundary,
        first.phase,
    )
