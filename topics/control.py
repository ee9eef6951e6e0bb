"""What the detector tells gateways on `detector.control`, and what it keeps beside it.

Every `ControlRecord` is the full present state of one scope. An `OwnerRecord` is a claim on a
partition, then its heartbeat: one renews every scope of the partition. A reader that joins decodes a
hundred thousand of them: none can be part of a cycle, so Python's collector need not look (`gc=False`).
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from topics.codec import decoder
from topics.errors import DecodeError
from topics.types import MOST_COUNT, Count, EventTime, Label, Name, ScopeName, Seconds, Share

OWNER_PREFIX = "owner/"
_COUNTED_FROM = MOST_COUNT // 2
_COUNTED_A_MESSAGE = 4096
USUAL_SHARE = (
    "usual_share"  # in the detail of a deployment's evidence: its part of the route's calls when well
)

State = Literal["active", "inactive"]
Disposition = Literal["act", "notice", "shadow", "stale"]
OnExpiry = Literal["revert", "hold"]


class Evidence(Struct, kw_only=True, frozen=True, gc=False):
    """What crossed which line, on how much data, and the record that did it (in files: its row index)."""

    predicate: str = ""
    value: float | None = None
    threshold: float | None = None
    samples: int = 0
    window_s: float | None = None
    event_time: float | None = None
    topic: str = ""
    partition: int = 0
    offset: int = -1
    origin: str = ""
    detail: dict[str, float | str] = {}


class ControlRecord(Struct, kw_only=True, gc=False):
    """The state of one scope, complete in every record; field by field as in the wire contract."""

    scope: ScopeName
    route: Name
    deployment: Label = ""
    partition: Count = 0
    state: State
    mode: str = ""
    modes: list[str] = []
    muted: list[str] = []
    fallbacks: dict[str, list[str]] = {}
    primary_share: Share = 1.0
    probes_per_s: float | None = None
    epoch: Count = 0
    revision: Count = 0
    transition: Count = 0
    issued_at: EventTime
    lease_s: Seconds = 15.0
    on_expiry: OnExpiry = "revert"
    hold_max_s: float = 600.0
    next_revert_at: float | None = None
    damped_until: float | None = None
    override_until: float | None = None
    evidence: Evidence = msgspec.field(default_factory=Evidence)
    source: Literal["detector", "operator"] = "detector"
    disposition: Disposition = "act"
    reason: str = ""
    contract: str = ""
    event_id: str = ""


class OwnerRecord(Struct, kw_only=True, gc=False):
    """Who speaks for a partition; `owner` is unique to each start of a process."""

    partition: Count
    owner: Name
    epoch: Count
    issued_at: EventTime
    lease_s: Seconds = 15.0


class Override(Struct, kw_only=True, omit_defaults=True):
    """An operator's order on `detector.overrides`: hold `scope` in `state` until `until` (Unix seconds).

    With `accept` it holds nothing: what drifts on the scope now is the new normal, from `issued_at` on.
    """

    scope: ScopeName
    state: State
    until: EventTime
    who: Label = ""
    reason: Annotated[str, Meta(max_length=2000)] = ""
    issued_at: EventTime
    accept: bool = False


class Ack(Struct, kw_only=True):
    """A gateway has applied a change of state; times in Unix seconds of the gateway's clock."""

    gateway: Name
    scope: ScopeName
    epoch: Count
    revision: Count
    event_id: str
    received_at: EventTime
    applied_at: EventTime


decode_control = decoder(ControlRecord)
decode_owner = decoder(OwnerRecord)
# A gateway's loop must not stand still for many that are no records; nobody reads what is wrong with them.
_read_control = decoder(ControlRecord, explain=False)
_read_owner = decoder(OwnerRecord, explain=False)
decode_override = decoder(Override)
decode_ack = decoder(Ack)


def owner_key(partition: int) -> bytes:
    """Message key of a partition's owner record."""
    return f"{OWNER_PREFIX}{partition}".encode()


def most_counted(offset: int) -> int:
    """The greatest epoch, revision or transition that the message at `offset` of the control topic may carry.

    Writers count on from the greatest that they have read. Under one bound for all messages, a message that
    carries it by mistake leaves no number for those after it, and compaction keeps it: nobody could
    claim any more. So the bound grows with the log, which compaction does not renumber: whatever number is
    taken, there are thousands for the next message, more than are under way at once. Milliseconds of a
    clock stay below the first thousandth of it until the year 2100.
    """
    return min(_COUNTED_FROM + _COUNTED_A_MESSAGE * (1 + offset), MOST_COUNT)


def decode_control_message(key: bytes | None, value: bytes) -> ControlRecord | OwnerRecord:
    """Decode a message of the control topic, told apart by its key.

    Raises:
        DecodeError: also when the record does not belong under its key.
    """
    if key is None:
        raise DecodeError("key", "expected a scope or owner/<partition>, got none")
    if key.startswith(OWNER_PREFIX.encode()):
        owner = _read_owner(value)
        if key != owner_key(owner.partition):
            raise DecodeError("$.partition", f"expected the partition of key {key!r}, got {owner.partition}")
        return owner
    record = _read_control(value)
    if key != record.scope.encode():
        raise DecodeError("$.scope", f"expected the scope of key {key!r}, got {record.scope!r}")
    return record
