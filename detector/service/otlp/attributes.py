"""Reads attributes by their names: of several for one thing the first that can be used counts.

What plainly means something is taken whatever its type. Nothing is raised: one odd value must not cost the
call, least of all one that failed.
"""

import math
import re
from collections.abc import Iterable

from detector.service.otlp.model import Attributes, Value
from topics.errors import DecodeError
from topics.types import LONGEST_NAME, MOST_COUNT

LeftOut = list[DecodeError]  # what could not be used, or not all of it, and what was expected in its place

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"\d{1,16}(\.0+)?", re.ASCII)
_LONGEST_NUMBER = 40  # characters
_FLAGS = {"true": True, "false": False}


def text(attributes: Attributes, names: Iterable[str], left_out: LeftOut) -> str:
    """The first of these that is a text and not empty, or a number, as text; "" where none is."""
    for name in names:
        value = attributes.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, str):
            return value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        left_out.append(_wrong(name, "text", value))
    return ""


def name(attributes: Attributes, names: Iterable[str], left_out: LeftOut) -> str:
    """As `text`, but one that is too long is passed over: cut, it would be the name of something else."""
    for each in names:
        found = text(attributes, (each,), left_out)
        if found and len(found) <= LONGEST_NAME:
            return found
        if found:
            left_out.append(_wrong(each, f"at most {LONGEST_NAME} characters", len(found)))
    return ""


def label(attributes: Attributes, names: Iterable[str], left_out: LeftOut) -> str:
    """As `text`, cut to what a label may have."""
    found = text(attributes, names, left_out)
    return found if len(found) <= LONGEST_NAME else cut(found, left_out)


def cut(found: str, left_out: LeftOut) -> str:
    """As much of it as a label may have."""
    if len(found) > LONGEST_NAME:
        left_out.append(DecodeError("$.attributes", f"expected labels of at most {LONGEST_NAME} characters"))
    return found[:LONGEST_NAME]


def number(
    attributes: Attributes, names: Iterable[str], left_out: LeftOut, *, least: float = -math.inf
) -> float | None:
    """The first of these that is a finite number, or one in a text; None where none is."""
    for each in names:
        value = attributes.get(each)
        if value is None:
            continue
        found = value
        if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and _NUMBER.fullmatch(value):
            found = float(value)
        if isinstance(found, bool) or not isinstance(found, int | float):
            pass
        elif math.isfinite(found) and found >= least:
            return float(found)
        left_out.append(_wrong(each, "a finite number" if least < 0 else "a number from 0 on", value))
    return None


def count(attributes: Attributes, names: Iterable[str], left_out: LeftOut) -> int | None:
    """The first of these that is a count; some emitters write 12.0 or "12"."""
    for each in names:
        value = attributes.get(each)
        if value is None:
            continue
        found = value
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            found = int(value.partition(".")[0])
        elif isinstance(value, float) and value.is_integer():
            found = int(value)
        if isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= MOST_COUNT:
            return found
        left_out.append(_wrong(each, "a count", value))
    return None


def flag(attributes: Attributes, name: str, left_out: LeftOut) -> bool:
    """Whether it is set and true, be it as text."""
    value = attributes.get(name, False)
    if isinstance(value, bool):
        return value
    found = _FLAGS.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        left_out.append(_wrong(name, "true or false", value))
    return found or False


def first_text(attributes: Attributes, name: str, left_out: LeftOut) -> str:
    """The first text of a list, or the text itself, cut to what a label may have; "" where there is none."""
    value = attributes.get(name, ())
    if isinstance(value, tuple):
        value = value[0] if value else ""
    return label({name: value}, (name,), left_out)


def _wrong(name: str, expected: str, value: Value) -> DecodeError:
    """By its type, or its value where that is a number: what stands there may be anything."""
    said = f"{value}" if isinstance(value, int | float) else type(value).__name__
    return DecodeError(f"$.attributes['{name}']", f"expected {expected}, got {said}")
