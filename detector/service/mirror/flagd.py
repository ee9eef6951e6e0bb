"""The state as a file of feature flags, which flagd and its providers read: for any language of OpenFeature.

A flag has no lease: what was read last stands although nobody writes any more. So each rule compares the
time at which it is asked with the end of the lease, and says `primary` after it by itself.
"""

import asyncio
import contextlib
import fcntl
import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from detector.service.mirror.picture import Picture
from topics.control import ControlRecord

_SCHEMA = "https://flagd.dev/schema/v0/flags.json"
_NOW = {"var": "$flagd.timestamp"}
_WHOLE = 1_000_000  # shares are whole numbers of it


class FlagFile:
    """Keeps one file; a new one takes the place of `path`, so its folder has to be there and writable.

    Where there is no file yet one without flags is made: flagd does not start without.

    Raises:
        ValueError: a path at which no file can be written, or whose name does not say that it is JSON.
    """

    name = "flags"
    period_s, least_s = 3.0, 0.5

    def __init__(self, path: Path) -> None:
        if path.suffix != ".json":
            raise ValueError(f"{path}: expected a name that ends in .json, flagd goes by it")
        if not path.parent.is_dir() or path.is_dir() or not os.access(path.parent, os.W_OK):
            raise ValueError(f"{path}: expected a file in a folder that is there and may be written to")
        self._path = path
        self._written = b""
        self._writing = threading.Lock()
        self._lock = _locked(path)
        if not path.exists():
            self._replace(_text({}))

    async def write(self, picture: Picture, changed: frozenset[str] | None) -> Mapping[str, int]:
        """See `Target`; a file is always written whole, and not for nothing."""
        text = _text(flags(picture))
        if text != self._written or changed is None:
            await asyncio.to_thread(self._replace, text)
            self._written = text
        return {"written": len(picture.held if changed is None else changed)}

    def _replace(self, text: bytes) -> None:
        # A disk may hang, and a thread that waits for it cannot be cut off: nobody writes beside it.
        if not self._writing.acquire(blocking=False):
            raise BlockingIOError("the write before has not ended yet")
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            draft.write_bytes(text)
            with contextlib.suppress(FileNotFoundError):
                draft.chmod(stat.S_IMODE(self._path.stat().st_mode))  # as somebody may have set it
            draft.replace(self._path)
        finally:
            draft.unlink(missing_ok=True)
            self._writing.release()

    async def close(self) -> None:
        """Leave the file: its rules end by themselves."""
        self._lock.close()


def _locked(path: Path) -> BinaryIO:
    """The lock beside a file, which ends with its process."""
    lock = path.with_name(f".{path.name}.lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ValueError(f"{path}: another mirror writes it") from None
    except OSError:
        pass  # a file system without locks
    return lock


def _text(made: dict[str, Any]) -> bytes:
    content = {"$schema": _SCHEMA, "flags": made}
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"


def flags(picture: Picture) -> dict[str, Any]:
    """Two kinds of flags, in the order of their names.

    `llm.fallback.<route>`: text, who is to answer: `primary`, or the name of the first fallback for the
    context's `input_class`. Its variant is `primary`, `probe` or `fallback/<name>`. Which calls are probes
    goes by the context's targeting key, which is to be the call's own; without one there are none.

    `llm.avoid.<route>@<deployment>`: whether to keep off that deployment now.
    """
    made = {}
    for scope, record in sorted(picture.held.items()):
        left_s = picture.left_s.get(scope)
        until = None if left_s is None else int(picture.at + left_s)
        if record.deployment:
            made[f"llm.avoid.{scope}"] = _avoid(record, until)
        else:
            made[f"llm.fallback.{record.route}"] = _fallback(record, until)
    return made


def _fallback(record: ControlRecord, until: int | None) -> dict[str, Any]:
    variants = {"primary": "primary"}
    flag = _flag(record, variants, "primary")
    if until is None:
        return flag
    variants["probe"] = "primary"
    courses = {}
    for input_class, names in record.fallbacks.items():
        course = "probe"  # where there is no fallback the primary answers: better than nobody
        if names:
            course = f"fallback/{names[0]}"
            variants[course] = names[0]
        courses[input_class] = _unless_probe(course, "probe", record.primary_share)
    chosen = courses.pop("*", "probe")
    for input_class, course in sorted(courses.items()):
        chosen = {"if": [{"==": [{"var": "input_class"}, input_class]}, course, chosen]}
    flag["targeting"] = {"if": [{"<": [_NOW, until]}, chosen, "primary"]}
    return flag


def _avoid(record: ControlRecord, until: int | None) -> dict[str, Any]:
    flag = _flag(record, {"well": False, "probe": False, "avoid": True}, "well")
    if until is not None:
        chosen = _unless_probe("avoid", "probe", record.primary_share)
        flag["targeting"] = {"if": [{"<": [_NOW, until]}, chosen, "well"]}
    return flag


def _unless_probe(course: str, probe: str, share: float) -> Any:
    """`course`, but for `share` of the targeting keys `probe`."""
    probes = round(share * _WHOLE)
    if course == probe or not probes:
        return course
    key = {"var": "targetingKey"}
    by_key = {"cat": [{"var": "$flagd.flagKey"}, key]}
    return {"if": [key, {"fractional": [by_key, [probe, probes], [course, _WHOLE - probes]]}, course]}


def _flag(record: ControlRecord, variants: dict[str, Any], default: str) -> dict[str, Any]:
    """One that says the default, and of what record it is."""
    told = {
        "scope": record.scope,
        "mode": record.mode,
        "reason": record.reason,
        "event_id": record.event_id,
        "epoch": record.epoch,
        "revision": record.revision,
    }
    return {"state": "ENABLED", "variants": variants, "defaultVariant": default, "metadata": told}
