"""What a predicate sees: a run of one route's records between two evaluations.

Nothing is evaluated inside a segment, so histograms may take it as a whole while sequential tests
walk it record by record. Columns are read once, whoever asks.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from topics.telemetry import PRIMARY, TelemetryRecord


class Segment:
    """Records of one route in arrival order, with their (clamped) event times and offsets.

    Attributes:
        records: the records; `times` and `offsets` are as long.
        since: the scope is active and its state last changed at this time: only calls to the primary
            made after it say how the primary is now. None: every call that the primary served does.
        boundary: the second whose pane closes next.
    """

    __slots__ = ("_columns", "_ok", "_primary", "_seconds", "boundary", "offsets", "records", "since", "times")

    def __init__(
        self,
        records: Sequence[TelemetryRecord],
        times: Sequence[float],
        offsets: Sequence[int],
        since: float | None,
        boundary: int,
    ) -> None:
        self.records = records
        self.boundary = boundary
        self._seconds: list[int] | None = None
        self.times = times
        self.offsets = offsets
        self.since = since
        self._columns: dict[str, list[Any]] = {}
        self._primary: Sequence[int] | None = None
        self._ok: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.records)

    def column(self, field: str) -> list[Any]:
        """Values of a telemetry field or of `features.<name>`, None where not measured."""
        values = self._columns.get(field)
        if values is None:
            if field.startswith("features."):
                name = field.removeprefix("features.")
                values = [record.features.get(name) for record in self.records]
            else:
                values = list(map(attrgetter(field), self.records))
            self._columns[field] = values
        return values

    def primary(self) -> Sequence[int]:
        """Positions of the calls that tell how the primary is."""
        if self._primary is None:
            served = self.column("served_by")
            whole = range(len(served))
            if self.since is None:
                everywhere = served.count(PRIMARY) == len(served)
                self._primary = whole if everywhere else [i for i in whole if served[i] == PRIMARY]
            else:
                self._primary = [i for i in whole if served[i] == PRIMARY and self._made_after(i, self.since)]
        return self._primary

    def primary_ok(self) -> Sequence[int]:
        """Positions of the primary's calls that did not fail: failures have no latency and no tokens."""
        if self._ok is None:
            errors = self.column("error")
            primary = self.primary()
            if errors.count("") == len(errors):
                self._ok = primary
            else:
                self._ok = [i for i in primary if not errors[i]]
        return self._ok

    def succeeded(self) -> Sequence[int]:
        """Positions of all calls that did not fail, whoever answered them."""
        errors = self.column("error")
        whole = range(len(errors))
        return whole if errors.count("") == len(errors) else [i for i in whole if not errors[i]]

    def seconds(self) -> list[int]:
        """Event-time second of each record."""
        if self._seconds is None:
            self._seconds = list(map(int, self.times))
        return self._seconds

    def pick(self, field: str, positions: Sequence[int]) -> list[Any]:
        """Values of a field at `positions`."""
        values = self.column(field)
        return values if len(positions) == len(values) else [values[i] for i in positions]

    def cut(self, start: int, end: int, since: float | None) -> "Segment":
        """The records [start, end) as a segment of their own."""
        if start == 0 and end == len(self.records) and since == self.since:
            return self
        return Segment(
            self.records[start:end], self.times[start:end], self.offsets[start:end], since, self.boundary
        )

    def _made_after(self, position: int, since: float) -> bool:
        record = self.records[position]
        return record.probe or self.times[position] - (record.latency_s or 0.0) >= since
