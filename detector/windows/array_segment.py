"""Calls that lie in several places, as one segment made of arrays."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.windows.arrays import OFFSET, TIME, Block, Layout, offsets_in, packed_offsets, values_of
from detector.windows.columns import Table
from detector.windows.segment import HasBlocks, Place, Positions, Segment


class Part:
    """Calls as arrays: the blocks of a `Layout`, whose rows are columns of one length."""

    __slots__ = ("_blocks",)

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._blocks = tuple(blocks)

    @classmethod
    def of(cls, table: Table, offsets: Sequence[int], layout: Layout) -> "Part":
        """Lay out calls that lie at these offsets."""
        numbers, others = layout.blocks
        rows = [*map(table.array, numbers[:-1]), packed_offsets(offsets)]
        return cls(
            (
                np.concatenate(rows).reshape(len(numbers), -1),
                np.concatenate([*map(table.array, others)]).reshape(len(others), -1),
            )
        )

    def __len__(self) -> int:
        return len(self.times)

    @property
    def times(self) -> NDArray[np.float64]:
        """Event times, Unix seconds."""
        times: NDArray[np.float64] = self._blocks[0][0]
        return times

    def block(self, layout: Layout, number: int) -> Block:
        """See `HasBlocks`."""
        return self._blocks[number]

    def some(self, index: Any) -> "Part":
        """Some of the calls."""
        return Part([block.take(index, axis=1) for block in self._blocks])

    def copy(self, start: int, end: int) -> "Part":
        """The calls [start, end), apart from all others."""
        return Part([block[:, start:end].copy() for block in self._blocks])


class ArraySegment(Segment):
    """Calls that follow each other and lie in several places, as one segment.

    Lists are made only of the columns that somebody asks for.

    Args:
        parts: where they lie; at least one.
        layout: of their columns.
        boundary, phase: as of a `Segment`.
    """

    __slots__ = ("_masks", "_size", "_together", "layout")

    def __init__(self, parts: Sequence[HasBlocks], layout: Layout, boundary: int, phase: float = 0.0) -> None:
        self._together = _Together(parts, layout)
        self._masks: dict[str, NDArray[np.bool_] | None] = {}
        self.layout = layout
        self._size = len(self.array(TIME))
        self.columns = _Lists(self._together)
        self.fresh = None
        self.boundary = boundary
        self.phase = phase
        self._forget()

    def __getattr__(self, name: str) -> list[Any]:
        # A slot that was not filled yet.
        if name == "times":
            array: NDArray[Any] = self.array(TIME)
        elif name == "offsets":
            array = offsets_in(self.array(OFFSET))
        else:
            raise AttributeError(name)
        found: list[Any] = array.tolist()
        setattr(self, name, found)
        return found

    def __len__(self) -> int:
        return self._size

    @property
    def newest(self) -> float:
        """See `Segment.newest`."""
        return float(self.array(TIME).max())

    def first_after(self, time: float) -> float | None:
        """See `Segment.first_after`."""
        times = self.array(TIME)
        later = times > time
        first = later.argmax()
        return float(times[first]) if later[first] else None

    @property
    def last(self) -> Place:
        """See `Segment.last`."""
        return int(offsets_in(self.array(OFFSET))[-1]), float(self.array(TIME)[-1])

    def array(self, field: str) -> NDArray[Any]:
        """See `Segment.array`."""
        return self._together.array(field)

    def block(self, layout: Layout, number: int) -> Block:
        """See `HasBlocks`."""
        return self._together.block(number)

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
        positions = there.nonzero()[0]
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
        found: list[int] = (~some).nonzero()[0].tolist()
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

    def _at(self, index: Any) -> "ArraySegment":
        return ArraySegment((_Some(self, index),), self.layout, self.boundary, self.phase)


class _Some(NamedTuple):
    """Some calls of others: where is said as a block is asked."""

    of: HasBlocks
    index: Any

    def block(self, layout: Layout, number: int) -> Block:
        return self.of.block(layout, number)[:, self.index]


class _Together:
    """Blocks of several parts, each put together when it is asked for, once.

    Apart from the segment, which its lists must not refer to: a cycle for every segment would be garbage that
    only the collector finds.
    """

    __slots__ = ("_blocks", "_layout", "_parts")

    def __init__(self, parts: Sequence[HasBlocks], layout: Layout) -> None:
        self._parts = parts
        self._layout = layout
        self._blocks: list[Block | None] = [None] * len(layout.blocks)

    def array(self, field: str) -> NDArray[Any]:
        number, row = self._layout.place[field]
        found: NDArray[Any] = self.block(number)[row]
        return found

    def block(self, number: int) -> Block:
        found = self._blocks[number]
        if found is None:
            blocks = [part.block(self._layout, number) for part in self._parts]
            found = self._blocks[number] = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
        return found


class _Lists(dict[str, Sequence[Any]]):
    """Columns as lists, each made when it is asked for."""

    __slots__ = ("_arrays",)

    def __init__(self, arrays: _Together) -> None:
        self._arrays = arrays

    def __missing__(self, field: str) -> Sequence[Any]:
        self[field] = found = values_of(field, self._arrays.array(field))
        return found


def join(segments: Sequence[Segment]) -> Segment:
    """Segments that follow each other without an evaluation in between, as one."""
    first = segments[0]
    if len(segments) == 1:
        return first
    for each in segments:
        if isinstance(each, ArraySegment):
            return ArraySegment(segments, each.layout, first.boundary, first.phase)
    flat = chain.from_iterable
    return Segment(
        list(flat(segment.times for segment in segments)),
        list(flat(segment.offsets for segment in segments)),
        {field: list(flat(segment.columns[field] for segment in segments)) for field in first.columns},
        None if first.fresh is None else list(flat(segment.fresh or () for segment in segments)),
        first.boundary,
        first.phase,
    )
