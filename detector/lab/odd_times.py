"""What is probably meant by a time that no call can have ended at, or that is none in its unit."""

from datetime import datetime
from typing import Any, get_args

from detector.lab.coerce import PER_SECOND, TimeUnit, in_range, time_of
from topics.errors import DecodeError

_NANOSECONDS = 1e9
_LONGEST_S = 1e9  # of times that count from a start: thirty years
_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}


def read_time(cell: Any, unit: TimeUnit, start: float | None) -> float:
    """Unix seconds of a time cell, as of `time_of`, and within the years of a call.

    Raises:
        DecodeError: it is none; the message says which option would make one of it, if one would.

    >>> read_time("2023-11-14T22:13:20Z", "iso", None)
    1700000000.0
    """
    try:
        seconds = time_of(cell, unit, start)
    except DecodeError as error:
        raise DecodeError(error.path, error.expected + _other_kind(cell, unit, start)) from None
    check_range(cell, seconds, unit, start)
    return seconds


def _other_kind(cell: Any, unit: TimeUnit, start: float | None) -> str:
    """Text where numbers were told of, or numbers where text was."""
    if unit != "iso":
        if not isinstance(cell, str) or _read(cell.strip(), "iso") is None:
            return ""
        return f"; it is ISO 8601: say --time-unit iso{'' if start is None else ' and no --start'}"
    number = cell.strip() if isinstance(cell, str) else cell
    found = (other for other in PER_SECOND if in_range(_read(number, other) or 0.0))  # type: ignore[arg-type]
    return next((f"; it is in {_UNITS[other]}: say --time-unit {other}" for other in found), "")


def _read(cell: Any, unit: TimeUnit) -> float | None:
    try:
        return time_of(cell, unit, None)
    except DecodeError:
        return None


def check_range(cell: Any, seconds: float, unit: TimeUnit, start: float | None) -> None:
    """Refuse a time outside 2000 to 2100, and say which option would make one of it.

    Args:
        cell: as it stands in the file; `seconds`: what was read from it, Unix seconds.
        unit: that it was read in; `start`: what was added to it.

    Raises:
        DecodeError: it is no time of a call.

    >>> check_range(1.7e9, 1.7e9, "s", None)
    """
    if in_range(seconds):
        return
    said = f"expected a time of the years 2000 to 2100, got {str(cell)[:40]}"
    if start is not None:
        raise DecodeError(
            "$.event_time", f"{said} {_UNITS[unit]} after the start: is it another --time-unit?"
        )
    advice = "" if unit == "iso" or isinstance(cell, datetime) else _advice(seconds, unit)
    raise DecodeError("$.event_time", said + advice)


def _advice(seconds: float, unit: TimeUnit) -> str:
    number = seconds * PER_SECOND[unit]
    for other in get_args(TimeUnit):
        if other in PER_SECOND and in_range(number / PER_SECOND[other]):
            return f"; in {_UNITS[other]} it is one: say --time-unit {other}"
    if in_range(number / _NANOSECONDS):
        return "; in nanoseconds it is one: divide it by 1,000 and say --time-unit us"
    relative = "; if times count from when the file began, say when that was with --start"
    return relative if 0 <= seconds < _LONGEST_S else ""
