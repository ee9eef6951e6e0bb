"""The contract as typed, immutable values: what to watch, what counts as failing, what to do then.

The loader builds these; nothing in them is checked again. Durations in seconds unless the name says `_ms`.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from detector.contract.calibration import CalibratedPredicate, Calibration

Severity = Literal["act", "notice"]
OnExpiry = Literal["revert", "hold"]
PredicateType = Literal[
    "divergence", "rate", "exceedance", "absence", "attribution", "repetition", "shortfall"
]
Cause = Literal[
    "",
    "parameter_corruption",
    "external_api_latency",
    "hardware_throttling",
    "inference_overload",
    "token_drift",
    "input_drift",
]
ReferenceMode = Literal["trailing", "fixed", "seasonal"]
Method = Literal["default", "literal", "log_cusum", "adwin", "kswin", "page_hinkley"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Values for the whole contract.

    Attributes:
        false_alarms_per_week: budget of false activations of the whole contract, all scopes together.
        fleet_records_per_s: records per second of the whole fleet, from which run lengths follow.
        lease_s: how long a gateway obeys without hearing from the owner.
        revert_within_s: the longest wait between two attempts to revert.
        probe_share: share of calls that goes to the primary while a scope is active, 0..1.
        probe_share_max: what `probe_share` is raised to where it takes that many probes to see a recovery.
        max_active_share: panic threshold: share of a partition's routes in fallback at once; 1 is no limit.
        lateness_s: how far a record may lag behind the route's newest and still be on time.
        stated: keys that the file gives; only where it gives none does calibration fill in.
    """

    false_alarms_per_week: float = 0.15
    fleet_records_per_s: float = 10_000.0
    lease_s: float = 15.0
    revert_within_s: float = 10.0
    probe_share: float = 0.05
    probe_share_max: float = 0.25
    max_active_share: float = 1.0
    lateness_s: float = 2.0
    stated: tuple[str, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Service level of a route, milliseconds; `availability` 0..1."""

    p99_ms: float = 250.0
    primary_p99_ms: float = 200.0
    monitoring_ms: float = 20.0
    availability: float = 0.9999


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRule:
    """Routes whose name matches a shell pattern; the first rule that matches wins."""

    match: str = "*"
    slo: Slo = field(default_factory=Slo)
    input_classes: tuple[str, ...] = ("default",)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeQuality:
    """How often a judge is right, each in (0, 1]: `sensitivity` on bad calls, `specificity` on good ones."""

    sensitivity: float = 1.0
    specificity: float = 1.0

    def observed(self, rate: float) -> float:
        """Share of calls that the judge calls bad when `rate` of them are."""
        return rate * self.sensitivity + (1 - rate) * (1 - self.specificity)

    def corrected(self, observed: float) -> float:
        """The rate at which `observed` of the calls are called bad, 0..1; the reverse of `observed`.

        Source: W. J. Rogan, B. Gladen (1978), American J. of Epidemiology 107(1).
        """
        informed = self.sensitivity + self.specificity - 1
        return min(1.0, max(0.0, (observed + self.specificity - 1) / informed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a divergence is measured from.

    Attributes:
        mode: the last hour before the windows (`trailing`), a histogram that stays as it is (`fixed`: the
            calibrated one, else the first learnt), or the hour around this time yesterday (`seasonal`).
    """

    mode: ReferenceMode = "trailing"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredicateSpec:
    """One predicate as the contract states it; fields that its type does not use keep their defaults.

    Attributes:
        field: telemetry field judged, or `features.<name>`; empty for `absence` and for evaluations.
        evaluation: name of the evaluation that is the source instead of a telemetry field.
        threshold_nats: divergence that matters, nats.
        window_s: longest window of a divergence; window of the literal methods.
        ceiling: highest healthy share of bad calls, 0..1.
        judge: how often the verdicts are right; None takes them at their word.
        above_ms: a call is bad if the field, in seconds, exceeds this, in milliseconds.
        score_below: a score under this is bad; `score_above` likewise.
        after_s: silence of this length is an absence.
        consecutive: literal run rule: so many bad calls in a row.
        above_share: a repetition is bad if more of its tokens than this have occurred before, 0..1.
        below_share: a shortfall is a value under this share of the usual one, 0..1.
        below_nats: or a log-probability by more than this under the usual one.
        cause: the failure mode that an attribution names.
        design_effect: variance inflation by dependence, >= 1; 1 is independent calls.
        min_samples: fewest records on which a window is judged; None leaves it to the method.
        where: fields and the values that a call must have in each of them to be seen; empty: every call is.
        routes: names of those on which it is judged, which a contract says under `where`; empty: on all.
        by: text fields; each of their values is judged beside the whole.
        unless_alone: text field; bad calls of one of its values alone do not count; empty: all do.
        given: field at equal values of which token counts are compared; empty: whatever it is.
        stated: keys that the file gives; only where it gives none does calibration fill in.
    """

    name: str
    type: PredicateType
    method: Method = "default"
    field: str = ""
    evaluation: str = ""
    threshold_nats: float = 0.07
    window_s: float = 300.0
    ceiling: float = 0.01
    judge: JudgeQuality | None = None
    above_ms: float | None = None
    score_below: float | None = None
    score_above: float | None = None
    after_s: float = 30.0
    consecutive: int | None = None
    above_share: float | None = None
    below_share: float | None = None
    below_nats: float | None = None
    cause: Cause = ""
    design_effect: float = 1.0
    min_samples: int | None = None
    where: tuple[tuple[str, tuple[str | bool, ...]], ...] = ()
    by: tuple[str, ...] = ()
    given: str = ""
    unless_alone: str = ""
    reference: Reference = dataclasses.field(default_factory=Reference)
    # Where it is judged is no part of how: one more route leaves what is known of all others as it is.
    routes: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    # Not part of what a predicate is: a default that is written out changes nothing.
    stated: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def exists_on(self, route: str) -> bool:
        """Whether it is judged on a route at all."""
        return not self.routes or route in self.routes

    @property
    def only(self) -> str:
        """What a contract says behind other keys so that it is judged on its routes alone; empty: on all."""
        return f", where: {{route: [{', '.join(map(json.dumps, self.routes))}]}}" if self.routes else ""

    @property
    def subject(self) -> str:
        """What is judged, in words: all that decides what a recording teaches about the predicate."""
        said = [self.type, "of", self.evaluation or self.field]
        if self.given:
            said += ["given", self.given]
        if self.unless_alone:
            said += ["unless alone", self.unless_alone]
        limits = {
            "over {:g} ms": self.above_ms,
            "under {:g}": self.score_below,
            "over {:g}": self.score_above,
        }
        said += [form.format(limit) for form, limit in limits.items() if limit is not None]
        for name, values in self.where:
            said += ["where", name, "is", " or ".join(map(str, values))]
        return " ".join(said)

    @property
    def learnable(self) -> bool:
        """Whether a recording of healthy telemetry can teach anything about it."""
        return (
            self.method == "default"
            and self.type in ("divergence", "rate", "exceedance")
            and bool(self.field)
            and self.field != "token_ids"
            and (self.type != "exceedance" or self.above_ms is not None)
        )


def most_on_a_route(specs: Iterable[PredicateSpec]) -> int:
    """How many of these predicates there are on the route that has most of them."""
    everywhere, named = 0, Counter[str]()
    for spec in specs:
        everywhere += not spec.routes
        named.update(spec.routes)
    return everywhere + max(named.values(), default=0)


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds while at least `least` of the predicates `of` do: 1 is any, all of them is all."""

    least: int
    of: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A failure mode: which predicates tell it and what it does.

    Attributes:
        when: name of the predicate that holds when the mode does, or a condition on several.
        mutes: modes that are symptoms of this one.
        severity: `act` switches gateways, `notice` only says so.
        shadow: judged and audited, never acted on.
        hold_s: how long the predicate must hold before the mode does.
        keep_s: least time active before the first attempt to revert.
        on_expiry: what a gateway does with the scope when the lease lapses; `hold_max_s` ends a hold.
    """

    name: str
    when: str | Condition
    mutes: tuple[str, ...] = ()
    severity: Severity = "act"
    shadow: bool = False
    hold_s: float = 0.0
    keep_s: float = 5.0
    on_expiry: OnExpiry = "revert"
    hold_max_s: float = 600.0

    @property
    def acts(self) -> bool:
        """Whether gateways are told to switch, not only that it holds."""
        return self.severity == "act" and not self.shadow

    @property
    def predicates(self) -> tuple[str, ...]:
        """Names of the predicates that the mode rests on."""
        return (self.when,) if isinstance(self.when, str) else self.when.of


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """What a gateway can do instead of the primary; `share` of fallback traffic, 0..1."""

    name: str
    type: str = "rule"
    p99_ms: float = 0.0
    share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRow:
    """Fallbacks, best first, for one mode (`*`: any) and input class (`*`: the rest)."""

    mode: str
    input_class: str
    fallbacks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """A whole contract. The order of `modes` is precedence; `digest` identifies the content."""

    version: int = 1
    defaults: Defaults = field(default_factory=Defaults)
    routes: tuple[RouteRule, ...] = (RouteRule(),)
    predicates: dict[str, PredicateSpec] = field(default_factory=dict)
    modes: dict[str, Mode] = field(default_factory=dict)
    fallbacks: dict[str, Fallback] = field(default_factory=dict)
    matrix: tuple[MatrixRow, ...] = ()
    calibration: Calibration = field(default_factory=Calibration)
    digest: str = ""

    @property
    def fleet_records_per_s(self) -> float:
        """Records per second of the whole fleet: as stated, else as calibrated, else the default."""
        measured = self.calibration.fleet_records_per_s
        if measured is None or "fleet_records_per_s" in self.defaults.stated:
            return self.defaults.fleet_records_per_s
        return measured

    def calibrated(self, route: str, predicate: str) -> CalibratedPredicate | None:
        """What was learnt from healthy traffic about a predicate on a route; None if nothing was.

        What was learnt while it judged something else says nothing of what it judges now.
        """
        one, spec = self.calibration.of(route, predicate), self.predicates.get(predicate)
        fits = one is None or spec is None or one.made_for in ("", spec.subject)
        return one if fits else None

    def route_rule(self, route: str) -> RouteRule:
        """First rule that matches, else the default one."""
        return next((rule for rule in self.routes if fnmatchcase(route, rule.match)), RouteRule())

    def fallbacks_for(self, mode: str, route: str) -> dict[str, list[str]]:
        """Fallbacks per input class of `route` when `mode` holds.

        For each input class and for `*` the first row counts whose mode and class match, a row that names
        the mode before one for any mode, and one that names the class before one for any class.
        """
        chosen: dict[str, list[str]] = {}
        for input_class in (*self.route_rule(route).input_classes, "*"):
            row = self._row(mode, input_class)
            if row is not None:
                chosen[input_class] = list(row.fallbacks)
        rest = chosen.get("*")
        return {name: names for name, names in chosen.items() if name == "*" or names != rest}

    def fallbacks_at_will(self, route: str) -> dict[str, list[str]]:
        """Fallbacks for one who wants some while no mode holds: those for any mode, else the first mode's."""
        found = (self.fallbacks_for(mode, route) for mode in ("*", *self.modes))
        return next(filter(None, found), {})

    def _row(self, mode: str, input_class: str) -> MatrixRow | None:
        for wanted_mode in (mode, "*"):
            for wanted_class in (input_class, "*"):
                for row in self.matrix:
                    if row.mode == wanted_mode and row.input_class == wanted_class:
                        return row
        return None
