"""The fields that a contract needs, read out of the records once, whoever asks for them: rows and columns."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.windows.arrays import TIME, Layout, array_of
from detector.windows.readers import READERS
from topics.telemetry import TelemetryRecord

Row = tuple[Any, ...]  # of a call: route, event time, and what the contract needs
_FIRST = ("route", TIME)
LONG = 64  # calls of a table from which arrays are faster than lists
ALWAYS = ("served_by", "error", "latency_s")
FEATURE = "features."


def _tpot_s(record: TelemetryRecord) -> float | None:
    """Time per output token after the first, seconds; None where a part of it was not measured."""
    whole, first, tokens = record.latency_s, record.ttft_s, record.output_tokens
    if whole is None or first is None or tokens is None or tokens < 2 or whole < first:
        return None
    return (whole - first) / (tokens - 1)


def _ttft_unqueued_s(record: TelemetryRecord) -> float | None:
    """Time to first token less the wait before inference, seconds; None where one was not measured.

    The waits of a queue grow faster than the load that makes them, and are nobody's fault.
    """
    first, waited = record.ttft_s, record.queue_s
    if first is None or waited is None or waited > first:
        return None
    return first - waited


# Fields that no record carries and that follow from others.
DERIVED: dict[str, Callable[[TelemetryRecord], float | None]] = {
    "tpot_s": _tpot_s,
    "ttft_unqueued_s": _ttft_unqueued_s,
}


def value_of(field: str) -> Callable[[TelemetryRecord], Any]:
    """How to read a field, a derived one or `features.<name>` out of a record; None where not measured."""
    if field in DERIVED:
        return DERIVED[field]
    if not field.startswith(FEATURE):
        return attrgetter(field)
    name = field.removeprefix(FEATURE)
    return lambda record: record.features.get(name)


class Columns:
    """Which telemetry fields a contract needs, and how to read them out of records.

    Attributes:
        names: of the fields.
        layout: of their arrays.
    """

    __slots__ = ("_made", "_readers", "layout", "names")

    def __init__(self, fields: Iterable[str]) -> None:
        wanted = [*ALWAYS, *sorted(set(fields) - set(ALWAYS) - {""})]
        made = [field for field in wanted if field.startswith(FEATURE) or field in DERIVED]
        plain = [field for field in wanted if field not in made]
        self.names = (*plain, *made)
        self.layout = Layout(self.names)
        self._made = [value_of(field) for field in made]
        self._readers = [READERS[field] for field in (*_FIRST, *plain)]

    def read(self, records: Sequence[TelemetryRecord]) -> "Table":
        """Read what the contract needs out of records."""
        routes, times, *values = [read(records) for read in self._readers]
        values += [[read(record) for record in records] for read in self._made]
        return Table(routes, times, dict(zip(self.names, values, strict=True)))

    def of(self, rows: Iterable[Row]) -> "Table":
        """Turn at least one row into columns."""
        routes, times, *values = zip(*rows, strict=True)
        return Table(routes, times, dict(zip(self.names, values, strict=True)))


class Table:
    """Calls as columns of one length.

    Attributes:
        routes, times: of each call; event times in Unix seconds.
        columns: values by field, None where not measured.
    """

    __slots__ = ("_arrays", "_grouped", "_size", "columns", "routes", "times")

    def __init__(
        self, routes: Sequence[str], times: Sequence[float], columns: dict[str, Sequence[Any]]
    ) -> None:
        self.routes = routes
        self.times = times
        self.columns = columns
        self._size = len(next(iter(columns.values())))
        self._arrays: dict[str, NDArray[Any]] = {}
        self._grouped: tuple[list[str], NDArray[Any]] | None = None

    def __len__(self) -> int:
        return self._size

    def grouped(self) -> tuple[list[str], NDArray[Any]]:
        """Each route once, as they are first met, and which of them each call is of."""
        if self._grouped is None:
            number: defaultdict[str, int] = defaultdict(count().__next__)
            kind = np.int16 if self._size < 1 << 15 else np.int64  # few bits are sorted faster
            codes = np.fromiter(map(number.__getitem__, self.routes), dtype=kind, count=self._size)
            self._grouped = list(number), codes
        return self._grouped

    def newest(self) -> float:
        """Greatest event time, Unix seconds."""
        return float(self.array(TIME).max()) if self._size >= LONG else max(self.times)

    def clamp(self, limits: Iterable[float]) -> None:
        """No call is later than its limit, Unix seconds."""
        self.times = [*map(min, self.times, limits)]
        self._arrays.pop(TIME, None)

    def rows(self, positions: Sequence[int]) -> list[Row]:
        """Route, event time and values of the calls at these positions."""
        every = (self.routes, self.times, *self.columns.values())
        if len(positions) == self._size:
            return list(zip(*every, strict=True))
        return [tuple([column[i] for column in every]) for i in positions]

    def some(self, positions: Sequence[int], fields: Iterable[str]) -> "Table":
        """Some columns of the calls at these positions, without their routes and times."""
        return Table((), (), {name: [self.columns[name][i] for i in positions] for name in fields})

    def array(self, field: str) -> NDArray[Any]:
        """A column, or the event times, as `array_of` makes it, once."""
        found = self._arrays.get(field)
        if found is None:
            values = self.times if field == TIME else self.columns[field]
            found = self._arrays[field] = array_of(field, values)
        return found


class Calls(NamedTuple):
    """Calls of one route as they come, in arrival order; all three have one length.

    Attributes:
        records: as decoded.
        rows: what the contract needs of them, see `Table.rows`; event times no further ahead of their
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
