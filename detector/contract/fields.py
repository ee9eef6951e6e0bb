"""What a predicate can judge: the fields of a telemetry record by the type of their values."""

from typing import Literal

from detector.windows import kinds

FieldKind = Literal["number", "boolean", "text", "feature", "list", "identity"]

FEATURES = "features."
ROUTE = "route"  # a predicate may be judged on some routes alone
_IDENTITY = frozenset({"event_time", ROUTE, "request_id"})  # they say which call it is, not how it went
ERROR = "error"  # text on the wire; as a rate it is "the call failed"
_KINDS: dict[type, FieldKind] = {int: "number", float: "number", bool: "boolean", str: "text", list: "list"}
KINDS: dict[str, FieldKind] = {name: _KINDS[kind] for name, kind in kinds.KINDS.items()}
KINDS |= dict.fromkeys(_IDENTITY, "identity")
# What each type of predicate takes; a feature may be a number or text, which only its records tell.
TAKEN: dict[str, tuple[FieldKind, ...]] = {
    "divergence": ("number", "text", "feature", "list"),
    "rate": ("boolean",),
    "exceedance": ("number", "feature"),
    "repetition": ("list",),
}
ASKED = ("tenant", "template", "input_class")
# What token counts may be compared at equal values of: what was asked, of whom; never what came of it.
GIVEN = {
    "output_tokens": (*ASKED, "input_tokens", "deployment", "model", "provider"),
    "input_tokens": ASKED,
}
# A shortfall is of an answer, given its question: which key says how much, by field.
SHORTFALLS = {"output_tokens": "below_share", "logprob_mean": "below_nats"}


def field_kind(name: str) -> FieldKind | None:
    """Type of the values of a field or of `features.<name>`; None if there is no such field."""
    if name.startswith(FEATURES):
        return "feature" if len(name) > len(FEATURES) else None
    return KINDS.get(name)


def fits(name: str, predicate_type: str) -> bool:
    """Whether a predicate of this type can judge the field."""
    if predicate_type == "shortfall":
        return name in SHORTFALLS
    return field_kind(name) in TAKEN.get(predicate_type, ()) or (name == ERROR and predicate_type == "rate")


def fitting(predicate_type: str) -> list[str]:
    """All fields that a predicate of this type can judge."""
    return [name for name in KINDS if fits(name, predicate_type)]
