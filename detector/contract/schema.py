"""JSON Schema of the contract file, from the table that the loader reads by.

It tells an editor about keys, types and ranges. What depends on several places (names that exist, the latency
envelope, the run rule) only `detector check` can tell.
"""

from typing import Any

from detector.contract.fields import ROUTE
from detector.contract.grammar import CONTRACT, VERSION, Key, Keys
from topics.types import LONGEST_NAME

_BOUNDS = {"above": "exclusiveMinimum", "least": "minimum", "below": "exclusiveMaximum", "most": "maximum"}
_TEXT = {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME}


def contract_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a contract file, version 1."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Contract",
        "description": "What to watch, what counts as failing, and what to do then.",
    } | _mapping(CONTRACT)
    schema["properties"]["version"] = {"const": VERSION, "description": CONTRACT["version"].says}
    schema["properties"]["modes"]["minProperties"] = 1
    schema["required"] = sorted({*schema["required"], "modes"})
    return schema


def _mapping(keys: Keys) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _value(key) | {"description": key.says} for name, key in keys.items()},
    }
    required = [name for name, key in keys.items() if key.required]
    return schema | ({"required": required} if required else {})


def _value(key: Key) -> dict[str, Any]:
    schema = _present(key)
    return {"anyOf": [schema, {"type": "null"}]} if key.nullable else schema


def _present(key: Key) -> dict[str, Any]:
    match key.kind:
        case "number" | "integer":
            bounds = {
                word: getattr(key, name) for name, word in _BOUNDS.items() if getattr(key, name) is not None
            }
            # In JSON Schema 15.0 is an integer too, as it is to the loader.
            return {"type": "integer" if key.whole or key.kind == "integer" else "number"} | bounds
        case "boolean":
            return {"type": "boolean"}
        case "choice":
            return {"enum": list(key.choices)}
        case "text":
            return dict(_TEXT)
        case "names":
            return _list(key, dict(_TEXT)) | {"uniqueItems": True}
        case "list":
            return _list(key, _mapping(key.of or {}))
        case "section":
            return _mapping(key.of or {})
        case "condition":
            return _condition(key)
        case "filter":
            return _filter()
        case "named":
            names = {"minLength": 1, "maxLength": LONGEST_NAME, "not": {"const": "*"}}
            return {"type": "object", "propertyNames": names, "additionalProperties": _mapping(key.of or {})}
        case "texts":
            return _list(key, {"type": "string"})
        case "numbers" if key.entry:
            return _list(key, _value(key.entry))
        case "spans" if key.entry:
            seconds = {"pattern": "^0*[1-9][0-9]{0,3}$"}
            return {"type": "object", "propertyNames": seconds, "additionalProperties": _value(key.entry)}
    raise TypeError(f"no schema for a key of kind {key.kind!r}")


def _condition(key: Key) -> dict[str, Any]:
    return {"anyOf": [dict(_TEXT), _mapping(key.of or {}) | {"minProperties": 1, "maxProperties": 1}]}


def _filter() -> dict[str, Any]:
    value = {"anyOf": [dict(_TEXT), {"type": "boolean"}]}
    values = {"type": "array", "items": value, "minItems": 1}
    routes = {
        "anyOf": [dict(_TEXT), {"type": "array", "items": dict(_TEXT), "minItems": 1}],
        "description": "name, or names, of the routes on which the predicate is judged; all others have none",
    }
    return {
        "type": "object",
        "properties": {ROUTE: routes},
        "additionalProperties": {"anyOf": [*value["anyOf"], values]},
    }


def _list(key: Key, items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items} | ({"minItems": 1} if key.filled else {})
