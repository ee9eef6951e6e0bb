"""Columns of telemetry fields as arrays, and back."""

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
    """Which fields are kept together, as the rows of one block: numbers with the event times, all others.

    Attributes:
        blocks: their names.
        place: of each, its block and its row there.
    """

    __slots__ = ("blocks", "place")

    def __init__(self, fields: Iterable[str]) -> None:
        names = list(fields)
        numbers = [TIME, *filter(is_number, names)]
        others = [field for field in names if not is_number(field)]
        self.blocks = (numbers, others, [OFFSET])
        self.place = {
            field: (block, row) for block, names in enumerate(self.blocks) for row, field in enumerate(names)
        }


def is_number(field: str) -> bool:
    """Whether all its values are numbers or yes and no; a feature may be text as well."""
    return KINDS.get(field) in _NUMBERS


def array_of(field: str, values: Sequence[Any]) -> NDArray[Any]:
    """Values of a field, None where not measured, as an array: of float64 and NaN, or of objects."""
    if is_number(field):
        return np.array(values, dtype=np.float64)  # the largest count is 2^53, so that none is rounded
    if KINDS.get(field) is str and field not in _SHARED:
        # One object for each text: a thousand of them, spread over the memory, take long to look at again.
        known: dict[Any, Any] = {}
        values = list(map(known.setdefault, values, values))
    return np.fromiter(values, dtype=object, count=len(values))


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
