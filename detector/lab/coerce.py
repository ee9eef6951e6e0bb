"""From the cells of a file to the field values of a `TelemetryRecord`.

Text cells (csv) are read by the type of the field they go to; an empty one is missing, and so is one that
says so in words (`nan`, `NA`, `N/A`, `None`, `null`), but where the field is required. Typed cells (frames,
parquet, jsonl) keep their type, but for whole floats where a count belongs (a column of integers with gaps
is stored as floats), 0 and 1 where a flag belongs (likewise) and numbers where a name belongs (status codes,
ids). Decimals are numbers like others. NaN is missing, and so is text that says nothing where no text
belongs: tables of mixed types are exported so. Infinity is refused everywhere.
"""

import math
import types
import typing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from topics.errors import DecodeError
from topics.telemetry import TelemetryRecord
from topics.types import EventTime

TimeUnit = Literal["s", "ms", "us", "iso"]
DurationUnit = Literal["s", "ms", "us"]
FEATURE = "features."

_TRUE = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "0.0"})
# What pandas, R, Python and databases write for nothing. In names too: an `error` of `None` is none.
_NOTHING = frozenset({"nan", "na", "n/a", "none", "null"})
_REQUIRED = frozenset(each.name for each in msgspec.structs.fields(TelemetryRecord) if each.required)
_RANGE = get_args(EventTime)[1]
PER_SECOND: dict[str, float] = {"s": 1.0, "ms": 1e3, "us": 1e6}


def _kind(annotation: Any) -> str:
    """Name of the base type of a field: `float`, `int`, `bool`, `str`, `list` or `dict`."""
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) in (types.UnionType, typing.Union):
        return next(_kind(part) for part in get_args(annotation) if part is not types.NoneType)
    return str((get_origin(annotation) or annotation).__name__)


def kinds_of(record: type[msgspec.Struct]) -> dict[str, str]:
    """Field -> name of its base type, of a record of the wire contract."""
    hints = typing.get_type_hints(record, include_extras=True)
    return {name: _kind(annotation) for name, annotation in hints.items()}


FIELD_KINDS = kinds_of(TelemetryRecord)
DURATIONS = tuple(name for name in FIELD_KINDS if name.endswith("_s"))


def is_field(name: str) -> bool:
    """Whether a column may be mapped to `name`: a field of the record, or `features.<name>`."""
    if name.startswith(FEATURE):
        return len(name) > len(FEATURE)
    return name in FIELD_KINDS and name != "features"


