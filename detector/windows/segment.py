"""What a predicate sees: a run of one route's records between two evaluations.

Nothing is evaluated inside a segment, so histograms may take it as a whole while sequential tests
walk it record by record. A few calls are read as lists, many that have waited together as arrays.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.windows.arrays import array_of, values_of
from topics.telemetry import PRIMARY, TelemetryRecord

SLOW = "slow probe"  # column of a segment made while a scope is active: probes whose answer took too long
TIME = "event_time"
OFFSET = "offset"

Place = tuple[int, float]  # offset and event time, Unix seconds
Positions = Sequence[int] | NDArray[np.int64]


class HasArrays(Protocol):
    """Calls of one route, in arrival order."""

    def array(self, field: str) -> NDArray[Any]:
        """A column of them, or `TIME` or `OFFSET`, as `array_of` makes it."""
        ...


class Part:
    """Calls as arrays: their columns, `TIME` and `OFFSET`."""

    __slots__ = ("_arrays",)

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self._arrays[TIME])

    def array(self, field: str) -> NDArray[Any]:
        """See `HasArrays`."""
        return self._arrays[field]


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

    @property
    def last(self) -> Place:
        """Of the last call."""
        return self.offsets[-1], self.times[-1]

    def array(self, field: str) -> NDArray[Any]:
        """See `HasArrays`; made once."""
        found = self._arrays.get(field)
        if found is None:
            found = self._arrays[field] = self._array(field)
        return found

    def _array(self, field: str) -> NDArray[Any]:
        if field == TIME:
            return np.array(self.times, dtype=np.float64)
        if field == OFFSET:
            return np.array(self.offsets, dtype=np.int64)
        return array_of(field, self.columns[field])

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


class Gathered(Segment):
    """Calls that follow each other and lie in several places, as one segment.

    Lists are made only of the columns that somebody asks for.

    Args:
        parts: where they lie; at least one.
        fields: names of the columns.
        boundary, phase: as of a `Segment`.
    """

    __slots__ = ("_masks", "_size", "_together", "fields")

    def __init__(
        self, parts: Sequence[HasArrays], fields: Sequence[str], boundary: int, phase: float = 0.0
    ) -> None:
        self._together = _Together(parts)
        self._masks: dict[str, NDArray[np.bool_] | None] = {}
        self.fields = fields
        self._size = len(self.array(TIME))
        self.columns = _Lists(self._together)
        self.fresh = None
        self.boundary = boundary
        self.phase = phase
        self._forget()

    def __getattr__(self, name: str) -> list[Any]:
        # A slot that was not filled yet.
        field = {"times": TIME, "offsets": OFFSET}.get(name)
        if field is None:
            raise AttributeError(name)
        found: list[Any] = self.array(field).tolist()
        setattr(self, name, found)
        return found

    def __len__(self) -> int:
        return self._size

    @property
    def newest(self) -> float:
        """See `Segment.newest`."""
        return float(self.array(TIME).max())

    @property
    def last(self) -> Place:
        """See `Segment.last`."""
        return int(self.array(OFFSET)[-1]), float(self.array(TIME)[-1])

    def array(self, field: str) -> NDArray[Any]:
        """See `HasArrays`; made once."""
        return self._together.array(field)

    def numbers(
        self, field: str, *, primary: bool = True, ok: bool = True
    ) -> tuple[Positions, NDArray[np.float64]]:
        """Where a field that `is_number` was measured, and its values.

        Args:
            primary: only of calls that tell how the primary is.
            ok: only of calls that did not fail.
        """
        values = self.array(field)
        there = ~np.isnan(values)
        for wanted, made in ((primary, self._of_primary), (ok, self._succeeded)):
            if wanted and (mask := made()) is not None:
                there &= mask
        if there.all():
            return range(len(values)), values
        positions = np.flatnonzero(there)
        return positions, values[positions]

    def _of_primary(self) -> NDArray[np.bool_] | None:
        if "primary" not in self._masks:
            positions = self.primary()
            self._masks["primary"] = None if len(positions) == len(self) else self._mask(positions)
        return self._masks["primary"]

    def _succeeded(self) -> NDArray[np.bool_] | None:
        if "ok" not in self._masks:
            failed = self.array("error").astype(np.bool_)
            self._masks["ok"] = ~failed if failed.any() else None
        return self._masks["ok"]

    def failed(self, positions: Sequence[int]) -> Sequence[int]:
        """Indices into `positions` of the calls that failed."""
        succeeded = self._succeeded()
        if succeeded is None:
            return ()
        some = succeeded if len(positions) == len(self) else succeeded[positions]
        found: list[int] = np.flatnonzero(~some).tolist()
        return found

    def _mask(self, positions: Sequence[int]) -> NDArray[np.bool_]:
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[positions] = True
        return mask

    def seconds(self) -> Sequence[int]:
        """See `Segment.seconds`."""
        if self._seconds is None:
            seconds = (self.array(TIME) + self.phase).astype(np.int64)
            shared = seconds.min() == seconds.max()
            self._seconds = (int(seconds[0]),) if shared else seconds.tolist()
        return self._seconds

    def head(self, length: int) -> Segment:
        """See `Segment.head`."""
        return self._at(slice(length))

    def only(self, positions: Sequence[int]) -> Segment:
        """See `Segment.only`."""
        return self if len(positions) == len(self) else self._at(positions)

    def _at(self, index: Any) -> "Gathered":
        return Gathered((_Some(self, index),), self.fields, self.boundary, self.phase)


class _Some(NamedTuple):
    """Some calls of others: where is said as an array is asked."""

    of: HasArrays
    index: Any

    def array(self, field: str) -> NDArray[Any]:
        found: NDArray[Any] = self.of.array(field)[self.index]
        return found


class _Together:
    """Arrays of several parts, each put together when it is asked for, once."""

    __slots__ = ("_arrays", "_parts")

    def __init__(self, parts: Sequence[HasArrays]) -> None:
        self._parts = parts
        self._arrays: dict[str, NDArray[Any]] = {}

    def array(self, field: str) -> NDArray[Any]:
        found = self._arrays.get(field)
        if found is None:
            arrays = [part.array(field) for part in self._parts]
            found = self._arrays[field] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return found


class _Lists(dict[str, Sequence[Any]]):
    """Columns of a gathered segment, each made when it is asked for."""

    __slots__ = ("_arrays",)

    def __init__(self, arrays: HasArrays) -> None:
        self._arrays = arrays

    def __missing__(self, field: str) -> Sequence[Any]:
        self[field] = found = values_of(field, self._arrays.array(field))
        return found


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
    for each in segments:
        if isinstance(each, Gathered):
            return Gathered(segments, each.fields, first.boundary, first.phase)
    flat = chain.from_iterable
    return Segment(
        list(flat(segment.times for segment in segments)),
        list(flat(segment.offsets for segment in segments)),
        {field: list(flat(segment.columns[field] for segment in segments)) for field in first.columns},
        None if first.fresh is None else list(flat(segment.fresh or () for segment in segments)),
        first.boundary,
        first.phase,
    )
