"""The keys of the contract file: one table, from which the loader reads and the JSON Schema is made."""

from dataclasses import dataclass
from typing import Literal, get_args

from detector.contract.calibration import Basis
from detector.contract.model import Cause, Method, OnExpiry, PredicateType, ReferenceMode, Severity
from topics.types import MOST_HOLD_S, MOST_LEASE_S

Kind = Literal[
    "number",
    "integer",
    "boolean",
    "text",
    "choice",
    "names",
    "texts",
    "numbers",
    "spans",
    "section",
    "named",
    "list",
    "condition",
    "filter",
]

HEARTBEAT_S = 3.0
SESSION_TIMEOUT_S = 6.0
REBALANCE_AND_CLAIM_S = 3.0
TAKEOVER_S = HEARTBEAT_S + SESSION_TIMEOUT_S + REBALANCE_AND_CLAIM_S  # a lease has to be longer
LONGEST_REVERT_S = 10.0
LONGEST_WINDOW_S = 3600.0
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What one key takes.

    Attributes:
        says: its meaning in a few words, for the schema.
        of: keys of the mapping (`section`), of each named mapping (`named`) or of each list entry (`list`);
            of a `condition`, which is a name or a mapping with one of them.
        entry: bounds of each number in a list (`numbers`) or in a mapping by whole seconds (`spans`).
        above, least, below, most: bounds of a number; `above` and `below` are themselves out of range.
        whole: a float without a fraction.
        rule: the rule that a positive number out of bounds breaks; `most_rule`: that one over `most` breaks,
            where it is another.
        filled: a list (`names`, `list`) that may not be empty.
        nullable: null stands for "not there".
    """

    kind: Kind
    says: str
    required: bool = False
    choices: tuple[str, ...] = ()
    of: "Keys | None" = None
    entry: "Key | None" = None
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    whole: bool = False
    rule: str = "out-of-range"
    most_rule: str = ""
    filled: bool = False
    nullable: bool = False


Keys = dict[str, Key]


def _number(says: str, **bounds: float) -> Key:
    return Key(kind="number", says=says, **bounds)  # type: ignore[arg-type]  # a bound is one of its keys


DEFAULTS: Keys = {
    "false_alarms_per_week": _number(
        "budget of false activations of the whole contract, all scopes together", least=1e-6
    ),
    "fleet_records_per_s": _number("records per second of the whole fleet", above=0),
    "lease_s": Key(
        kind="number",
        says="how long a gateway obeys without hearing from the owner; over a takeover, an hour at most",
        above=TAKEOVER_S,
        most=MOST_LEASE_S,
        rule="lease-too-short",
        most_rule="out-of-range",
    ),
    "revert_within_s": Key(
        kind="number",
        says="longest wait between two attempts to revert",
        above=0,
        most=LONGEST_REVERT_S,
        rule="revert-too-slow",
    ),
    "probe_share": _number(
        "share of calls that goes to the primary while a scope is active", above=0, below=1
    ),
    "probe_share_max": _number(
        "share of calls that probes are raised to where it takes that many", above=0, below=1
    ),
    "max_active_share": _number(
        "share of a partition's routes that may be in fallback at once; 1 is no limit", above=0, most=1
    ),
    "lateness_s": _number(
        "how far a record may lag behind the route's newest and be on time", least=0, most=60
    ),
}

SLO: Keys = {
    "p99_ms": _number("what callers are promised", above=0),
    "primary_p99_ms": _number("what the primary takes", above=0),
    "monitoring_ms": _number("what detection takes", least=0),
    "availability": _number("share of calls that are answered", above=0, most=1),
}

ROUTE: Keys = {
    "match": Key(kind="text", says="shell pattern of route names; the first match wins", required=True),
    "slo": Key(kind="section", says="service level", of=SLO),
    "input_classes": Key(kind="names", says="input-risk classes given by the gateway", filled=True),
}

JUDGE: Keys = {
    "sensitivity": _number("share of bad calls that the judge calls bad", above=0, most=1),
    "specificity": _number("share of good calls that the judge calls good", above=0, most=1),
}

REFERENCE: Keys = {
    "mode": Key(
        kind="choice",
        says="the last hour, a fixed histogram (calibrated, else learnt once), or this time yesterday",
        choices=get_args(ReferenceMode),
    ),
}

PREDICATE: Keys = {
    "type": Key(kind="choice", says="what is judged", required=True, choices=get_args(PredicateType)),
    "method": Key(kind="choice", says="how; literal is the plain rule", choices=get_args(Method)),
    "field": Key(kind="text", says="telemetry field, or features.<name>"),
    "evaluation": Key(kind="text", says="name of the evaluation that is judged instead of a field"),
    "threshold_nats": _number("divergence that matters, nats", above=0),
    "window_s": Key(
        kind="number",
        says="longest window of a divergence; window of the other methods",
        above=0,
        most=LONGEST_WINDOW_S,
        whole=True,
        rule="window-length",
    ),
    "ceiling": _number("highest healthy share of bad calls", least=1e-9, below=1),
    "judge": Key(kind="section", says="how often the verdicts are right; the rate is corrected", of=JUDGE),
    "above_ms": _number("bad is a field in seconds that exceeds this, milliseconds", above=0),
    "score_below": _number("bad is an evaluation's score under this"),
    "score_above": _number("bad is an evaluation's score over this"),
    "after_s": _number("silence of this length is an absence", above=0, most=LONGEST_WINDOW_S),
    "consecutive": Key(kind="integer", says="literal run rule: so many bad calls in a row", least=1),
    "above_share": _number(
        "bad is a sample of tokens of which more than this share repeats", above=0, below=1
    ),
    "below_share": _number("bad is an answer shorter than this share of the usual one", above=0, below=1),
    "below_nats": _number("bad is a log-probability by more than this under the usual one, nats", above=0),
    "cause": Key(
        kind="choice",
        says="failure mode that the route's attribution names as the cause of its symptoms",
        choices=tuple(filter(None, get_args(Cause))),
    ),
    "design_effect": _number("variance inflation by dependence; 1 is independent calls", least=1, most=1e4),
    "min_samples": Key(kind="integer", says="fewest records on which a window is judged", least=1),
    "by": Key(kind="names", says="text fields; each of their values is judged beside the whole", filled=True),
    "given": Key(
        kind="text",
        says="what was asked, or of whom, such as tenant; token counts are compared at equal values of it",
    ),
    "unless_alone": Key(
        kind="text", says="text field, such as tenant; bad calls of one of its values alone do not count"
    ),
    "reference": Key(kind="section", says="what a divergence is measured from", of=REFERENCE),
    "where": Key(
        kind="filter",
        says="fields and the value, or values, that a call must have to be seen; with `route`, the routes on "
        "which the predicate is judged at all",
    ),
}

AT_LEAST: Keys = {
    "n": Key(kind="integer", says="how many of them", required=True, least=1),
    "of": Key(kind="names", says="predicates", required=True, filled=True),
}

CONDITION: Keys = {
    "all": Key(kind="names", says="predicates that all hold", filled=True),
    "any": Key(kind="names", says="predicates of which one holds", filled=True),
    "at_least": Key(kind="section", says="predicates of which so many hold", of=AT_LEAST),
}

MODE: Keys = {
    "when": Key(
        kind="condition",
        says="predicate that tells the mode, or all, any or at_least of several",
        required=True,
        of=CONDITION,
    ),
    "mutes": Key(kind="names", says="modes that are symptoms of this one"),
    "severity": Key(
        kind="choice", says="act switches gateways, notice only says so", choices=get_args(Severity)
    ),
    "shadow": Key(kind="boolean", says="judged and audited, never acted on"),
    "hold_s": _number("how long the predicate holds before the mode does", least=0, most=LONGEST_WINDOW_S),
    "keep_s": Key(
        kind="number",
        says="least time active before the first attempt to revert",
        least=0,
        most=LONGEST_REVERT_S,
        rule="revert-too-slow",
    ),
    "on_expiry": Key(kind="choice", says="what a lapsed lease does to the scope", choices=get_args(OnExpiry)),
    "hold_max_s": _number("when a hold after a lapse ends, a day at most", above=0, most=MOST_HOLD_S),
}

FALLBACK: Keys = {
    "type": Key(kind="text", says="rule, retrieval, model or any word of your own"),
    "p99_ms": _number("its 99th percentile, milliseconds", required=True, above=0),
    "share": _number("its share of fallback traffic; all of them sum to 1", least=0, most=1),
}

ROW: Keys = {
    "mode": Key(kind="text", says="failure mode, * for any", required=True),
    "input_class": Key(kind="text", says="input class, * for the rest", required=True),
    "fallbacks": Key(kind="names", says="fallbacks, best first", required=True, filled=True),
}

_COUNT = Key(kind="integer", says="records", least=0)
_NATS = _number("nats", least=0)

CALIBRATED: Keys = {
    "made_for": Key(
        kind="text", says="what the predicate judged then; for anything else this counts no more"
    ),
    "records": Key(kind="integer", says="calls that it was learnt from", least=0),
    "design_effect": _number("variance inflation by dependence", least=1),
    "basis": Key(
        kind="choice",
        says="guaranteed: the ceiling bounds the rate and calls are independent",
        choices=get_args(Basis),
    ),
    "false_per_week": _number("false activations per week to expect", least=0),
    "tolerance_nats": _number("divergence that healthy traffic wanders by", least=0),
    "thresholds_nats": Key(kind="spans", says="window length, seconds: how far it may stray", entry=_NATS),
    "edges": Key(
        kind="numbers", says="bin edges, ascending", entry=_number("edge"), filled=True, nullable=True
    ),
    "categories": Key(kind="texts", says="values with a bin of their own", nullable=True),
    "reference": Key(kind="numbers", says="counts per bin", entry=_COUNT, filled=True, nullable=True),
    "smallest_detectable_nats": Key(
        kind="number", says="smallest divergence found with 99 % power", least=0, nullable=True
    ),
    "rate": _number("healthy share of bad calls", least=0, most=1),
    "ceiling": _number("upper limit of the healthy share", above=0, below=1),
    "run_length": _number("threshold in records for the wanted run between false alarms", above=1),
    "usable": Key(kind="boolean", says="whether healthy traffic keeps the contract's own ceiling"),
    "proposed_above_ms": Key(
        kind="number", says="a limit that healthy traffic keeps, milliseconds", above=0, nullable=True
    ),
    "smallest_detectable_rate": Key(
        kind="number", says="smallest share found with 99 % power", least=0, most=1, nullable=True
    ),
}

CALIBRATED_ROUTE: Keys = {
    "records_per_s": _number("usual rate of the route", least=0),
    "predicates": Key(kind="named", says="what was learnt, by predicate", of=CALIBRATED),
}

CALIBRATION: Keys = {
    "made_at": Key(kind="text", says="when, ISO 8601"),
    "made_from": Key(kind="texts", says="files that it was made from"),
    "records": Key(kind="integer", says="records read", least=0),
    "first_event_time": _number("least event time, Unix seconds", least=0),
    "last_event_time": _number("greatest event time, Unix seconds", least=0),
    "fleet_records_per_s": _number("mean rate of all routes together", above=0),
    "routes": Key(kind="named", says="what was learnt, by route", of=CALIBRATED_ROUTE),
}

CONTRACT: Keys = {
    "version": Key(kind="integer", says="version of this format", required=True),
    "defaults": Key(kind="section", says="values for the whole contract", of=DEFAULTS),
    "routes": Key(kind="list", says="service levels and input classes; the first match wins", of=ROUTE),
    "predicates": Key(kind="named", says="what is judged", of=PREDICATE),
    "modes": Key(kind="named", says="failure modes; their order is their precedence", of=MODE),
    "fallbacks": Key(kind="named", says="what a gateway can do instead of the primary", of=FALLBACK),
    "matrix": Key(kind="list", says="failure mode and input class to fallbacks", of=ROW),
    "calibration": Key(kind="section", says="written by detector calibrate", of=CALIBRATION),
}

# Which keys of a predicate its type reads; the rest of them read the same for every type.
READ_BY_TYPE: dict[str, frozenset[str]] = {
    "divergence": frozenset(
        {"field", "threshold_nats", "window_s", "by", "given", "reference", "min_samples"}
    ),
    "rate": frozenset(
        {
            "field",
            "evaluation",
            "score_below",
            "score_above",
            "ceiling",
            "window_s",
            "judge",
            "unless_alone",
        }
    ),
    "exceedance": frozenset(
        {
            "field",
            "evaluation",
            "above_ms",
            "score_below",
            "score_above",
            "ceiling",
            "consecutive",
            "window_s",
        }
    ),
    "absence": frozenset({"after_s"}),
    "attribution": frozenset({"cause"}),
    "repetition": frozenset({"field", "above_share", "ceiling"}),
    "shortfall": frozenset({"field", "below_share", "below_nats", "ceiling"}),
}
READ_BY_ALL = frozenset({"type", "method", "design_effect", "where"})
# Keys that only some methods of a type read. A drift detector's `window_s` is how long a detection holds.
_DRIFT_DETECTORS = frozenset({"adwin", "kswin", "page_hinkley"})
READ_BY_METHOD: dict[tuple[str, str], frozenset[str]] = {
    ("rate", "window_s"): _DRIFT_DETECTORS | {"literal"},
    ("exceedance", "window_s"): _DRIFT_DETECTORS,
    ("rate", "judge"): frozenset({"default"}),
    ("exceedance", "consecutive"): frozenset({"literal"}),
    ("exceedance", "above_ms"): _DRIFT_DETECTORS | {"default", "literal"},
    ("exceedance", "ceiling"): _DRIFT_DETECTORS | {"default", "literal"},
    ("divergence", "by"): frozenset({"default"}),
    ("divergence", "given"): frozenset({"default"}),
    ("divergence", "reference"): frozenset({"default"}),
    ("divergence", "min_samples"): frozenset({"default"}),
    ("rate", "unless_alone"): frozenset({"default"}),
    **{(kind, "design_effect"): frozenset({"default"}) for kind in ("rate", "exceedance", "divergence")},
}
