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

T = TypeVar("T")
_PATH = re.compile(r"^(?P<what>.*) - at (?:`key` in )?`(?P<path>[^`]*)`$", re.DOTALL)
_ANY_KEY = "[...]"  # how msgspec names the value of some key of an object whose keys are free
_MOST_KEYS = 256
_encoder = msgspec.json.Encoder()


def encode(record: msgspec.Struct) -> bytes:
    """Encode a record as compact JSON; defaults are left out where the struct says so."""
    return _encoder.encode(record)


def decoder(kind: type[T]) -> Callable[[bytes | None], T]:
    """Build the decoder of one record type.

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
                raise DecodeError(_with_key(decode, data, found["path"]), found["what"]) from None
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
            raise no_json(data, error) from None

    return decode_or_explain


def no_json(data: bytes | None, error: Exception) -> DecodeError:
    """Explain bytes that are no JSON; NaN and infinities are none, but where they stand can be told."""
    try:
        document = json.loads(data or b"")
    except (ValueError, RecursionError):
        return DecodeError("$", str(error))
    nodes: list[tuple[str, Any]] = [("$", document)]
    while nodes:
        path, node = nodes.pop()
        if isinstance(node, dict):
            nodes += [(f"{path}.{key}", value) for key, value in node.items()]
        elif isinstance(node, list):
            nodes += [(f"{path}[{index}]", value) for index, value in enumerate(node)]
        elif isinstance(node, float) and not math.isfinite(node):
            return DecodeError(path, f"expected a finite number, got {node}")
    return DecodeError("$", str(error))


def _with_key(decode: Callable[[Any], Any], data: bytes | None, path: str) -> str:
    """Name the key that a path leaves open: the first one that is refused by itself."""
    head, free, _ = path.partition(_ANY_KEY)
    name = head.removeprefix("$.")
    if not free or "." in name:
        return path
    try:
        document = json.loads(data or b"")
    except (ValueError, RecursionError):  # behind the fault it may be no JSON any more
        return path
    node = document.get(name) if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(node, dict):
        return path
    for key, value in list(node.items())[:_MOST_KEYS]:
        try:
            decode(json.dumps(document | {name: {key: value}}).encode())
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            found = _PATH.match(str(error))
            if found and found["path"] == path:
                return path.replace(_ANY_KEY, f".{key}", 1)
    return path
