"""JSON bytes to structs and back; decoding raises nothing but `DecodeError`.

Unknown fields are skipped and new fields carry defaults, so either side may be the older one.
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from topics.errors import DecodeError
from topics.types import END_OF_TIME, FIRST_TIME

T = TypeVar("T")
_Node = tuple[Any, str, Any]  # the node above, the step from there, the value
_PATH = re.compile(r"^(?P<what>.*) - at (?:`key` in )?`(?P<path>[^`]*)`$", re.DOTALL)
_ANY_KEY = "[...]"  # how msgspec names the value of some key of an object whose keys are free
# How msgspec says that a number is no time; no other field has these limits.
_NO_TIME = (f"Expected `float` >= {FIRST_TIME:.1f}", f"Expected `float` < {END_OF_TIME:.1f}")
_UNITS = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
_MOST_KEYS = 256
_LONGEST_EXPLAINED = 1 << 16  # bytes: what explains a fault must cost no more than the record did
_LONGEST_PATH = 300  # characters
_encoder = msgspec.json.Encoder()


def encode(record: msgspec.Struct) -> bytes:
    """Encode a record as compact JSON; defaults are left out where the struct says so."""
    return _encoder.encode(record)


def decoder(kind: type[T], *, explain: bool = True) -> Callable[[bytes | None], T]:
    """Build the decoder of one record type.

    Args:
        kind: the struct.
        explain: look for the place of a fault that the decoder does not name, which takes some thousand times
            as long as to find that there is one.

    Returns:
        A function from bytes to a record, which raises `DecodeError` and nothing else, whatever
        the bytes: truncated, not UTF-8, nested without end, of another type, or None (a tombstone).
    """
    decode = msgspec.json.Decoder(kind).decode

    def decode_or_explain(data: bytes | None) -> T:
        try:
            return decode(data)  # type: ignore[arg-type]  # None is refused by msgspec with a TypeError
        except msgspec.ValidationError as error:
            found = _PATH.match(str(error))
            if found:
                path, what = found["path"], found["what"]
                if explain:
                    path = _with_key(decode, data, path)
                    what = _no_time(data, path) if what in _NO_TIME else what
                raise DecodeError(path, what) from None
            raise DecodeError("$", str(error)) from None
        except UnicodeDecodeError as error:
            raise DecodeError(
                "$", f"expected UTF-8 text, got byte 0x{error.object[error.start]:02x}"
            ) from None
        except RecursionError:
            raise DecodeError("$", "expected nesting that a decoder can follow, got more") from None
        except TypeError:
            raise DecodeError("$", f"expected a JSON object, got {type(data).__name__}") from None
        except ValueError as error:
            raise (no_json(data, error) if explain else DecodeError("$", str(error))) from None

    return decode_or_explain


def no_json(data: bytes | None, error: Exception) -> DecodeError:
    """Explain bytes that are no JSON; NaN and infinities are none, but where they stand can be told."""
    nodes: list[_Node] = [(None, "", _document(data))]
    while nodes:
        node = nodes.pop()
        value = node[2]
        if isinstance(value, dict):
            nodes += [(node, f".{key}", each) for key, each in value.items()]
        elif isinstance(value, list):
            nodes += [(node, f"[{index}]", each) for index, each in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            return DecodeError(_path(node), f"expected a finite number, got {value}")
    return DecodeError("$", str(error))


def _document(data: bytes | None) -> Any:
    """Bytes as Python reads them, NaN and all; None where it cannot, or where it would take long."""
    if data is None or len(data) > _LONGEST_EXPLAINED:
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _no_time(data: bytes | None, path: str) -> str:
    """Say what a number is instead of a time, by the unit in which it would be one."""
    said = "no Unix time in seconds of the years 2000 to 2100"
    document = _document(data)
    number = document.get(path.removeprefix("$.")) if isinstance(document, dict) else None
    if not isinstance(number, int | float):
        return said
    for unit, per_second in _UNITS.items():
        if FIRST_TIME <= number / per_second < END_OF_TIME:
            return f"{said}: {number} is probably in {unit}"
    return said


def _path(node: "_Node | None") -> str:
    parts = []
    while node is not None:
        parts.append(node[1])
        node = node[0]
    return f"${_shown(''.join(reversed(parts)))}"


def _shown(text: str) -> str:
    """Keys may be long, and half of a surrogate pair, which no terminal takes."""
    plain = text.encode("utf-8", "backslashreplace").decode()
    return plain if len(plain) <= _LONGEST_PATH else f"{plain[:_LONGEST_PATH]}..."


def _with_key(decode: Callable[[Any], Any], data: bytes | None, path: str) -> str:
    """Name the key that a path leaves open: the first one whose value is refused by itself."""
    head, free, _ = path.partition(_ANY_KEY)
    name = head.removeprefix("$.")
    document = _document(data) if free else None
    node = document.get(name) if isinstance(document, dict) else None
    if not isinstance(node, dict):
        return path
    for key, value in list(node.items())[:_MOST_KEYS]:
        if isinstance(value, float) and not math.isfinite(value):  # it was 1e999, which nothing writes again
            return path.replace(_ANY_KEY, f".{_shown(key)}", 1)
        try:
            decode(json.dumps({name: {key: value}}).encode())
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            found = _PATH.match(str(error))
            if found and found["path"] == path:
                return path.replace(_ANY_KEY, f".{_shown(key)}", 1)
    return path
