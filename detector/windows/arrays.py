"""Columns of telemetry fields as arrays, and back."""

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.windows.kinds import KINDS

TIME = "event_time"
OFFSET = "offset"

Block = NDArray[Any]  # columns of one kind as rows

_NUMBERS = (int, float, bool)
_SHARED = frozenset({"served_by", "error"})  # nearly always their default, which is one object


class Layout:
    """Which fields are kept together, as the rows of one block: numbers, event times and offsets; all others.

    Attributes:
        blocks: their names.
        place: of each, its block and its row there.
    """

    __slots__ = ("blocks", "place")

    def __init__(self, fields: Iterable[str]) -> None:
        names = list(fields)
        numbers = [TIME, *filter(is_number, names), OFFSET]
        others = [field for field in names if not is_number(field)]
        self.blocks = (numbers, others)
        self.place = {
            field: (block, row) for block, names in enumerate(self.blocks) for row, field in enumerate(names)
        }


def is_number(field: str) -> bool:
    """Whether all its values are numbers or yes and no; a feature may be text as well."""
    return KINDS.get(field) in _NUMBERS


def array_of(field: str, values: Sequence[Any]) -> NDArray[Any]:
    """Values of a field, None where not measured, as an array to read: of float64 and NaN, or of objects."""
    if is_number(field):
        return floats_of(values)  # the largest count is 2^53, so that none is rounded
    if KINDS.get(field) is str and field not in _SHARED:
        # One object for each text: a thousand of them, spread over the memory, take long to look at again.
        known: dict[Any, Any] = {}
        values = list(map(known.setdefault, values, values))
    return np.fromiter(values, dtype=object, count=len(values))


def floats_of(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Numbers, None where not measured, as an array to read, with NaN for None.

    NumPy looks at each number for what it might be; to pack them takes it a half to a quarter of the time.
    """
    like = f"{len(values)}d"
    try:
        packed = struct.pack(like, *values)
    except struct.error:  # None is no number
        packed = struct.pack(like, *[math.nan if value is None else value for value in values])
    return np.frombuffer(packed, dtype=np.float64)


def packed_offsets(offsets: Sequence[int]) -> NDArray[np.float64]:
    """Offsets as a row between numbers: their bits, for a float of this size would round great ones."""
    if isinstance(offsets, range):
        whole = np.arange(offsets.start, offsets.stop, offsets.step, dtype=np.int64)
    else:
        whole = np.array(offsets, dtype=np.int64)
    return whole.view(np.float64)


def offsets_in(row: NDArray[np.float64]) -> NDArray[np.int64]:
    """What `packed_offsets` was given."""
    return row.view(np.int64)


def values_of(field: str, array: NDArray[Any]) -> list[Any]:
    """What `array_of` was given."""
    kind = KINDS.get(field)
    if kind not in _NUMBERS:
        objects: list[Any] = array.tolist()
        return objects
    if not np.isnan(array).any():
        listed: list[Any] = array.astype(kind).tolist()
        return listed
    return [None if value != value else kind(value) for value in array.tolist()]  # NaN equals nothing
