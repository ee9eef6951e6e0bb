"""The fold that every reader of the control topic makes, gateway and worker alike: fence and held records.

A record is refused when its epoch is below the greatest that any record naming its partition has
carried; one that is not refused is held when its (epoch, revision) is above the held one's,
whichever partition wrote it. Pure: records in, state out.
"""

from dataclasses import dataclass

from topics.cloudevents import Headers, id_of
from topics.control import OWNER_PREFIX, ControlRecord, OwnerRecord, decode_control_message, most_counted
from topics.errors import DecodeError
from topics.scope import scope_of


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The end of a scope. It names no partition: it is fenced by that of the record it would remove."""

    scope: str
    epoch: int
    revision: int


Entry = ControlRecord | OwnerRecord | Tombstone
Change = tuple[ControlRecord | None, ControlRecord | None]  # what was held of one scope, and what is


def parse(
    key: bytes | None, value: bytes | None, headers: Headers | tuple[tuple[str, bytes], ...], offset: int
) -> Entry:
    """Decode one message of the control topic.

    Args:
        offset: where it lies, which bounds what can have been counted up to by then.

    Raises:
        DecodeError: not a record of this topic, not under its own key, a tombstone without a scope, or a
            number that nobody can count on from.
    """
    most = most_counted(offset)
    if value is None:
        scope, epoch, revision = id_of(headers)
        if key != scope.encode() or scope.startswith(OWNER_PREFIX):
            raise DecodeError("ce_id", f"expected the scope of key {key!r}, got {scope!r}")
        if max(epoch, revision) > most:
            raise DecodeError("ce_id", f"expected numbers <= {most} at this offset, got {epoch}/{revision}")
        return Tombstone(scope, epoch, revision)
    entry = decode_control_message(key, value)
    if entry.epoch > most:
        raise DecodeError("$.epoch", f"expected an int <= {most} at this offset, got {entry.epoch}")
    if isinstance(entry, ControlRecord):
        if entry.scope != scope_of(entry.route, entry.deployment):
            raise DecodeError("$.scope", f"expected the scope of route and deployment, got {entry.scope!r}")
        if entry.revision > most or entry.transition > most:
            name = "revision" if entry.revision > most else "transition"
            raise DecodeError(f"$.{name}", f"expected an int <= {most} at this offset")
    return entry


@dataclass(slots=True)
class FoldCounts:
    """`refused`: below the fence; `superseded`: not above the record held; `malformed`: not decodable."""

    applied: int = 0
    refused: int = 0
    superseded: int = 0
    malformed: int = 0


class Fold:
    """Fence per partition and the record held per scope.

    Attributes:
        fence: greatest epoch seen per partition; never goes down.
        held: the record in force per scope.
    """

    def __init__(self, counts: FoldCounts | None = None) -> None:
        self.fence: dict[int, int] = {}
        self.held: dict[str, ControlRecord] = {}
        self.counts = counts if counts is not None else FoldCounts()

    def apply(self, entry: Entry) -> bool:
        """Take one entry in topic order; False when it was refused or superseded: nothing held changed."""
        if isinstance(entry, OwnerRecord):
            return self._passes(entry.partition, entry.epoch)
        if isinstance(entry, Tombstone):
            return self._remove(entry)
        if not self._passes(entry.partition, entry.epoch):
            return False
        held = self.held.get(entry.scope)
        if held is not None and (entry.epoch, entry.revision) <= (held.epoch, held.revision):
            self.counts.superseded += 1
            return False
        self.held[entry.scope] = entry
        self.counts.applied += 1
        return True

    def _passes(self, partition: int, epoch: int) -> bool:
        fence = self.fence.get(partition, -1)
        if epoch < fence:
            self.counts.refused += 1
            return False
        if epoch > fence:
            self.fence[partition] = epoch
        return True

    def _remove(self, tombstone: Tombstone) -> bool:
        held = self.held.get(tombstone.scope)
        if held is None:
            return False
        if tombstone.epoch < self.fence[held.partition]:
            self.counts.refused += 1
            return False
        if (tombstone.epoch, tombstone.revision) <= (held.epoch, held.revision):
            self.counts.superseded += 1
            return False
        del self.held[tombstone.scope]
        self.counts.applied += 1
        return True

    def replace(self, read_again: "Fold") -> list[Change]:
        """Take over what a second reading from the beginning held, and return what that changes.

        The fence does not go down: a record that this fold would have refused does not come in by
        the back door, and a scope that both know keeps the greater (epoch, revision). A scope that
        the topic no longer tells of is gone.
        """
        before = self.held
        after: dict[str, ControlRecord] = {}
        for scope, record in read_again.held.items():
            held = before.get(scope)
            if held is not None and (held.epoch, held.revision) >= (record.epoch, record.revision):
                after[scope] = held
            elif record.epoch >= self.fence.get(record.partition, -1):
                after[scope] = record
            elif held is not None:
                after[scope] = held
        for partition, epoch in read_again.fence.items():
            self.fence[partition] = max(epoch, self.fence.get(partition, -1))
        self.held = after
        pairs = [(before.get(scope), after.get(scope)) for scope in before | after]
        return [(old, new) for old, new in pairs if old != new]
