"""Slices of real traffic, see ORIGIN.md."""

import csv
import gzip
from importlib import resources
from typing import Any

from detector.lab.coerce import FEATURE, from_text

Call = dict[str, Any]  # fields of a TelemetryRecord, without route and time


def load_slice(name: str) -> dict[str, list[Call]]:
    """Read the slice `name`: part (`healthy`, `fault`) -> calls in their order.

    Raises:
        FileNotFoundError: there is no such slice.
    """
    packed = resources.files(__name__).joinpath(f"{name}.csv.gz").read_bytes()
    parts: dict[str, list[Call]] = {}
    for row in csv.DictReader(gzip.decompress(packed).decode().splitlines()):
        part = parts.setdefault(row.pop("part"), [])
        call: Call = {}
        for field, cell in row.items():
            value = from_text(field, cell)
            if value is None:
                continue
            if field.startswith(FEATURE):
                call.setdefault("features", {})[field.removeprefix(FEATURE)] = value
            else:
                call[field] = value
        part.append(call)
    return parts