def _number(text: str, path: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise DecodeError(path, f"expected a number, got {text[:40]!r}") from None
    if not math.isfinite(value):
        raise DecodeError(path, f"expected a finite number, got {text[:40]!r}")
    return value


def _whole(text: str, path: str) -> int:
    try:
        return int(text)
    except ValueError:
        value = _number(text, path)
    if value != int(value):
        raise DecodeError(path, f"expected a whole number, got {text[:40]!r}")
    return int(value)


def _flag(text: str, path: str) -> bool:
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise DecodeError(path, f"expected true or false, got {text[:40]!r}")


def _name(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DecodeError(path, "expected UTF-8 text") from None
    return text


def _whole_list(text: str, path: str) -> list[int]:
    return [_whole(part, path) for part in text.strip("[]").replace(",", " ").split()]


def _feature(text: str, path: str) -> float | str:
    try:
        return _number(text, path)
    except DecodeError:
        if text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise
        return _name(text, path)


_FROM_TEXT: dict[str, Callable[[str, str], Any]] = {
    "float": _number,
    "int": _whole,
    "bool": _flag,
    "str": _name,
    "list": _whole_list,
}


def says_nothing(kind: str, value: Any) -> bool:
    """Whether a typed cell stands for "not measured" in a field of a kind, as of `kinds_of`.

    >>> says_nothing("int", ""), says_nothing("float", "NaN"), says_nothing("str", ""), says_nothing("int", 0)
    (True, True, False, False)
    """
    if isinstance(value, str):
        return kind != "str" and ((text := value.strip().lower()) == "" or text in _NOTHING)
    return value is None or (isinstance(value, float) and math.isnan(value))


def from_text(field: str, cell: str) -> Any:
    """Read a text cell as the type of `field`; None if it is empty, or says that nothing was measured.

    Raises:
        DecodeError: the text is not of that type; `path` names the field.

    >>> from_text("input_tokens", "12.0"), from_text("hallucinated", "no"), from_text("ttft_s", " ")
    (12, False, None)
    """
    text = cell.strip()
    if not text or (field not in _REQUIRED and text.lower() in _NOTHING):
        return None
    if field.startswith(FEATURE):
        return _feature(text, f"$.{field}")
    return _FROM_TEXT[FIELD_KINDS[field]](text, f"$.{field}")


def from_value(field: str, value: Any) -> Any:
    """Fit a typed cell to `field`; None if it says nothing; what does not fit is left to the record's checks.

    Raises:
        DecodeError: an infinite number.

    >>> from_value("input_tokens", 12.0), from_value("error", 429.0), from_value("latency_s", "fast")
    (12, '429', 'fast')
    >>> from_value("hallucinated", 1.0), from_value("hallucinated", 2)
    (True, 2)
    """
    if says_nothing(FIELD_KINDS.get(field, "str"), value):
        return None
    if field == "features":
        try:
            features = dict(value)
        except (TypeError, ValueError):
            raise DecodeError("$.features", f"expected an object, got {type(value).__name__}") from None
        named = {name: from_value(f"{FEATURE}{name}", feature) for name, feature in features.items()}
        return {name: feature for name, feature in named.items() if feature is not None}
    if isinstance(value, Decimal):
        value = _plain(value)
    if FIELD_KINDS.get(field) == "bool" and isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, float):
        if math.isnan(value):  # a Decimal may be
            return None
        if math.isinf(value):
            raise DecodeError(f"$.{field}", f"expected a finite number, got {value}")
        if field.startswith(FEATURE):
            return value
        kind = FIELD_KINDS[field]
        if kind in ("int", "str") and value == int(value):
            value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and FIELD_KINDS.get(field) == "str":
        return str(value)
    return value


def _plain(value: Decimal) -> int | float:
    """A whole decimal keeps all of its digits: it may be an id."""
    whole = value.is_finite() and value == value.to_integral_value()
    return int(value) if whole else float(value)


def to_seconds(values: dict[str, Any], unit: DurationUnit) -> None:
    """Turn the durations among field values, in `unit`, into seconds; what is no number is left as it is.

    Raises:
        DecodeError: a number without end.

    >>> values = {"latency_s": 812, "ttft_s": "fast", "input_tokens": 12}
    >>> to_seconds(values, "ms")
    >>> values
    {'latency_s': 0.812, 'ttft_s': 'fast', 'input_tokens': 12}
    """
    for name in DURATIONS:
        value = values.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                values[name] = value / PER_SECOND[unit]
            except OverflowError:
                raise DecodeError(f"$.{name}", "expected a duration, got a number without end") from None


def time_of(value: Any, unit: TimeUnit, start: float | None) -> float:
    """Unix seconds of a time cell.

    Args:
        value: number or text in `unit`, or a datetime, or a duration since the start, which need no unit. A
            datetime or ISO text without a zone is UTC.
        unit: of numbers and text.
        start: Unix seconds to add to relative times; None if times are absolute.

    Raises:
        DecodeError: not a time in that unit, or one that `start` would be added to though it is absolute.

    >>> time_of("1970-01-02T00:00:00Z", "iso", None), time_of("1500", "ms", 100.0)
    (86400.0, 101.5)
    """
    path = "$.event_time"
    if unit == "iso" and isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise DecodeError(path, f"expected an ISO 8601 time, got {value[:40]!r}") from None
    if isinstance(value, datetime):
        if start is not None:
            raise _absolute(value)
        return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
    if unit == "iso":
        raise DecodeError(path, f"expected an ISO 8601 time, got {type(value).__name__}")
    if isinstance(value, timedelta):
        if start is None:
            raise DecodeError(path, "expected a time, got a duration: say with --start what it counts from")
        return start + value.total_seconds()
    if isinstance(value, str):
        value = _number(value.strip(), path)
    if isinstance(value, Decimal):
        value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DecodeError(path, f"expected a number, got {type(value).__name__}")
    try:
        seconds = value / PER_SECOND[unit]
    except OverflowError:
        raise DecodeError(path, "expected a time, got a number without end") from None
    if start is None:
        return seconds
    if in_range(seconds):
        raise _absolute(value)
    return start + seconds


def _absolute(value: Any) -> DecodeError:
    said = f"expected a time relative to the start, got {value}, which is absolute: say no --start"
    return DecodeError("$.event_time", said)


def in_range(seconds: float) -> bool:
    """Whether Unix seconds lie in the years 2000 to 2100, as those of a record have to."""
    return bool(_RANGE.ge <= seconds < _RANGE.lt)
