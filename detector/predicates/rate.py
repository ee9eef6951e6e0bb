"""Rate of calls with a bad verdict or an error, against the contract's ceiling.

A call counts if it was judged (None is "not judged") and the primary answered it. For the field
`error` every call is judged, and bad if it failed.
"""

from collections.abc import Callable, Sequence
from typing import Any

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget
from detector.predicates.bernoulli import BernoulliJudge
from detector.windows.segment import Segment, value_of
from topics.telemetry import TelemetryRecord

# Verdicts that say "as it should be"; all others say that something is wrong.
GOOD_WHEN_TRUE = frozenset({"golden_ok"})


class Rate(BernoulliJudge):
    """`type: rate`, default method."""

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec, budget)
        # Asked of every call by itself: a reader alone where a true value is a bad call.
        value_in = value_of(spec.field)
        if spec.field in GOOD_WHEN_TRUE:
            value_in = _is_false(value_in)
        self.suspicious = value_in  # type: ignore[method-assign, assignment]

    def flags(self, segment: Segment) -> tuple[Sequence[int], Sequence[int]]:
        """See `BernoulliJudge.flags`."""
        return bad_calls(segment, self.spec.field)


def _is_false(value_in: Callable[[TelemetryRecord], Any]) -> Callable[[TelemetryRecord], bool]:
    return lambda record: value_in(record) is False


def bad_calls(segment: Segment, field: str) -> tuple[Sequence[int], Sequence[int]]:
    """Return (positions of the judged calls of the primary, ascending indices into them of the bad ones)."""
    positions = segment.primary()
    values = segment.pick(field, positions)
    if field == "error":
        if values.count("") == len(values):
            return positions, ()
        return positions, [i for i, value in enumerate(values) if value]
    if None in values:
        positions = [position for position, value in zip(positions, values, strict=True) if value is not None]
        values = [value for value in values if value is not None]
    bad = field not in GOOD_WHEN_TRUE
    if bad not in values:
        return positions, ()
    return positions, [i for i, value in enumerate(values) if value is bad]
