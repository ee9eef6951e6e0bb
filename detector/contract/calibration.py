"""What `detector calibrate` learnt from healthy telemetry, as typed, immutable values.

The section `calibration` of the contract file. Rates are shares, 0..1; divergences are in nats;
durations in seconds unless the name says `_ms`. What was not learnt is None.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Basis = Literal["guaranteed", "estimated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedPredicate:
    """What was learnt about one predicate on one route.

    Attributes:
        made_for: what the predicate judged then, see `PredicateSpec.subject`; empty: nobody knows.
        records: calls that it was learnt from.
        design_effect: variance inflation by dependence, >= 1.
        basis: `guaranteed` where the ceiling bounds the rate and calls are independent, else `estimated`.
        false_per_week: false activations per week to expect from this predicate on this route.
        tolerance_nats: d0, the divergence that healthy traffic wanders by.
        thresholds_nats: window length in seconds -> how far a window may stray.
        edges: ascending; bin i holds edges[i - 1] <= x < edges[i], the first and the last are open.
        categories: one bin each, and one more for all other values; where a text is `given`, its strata.
        reference: counts per bin, in the order of the bins, stratum by stratum.
        smallest_detectable_nats: smallest divergence found within `window_s` with 99 % power.
        rate: healthy share of bad calls.
        ceiling: upper limit of the healthy share, the binomial noise removed.
        run_length: A, records: the threshold that gives the wanted mean run between false alarms.
        usable: whether healthy traffic keeps within the contract's own ceiling.
        proposed_above_ms: a limit that healthy traffic keeps, where it does not keep the contract's, or
            where one call in twenty exceeds that.
        smallest_detectable_rate: smallest share found within 10 s with 99 % power.
    """

    made_for: str = ""
    records: int = 0
    design_effect: float = 1.0
    basis: Basis = "estimated"
    false_per_week: float | None = None
    tolerance_nats: float | None = None
    thresholds_nats: dict[int, float] = field(default_factory=dict)
    edges: tuple[float, ...] | None = None
    categories: tuple[str, ...] | None = None
    reference: tuple[int, ...] | None = None
    smallest_detectable_nats: float | None = None
    rate: float | None = None
    ceiling: float | None = None
    run_length: float | None = None
    usable: bool = True
    proposed_above_ms: float | None = None
    smallest_detectable_rate: float | None = None

    @property
    def layout(self) -> str:
        """What a judge's state depends on: with another layout its state cannot be taken over."""
        return repr((self.edges, self.categories, self.ceiling))

    @property
    def bins(self) -> int | None:
        """Number of bins that edges or categories make; None if there are neither."""
        made = self.edges if self.edges is not None else self.categories
        return None if made is None else len(made) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedRoute:
    """What was learnt about one route: its usual rate, records per second, and its predicates."""

    records_per_s: float = 0.0
    predicates: dict[str, CalibratedPredicate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A calibration, dated, with what it was made from. Without routes it is none.

    Attributes:
        made_at: ISO 8601 date and time.
        made_from: names of the files.
        records: records read; trimmed ones are not among them.
        first_event_time: Unix seconds, least; `last_event_time` greatest.
        fleet_records_per_s: mean rate of all routes together.
    """

    made_at: str = ""
    made_from: tuple[str, ...] = ()
    records: int = 0
    first_event_time: float | None = None
    last_event_time: float | None = None
    fleet_records_per_s: float | None = None
    routes: dict[str, CalibratedRoute] = field(default_factory=dict)

    def of(self, route: str, predicate: str) -> CalibratedPredicate | None:
        """What was learnt about a predicate on a route, if anything was."""
        found = self.routes.get(route)
        return None if found is None else found.predicates.get(predicate)


def build_calibration(values: dict[str, Any]) -> Calibration:
    """The calibration that values of the grammar's shape stand for; broken parts are left out."""
    routes = {
        name: CalibratedRoute(**{**keys, "predicates": _predicates(keys.get("predicates") or {})})
        for name, keys in (values.get("routes") or {}).items()
        if keys is not None
    }
    return Calibration(**{**values, "routes": routes})


def _predicates(named: dict[str, Any]) -> dict[str, CalibratedPredicate]:
    return {name: CalibratedPredicate(**keys) for name, keys in named.items() if keys is not None}
