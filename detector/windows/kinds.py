"""What the values of each telemetry field are in Python."""

import msgspec.inspect

from topics.telemetry import TelemetryRecord

_TYPES: dict[type, type] = {
    msgspec.inspect.IntType: int,
    msgspec.inspect.FloatType: float,
    msgspec.inspect.BoolType: bool,
    msgspec.inspect.StrType: str,
    msgspec.inspect.ListType: list,
}


def _kinds() -> dict[str, type]:
    kinds: dict[str, type] = {}
    for field in msgspec.inspect.type_info(TelemetryRecord).fields:  # type: ignore[attr-defined]  # a struct has them
        for described in getattr(field.type, "types", (field.type,)):
            member = getattr(described, "type", described)  # a description wraps the type proper
            if type(member) in _TYPES:
                kinds[field.name] = _TYPES[type(member)]
    return kinds


# The last ones no record carries: they follow from others.
KINDS = _kinds() | {"tpot_s": float, "ttft_unqueued_s": float}
