"""CloudEvents 1.0 in Kafka's binary mode: attributes as headers, the record itself as the value.

`ce_id` is scope/epoch/revision, so that a tombstone still says which epoch wrote it. What goes to the audit
alone has no revision: there the last part is its disposition and a number, as in `chat/7/stale-12`.
"""

from datetime import UTC, datetime

from topics.control import ControlRecord, OwnerRecord, owner_key
from topics.errors import DecodeError
from topics.types import MOST_COUNT

SOURCE = "/detector"
ACTIVATED = "detector.fallback.activated.v1"
REVISED = "detector.fallback.revised.v1"
DEACTIVATED = "detector.fallback.deactivated.v1"
OWNER = "detector.owner.v1"
_DIGITS = 20  # of an epoch or revision

Headers = list[tuple[str, bytes]]


def _headers(kind: str, identity: str, time: float | None, subject: str) -> Headers:
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", kind.encode()),
        ("ce_source", SOURCE.encode()),
        ("ce_id", identity.encode()),
        ("ce_subject", subject.encode()),
        ("content-type", b"application/json"),
    ]
    if time is not None:
        said = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
        headers.insert(5, ("ce_time", said.replace("+00:00", "Z").encode()))
    return headers


def control_headers(record: ControlRecord, kind: str, number: int | None = None) -> Headers:
    """Headers of a scope's record. `number`: tells records of the audit alone apart within an epoch."""
    last = record.revision if number is None else f"{record.disposition}-{number}"
    return _headers(kind, f"{record.scope}/{record.epoch}/{last}", record.issued_at, record.scope)


def owner_headers(record: OwnerRecord) -> Headers:
    """Headers of a claim or heartbeat."""
    key = owner_key(record.partition).decode()
    return _headers(OWNER, f"{key}/{record.epoch}/0", record.issued_at, key)


def tombstone_headers(scope: str, epoch: int, revision: int) -> Headers:
    """Headers of a tombstone: the value is null, so epoch and revision travel in `ce_id`."""
    return _headers(DEACTIVATED, f"{scope}/{epoch}/{revision}", None, scope)


def id_of(headers: Headers | tuple[tuple[str, bytes], ...]) -> tuple[str, int, int]:
    """Read (subject, epoch, revision) back from `ce_id`.

    Raises:
        DecodeError: no `ce_id`, or not of the form subject/epoch/revision.
    """
    value = next((value for name, value in headers if name == "ce_id"), None) or b""
    subject, _, rest = value.decode("utf-8", "replace").rpartition("/")
    subject, _, epoch = subject.rpartition("/")
    if not (subject and all(number.isdecimal() and len(number) <= _DIGITS for number in (epoch, rest))):
        raise DecodeError("ce_id", "expected scope/epoch/revision")
    if max(int(epoch), int(rest)) > MOST_COUNT:
        raise DecodeError("ce_id", f"expected numbers <= {MOST_COUNT}, got {epoch}/{rest}")
    return subject, int(epoch), int(rest)
