"""What a predicate can judge: the fields of a telemetry record by the type of their values."""

from typing import Any, Literal

import msgspec.inspect

from topics.telemetry import TelemetryRecord

FieldKind = Literal["number", "boolean", "text", "feature", "list", "identity"]

FEATURES = "features."
_IDENTITY = frozenset({"event_time", "route", "request_id"})  # they say which call it is, not how it went
ERROR = "error"  # text on the wire; as a rate it is "the call failed"
_KINDS: dict[type, FieldKind] = {
    msgspec.inspect.FloatType: "number",
    msgspec.inspect.IntType: "number",
    msgspec.inspect.BoolType: "boolean",
    msgspec.inspect.StrType: "text",
    msgspec.inspect.ListType: "list",
}
# What each type of predicate takes; a feature may be a number or text, which only its records tell.
TAKEN: dict[str, tuple[FieldKind, ...]] = {
    "divergence": ("number", "text", "feature", "list"),
    "rate": ("boolean",),
    "exceedance": ("number", "feature"),
    "repetition": ("list",),
}
# A shortfall is of an answer, given its question: which key says how much, by field.
SHORTFALLS = {"output_tokens": "below_share", "logprob_mean": "below_nats"}


def _kind(declared: Any) -> FieldKind | None:
    if isinstance(declared, msgspec.inspect.Metadata):
        return _kind(declared.type)
    if isinstance(declared, msgspec.inspect.UnionType):
        return next((kind for option in declared.types if (kind := _kind(option)) is not None), None)
    return _KINDS.get(type(declared))


def _kinds() -> dict[str, FieldKind]:
    record = msgspec.inspect.type_info(TelemetryRecord)
    assert isinstance(record, msgspec.inspect.StructType)
    kinds = {field.name: kind for field in record.fields if (kind := _kind(field.type)) is not None}
    return kinds | dict.fromkeys(_IDENTITY, "identity")


# No record carries it: seconds per output token after the first, from latency_s, ttft_s and output_tokens.
DERIVED: dict[str, FieldKind] = {"tpot_s": "number"}
KINDS: dict[str, FieldKind] = _kinds() | DERIVED


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
