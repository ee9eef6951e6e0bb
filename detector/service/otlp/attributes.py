"""Reads attributes by their names; emitters have several for one thing, and the first that is set counts."""

import math
from collections.abc import Iterable

from detector.service.otlp.model import Attributes, Value
from topics.errors import DecodeError


def text(attributes: Attributes, names: Iterable[str]) -> str:
    """The first of these that is not empty; "" where none is.

    Raises:
        DecodeError: it is no text.
    """
    for name in names:
        value = attributes.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise _wrong(name, "text", value)
        return value
    return ""


def number(attributes: Attributes, names: Iterable[str]) -> float | None:
    """The first of these that is set; None where none is.

    Raises:
        DecodeError: it is no finite number.
    """
    for name in names:
        value = attributes.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _wrong(name, "a finite number", value)
        return float(value)
    return None


def count(attributes: Attributes, names: Iterable[str]) -> int | None:
    """The first of these that is set, as a whole number; some emitters write 12.0.

    Raises:
        DecodeError: it is no whole number.
    """
    for name in names:
        value = attributes.get(name)
        if value is None:
            continue
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong(name, "a whole number", value)
        return value
    return None


def flag(attributes: Attributes, name: str) -> bool:
    """Whether it is set and true.

    Raises:
        DecodeError: it is neither true nor false.
    """
    value = attributes.get(name, False)
    if not isinstance(value, bool):
        raise _wrong(name, "true or false", value)
    return value


def first_text(attributes: Attributes, name: str) -> str:
    """The first text of a list, or the text itself; "" where there is none.

    Raises:
        DecodeError: it is something else.
    """
    value = attributes.get(name, ())
    if isinstance(value, tuple):
        value = value[0] if value else ""
    if not isinstance(value, str):
        raise _wrong(name, "a list of texts", value)
    return value


def _wrong(name: str, expected: str, value: Value) -> DecodeError:
    """By its type only: what stands there may be anything."""
    said = f"{value}" if isinstance(value, float) else type(value).__name__
    return DecodeError(f"$.attributes['{name}']", f"expected {expected}, got {said}")
