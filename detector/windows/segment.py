"""What a predicate sees: a run of one route's records between two evaluations.

Nothing is evaluated inside a segment, so histograms may take it as a whole while sequential tests
walk it record by record. A few calls are read as lists, many that have waited together as arrays.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.windows.arrays import OFFSET, TIME, Block, Layout, array_of, packed_offsets
from topics.telemetry import PRIMARY, TelemetryRecord

SLOW = "slow probe"  # column of a segment made while a scope is active: probes whose answer took too long
EARLY = "early"  # likewise: calls that ended while those that fail, made at the same time, would still be out
Place = tuple[int, float]  # offset and event time, Unix seconds
Positions = Sequence[int] | NDArray[np.int64]


class HasBlocks(Protocol):
    """Calls of one route, in arrival order."""

    def block(self, layout: Layout, number: int) -> Block:
        """Some of their columns, as `array_of` and `packed_offsets` make them."""
        ...


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
        "_arrays",
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
        self._forget()

    def _forget(self) -> None:
        self._primary: Sequence[int] | None = None
        self._ok: Sequence[int] | None = None
        self._seconds: Sequence[int] | None = None
        self._arrays: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self.times)

    @property
    def newest(self) -> float:
        """Greatest event time, Unix seconds."""
        return max(self.times)

    def first_after(self, time: float) -> float | None:
        """Event time of the first call later than `time`, Unix seconds; None: there is none such."""
        return next((each for each in self.times if each > time), None)

    @property
    def last(self) -> Place:
        """Of the last call."""
        return self.offsets[-1], self.times[-1]

    def array(self, field: str) -> NDArray[Any]:
        """A column, or `TIME`, as `array_of` makes it, once; or `OFFSET`, see `packed_offsets`."""
        found = self._arrays.get(field)
        if found is None:
            found = self._arrays[field] = self._array(field)
        return found

    def block(self, layout: Layout, number: int) -> Block:
        """See `HasBlocks`."""
        return np.stack([self.array(field) for field in layout.blocks[number]])

    def _array(self, field: str) -> NDArray[Any]:
        if field == OFFSET:
            return packed_offsets(self.offsets)
        return array_of(field, self.times if field == TIME else self.columns[field])

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
        return self._without_errors(range(len(self)))

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
        if len(positions) == len(self):
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
