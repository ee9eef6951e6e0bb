"""JSON Schemas of the records, for clients in other languages and for editors."""

from typing import Any

import msgspec

from topics.control import Ack, ControlRecord, Override, OwnerRecord
from topics.telemetry import Evaluation, TelemetryRecord

RECORDS: dict[str, type[msgspec.Struct]] = {
    "telemetry": TelemetryRecord,
    "evaluation": Evaluation,
    "control": ControlRecord,
    "owner": OwnerRecord,
    "override": Override,
    "ack": Ack,
}


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the record called `name`.

    Raises:
        KeyError: no record of that name.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": RECORDS[name].__name__,
    } | msgspec.json.schema(RECORDS[name])
