"""Rate of calls with a bad verdict or an error, against the contract's ceiling.

A call counts if it was judged (None is "not judged") and the primary answered it. For the field
`error` every call is judged, and bad if it failed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.predicates.bernoulli import BernoulliJudge
from detector.windows.array_segment import ArraySegment
from detector.windows.columns import LONG, Table
from detector.windows.segment import Segment
from detector.windows.shares import Flagged

# Verdicts that say "as it should be"; all others say that something is wrong.
GOOD_WHEN_TRUE = frozenset({"golden_ok"})


class Rate(BernoulliJudge):
    """`type: rate`, default method."""

    def suspects(self, calls: Table) -> Sequence[int]:
        """See `Judge.suspects`."""
        field = self.spec.field
        if field != "error" and len(calls) >= LONG:
            return _equal(calls.array(field), field)
        return _bad(calls.columns[field], field)

    def flags(self, segment: Segment) -> Flagged:
        """See `BernoulliJudge.flags`."""
        return bad_calls(segment, self.spec.field)


def bad_calls(segment: Segment, field: str) -> Flagged:
    """Return (positions of the judged calls of the primary, ascending indices into them of the bad ones)."""
    positions = segment.primary()
    if isinstance(segment, ArraySegment):
        if field == "error":
            return positions, segment.failed(positions)
        judged, numbers = segment.numbers(field, ok=False)
        return judged, _equal(numbers, field)
    values = segment.pick(field, positions)
    if field != "error" and None in values:
        positions = [position for position, value in zip(positions, values, strict=True) if value is not None]
        values = [value for value in values if value is not None]
    return positions, _bad(values, field)


def _bad(values: Sequence[Any], field: str) -> Sequence[int]:
    """Indices of the bad ones; None is not judged."""
    if field == "error":
        return () if values.count("") == len(values) else [i for i, value in enumerate(values) if value]
    bad = field not in GOOD_WHEN_TRUE
    return [i for i, value in enumerate(values) if value is bad] if bad in values else ()


def _equal(verdicts: NDArray[np.float64], field: str) -> Sequence[int]:
    found: list[int] = (verdicts == (0.0 if field in GOOD_WHEN_TRUE else 1.0)).nonzero()[0].tolist()
    return found
