"""Share of calls slower than a limit (or above any limit), against the contract's ceiling.

Testing the share above the limit is testing the percentile: p99 <= 200 ms is "at most 1 % above
200 ms". Failed calls are left out. The percentiles of the last minute go into the evidence.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, Verdict
from detector.predicates.bernoulli import BernoulliJudge
from detector.windows.array_segment import ArraySegment
from detector.windows.arrays import is_number
from detector.windows.columns import FEATURE, LONG, Table
from detector.windows.quantiles import QuantileWindow
from detector.windows.segment import Positions, Segment
from detector.windows.shares import Flagged

_SHOWN = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


class Exceedance(BernoulliJudge):
    """`type: exceedance`, default method."""

    acts_on_total_failure = (
        False  # a limit below the typical call is a mistake in the contract, not an outage
    )

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec, budget)
        self._limit = limit_of(spec)
        self._is_number = is_number(spec.field)
        self._quantiles = QuantileWindow()

    def suspects(self, calls: Table) -> Sequence[int]:
        """See `Judge.suspects`."""
        limit, values = self._limit, calls.columns[self.spec.field]
        if self._is_number and len(calls) >= LONG:
            return (calls.array(self.spec.field) > limit).nonzero()[0].tolist()
        if self.spec.field.startswith(FEATURE):
            values = [None if isinstance(value, str) else value for value in values]
        return [i for i, value in enumerate(values) if value is not None and value > limit]

    def flags(self, segment: Segment) -> Flagged:
        """See `BernoulliJudge.flags`."""
        limit = self._limit
        positions, values = self._measured(segment)
        if isinstance(values, np.ndarray):
            return positions, (values > limit).nonzero()[0].tolist()
        if not values or max(values) <= limit:
            return positions, ()
        return positions, [i for i, value in enumerate(values) if value > limit]

    def absorb(self, segment: Segment) -> None:
        """Keep the values for the percentiles that the evidence shows."""
        super().absorb(segment)
        _, values = self._measured(segment)
        if len(values):
            self._quantiles.add(segment.boundary, values)
        if self.latched and "p50" not in self.verdict.detail:
            self.verdict = self._with_percentiles(self.verdict)

    def _measured(self, segment: Segment) -> tuple[Positions, Sequence[float] | NDArray[np.float64]]:
        if self._is_number and isinstance(segment, ArraySegment):
            return segment.numbers(self.spec.field)
        return measured(segment, self.spec.field)

    def _with_percentiles(self, verdict: Verdict) -> Verdict:
        found = {name: self._quantiles.quantile(q) for name, q in _SHOWN.items()}
        shown: dict[str, float | str] = {name: value for name, value in found.items() if value is not None}
        return Verdict(
            verdict.outcome,
            verdict.value,
            verdict.threshold,
            verdict.samples,
            verdict.window_s,
            verdict.detail | shown,
        )

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        return super().state() | {"quantiles": self._quantiles.state()}

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        super().load(state)
        self._quantiles.load(state["quantiles"])


def limit_of(spec: PredicateSpec) -> float:
    """Limit in the field's own unit: `above_ms` in seconds."""
    if spec.above_ms is None:
        raise ValueError(f"predicate {spec.name} needs above_ms")
    return spec.above_ms / 1000.0


def measured(segment: Segment, field: str) -> tuple[Sequence[int], Sequence[float]]:
    """Return (positions, values) of the primary's successful calls that measured `field`, as a number."""
    positions = segment.primary_ok()
    values = segment.pick(field, positions)
    if field.startswith(FEATURE):
        values = [None if isinstance(value, str) else value for value in values]
    if None in values:
        positions = [position for position, value in zip(positions, values, strict=True) if value is not None]
        values = [value for value in values if value is not None]
    return positions, values
