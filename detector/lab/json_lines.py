"""Lines of JSON as programs write them into files: with NaN, and empty text where there is no value.

A topic refuses both. In a file they are what a table has for the calls that failed, so a row with them is no
garbage: it is the very one that counts.
"""

import re
from typing import Any, TypeVar

import msgspec

from detector.lab.coerce import kinds_of, says_nothing
from topics.codec import no_json
from topics.errors import DecodeError
from topics.telemetry import Evaluation, decode_evaluation

NO_OBJECT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Text first, so that what stands in it is left alone; one that never ends is taken whole, and in one go.
_TEXT_OR_NAN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|-?NaN', re.DOTALL)
_VERDICT_KINDS = kinds_of(Evaluation)
_decode = msgspec.json.Decoder(dict[str, Any]).decode

T = TypeVar("T", bound=msgspec.Struct)


def decode_object(line: bytes) -> dict[str, Any]:
    """Read a line as an object; NaN, which is no JSON but often in files, comes as None.

    Raises:
        DecodeError: it is none.

    >>> decode_object(b'{"ttft_s": NaN, "model": "NaN"}')
    {'ttft_s': None, 'model': 'NaN'}
    """
    try:
        return _decode(line)
    except NO_OBJECT as error:
        if b"NaN" not in line:
            raise no_json(line, error) from None
    plain = _TEXT_OR_NAN.sub(lambda found: found[0] if found[0][:1] == b'"' else b"null", line)
    try:
        return _decode(plain)
    except NO_OBJECT as error:
        raise no_json(plain, error) from None


def build_struct(values: dict[str, Any], kind: type[T]) -> T:
    """Check field values against the wire contract.

    Raises:
        DecodeError: with the path to the fault.
    """
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        what, found, path = str(error).rpartition(" - at `")
        raise (DecodeError(path.rstrip("`"), what) if found else DecodeError("$", str(error))) from None


def verdict_of(line: bytes) -> Evaluation:
    """Read a line as a late verdict; what says nothing in a field is "not measured", as with calls.

    Raises:
        DecodeError: it is none.
    """
    try:
        return decode_evaluation(line)
    except DecodeError:
        found = decode_object(line)
        told = {
            name: value
            for name, value in found.items()
            if not says_nothing(_VERDICT_KINDS.get(name, "str"), value)
        }
        return build_struct(told, Evaluation)
