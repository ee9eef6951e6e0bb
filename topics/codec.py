"""JSON bytes to structs and back; decoding raises nothing but `DecodeError`.

Unknown fields are skipped and new fields carry defaults, so either side may be the older one.
"""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from topics.errors import DecodeError

T = TypeVar("T")
_PATH = re.compile(r"^(?P<what>.*) - at (?:`key` in )?`(?P<path>[^`]*)`$", re.DOTALL)
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
                raise DecodeError(found["path"], found["what"]) from None
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
            raise DecodeError("$", str(error)) from None

    return decode_or_explain
