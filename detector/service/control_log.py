"""What one worker has read of the control and override topics, shared by all its partitions. Pure.

Beside the reader's fold it keeps the last message of each key, refused or not: that is the one which
compaction keeps, and so the one that must be its owner's own.
"""

from dataclasses import dataclass

from detector.gateway.fold import Entry, Fold, Tombstone, parse
from topics.cloudevents import Headers
from topics.control import OWNER_PREFIX, ControlRecord, Override, OwnerRecord, decode_override
from topics.errors import DecodeError
from topics.scope import scope_of, split_scope


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is no record. Under a scope's key compaction would keep it in the record's place.

    `scope` is empty where the key is none's.
    """

    scope: str
    error: DecodeError


ScopeEntry = ControlRecord | Tombstone | Unreadable


class ControlLog:
    """The control topic as far as it was read, in topic order, own records included.

    Attributes:
        fold: what a reader of the topic holds.
        last: the last message of each scope's key.
        greatest: the greatest epoch of any record met, of whichever partition; never goes down.
        overrides: the operator's orders, by scope, ended ones included until they are taken back.
        accepted: drifts that an operator took for the new normal, by scope; the judge knows which are news.
        accepts_read: how many such orders were read.
    """

    def __init__(self) -> None:
        self.fold = Fold()
        self.last: dict[str, ScopeEntry] = {}
        self.greatest = 0
        self.overrides: dict[str, Override] = {}
        self.accepted: dict[str, Override] = {}
        self.accepts_read = 0
        self._again: Fold | None = None

    def read(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | tuple[tuple[str, bytes], ...],
        offset: int,
    ) -> Entry | Unreadable:
        """Take one message."""
        try:
            entry = parse(key, value, headers, offset)
        except DecodeError as error:
            self.fold.counts.malformed += 1
            return self._unreadable(key, error)
        self.greatest = max(self.greatest, entry.epoch)
        (self._again or self.fold).apply(entry)
        if not isinstance(entry, OwnerRecord):
            self.last[entry.scope] = entry
        return entry

    def _unreadable(self, key: bytes | None, error: DecodeError) -> Unreadable:
        try:
            scope = (key or b"").decode()
        except UnicodeDecodeError:
            scope = ""
        if not scope or scope.startswith(OWNER_PREFIX):
            return Unreadable("", error)
        unreadable = self.last[scope] = Unreadable(scope, error)
        return unreadable

    def read_override(self, key: bytes | None, value: bytes | None) -> str | None:
        """Take one message of the override topic; returns the scope of which another order is in force now.

        Raises:
            DecodeError: no order, or not under its own key.
        """
        try:
            scope = (key or b"").decode()
        except UnicodeDecodeError:
            raise DecodeError("key", f"expected a scope in UTF-8, got {key!r}") from None
        if value is None:
            self.accepted.pop(scope, None)
            return scope if self.overrides.pop(scope, None) is not None else None
        order = decode_override(value)
        if order.scope != scope:
            raise DecodeError("$.scope", f"expected the scope of key {key!r}, got {order.scope!r}")
        if scope != scope_of(*split_scope(scope)):
            raise DecodeError("$.scope", f"expected a route, or route@deployment, got {scope!r}")
        if order.accept:
            self.accepted[scope] = order
            self.accepts_read += 1
            return scope if self.overrides.pop(scope, None) is not None else None
        self.accepted.pop(scope, None)
        self.overrides[scope] = order
        return scope

    def override(self, scope: str, now: float) -> Override | None:
        """The order in force for a scope at `now` (Unix seconds)."""
        order = self.overrides.get(scope)
        return order if order is not None and now < order.until else None

    def begin_reread(self) -> None:
        """Start again from the first message; what was held stands until the end is reached."""
        self._again = Fold(self.fold.counts)
        self.last = {}

    def finish_reread(self) -> None:
        """The end is reached: what was read again is what is held."""
        if self._again is not None:
            self.fold.replace(self._again)
            self._again = None

    def fence_of(self, partition: int) -> int:
        """The greatest epoch of any record that names the partition: readers refuse lower ones."""
        return self.fold.fence.get(partition, 0)

    def next_revision(self, scope: str) -> int:
        """One above every revision that the topic shows for a scope."""
        known = 0
        for entry in (self.fold.held.get(scope), self.last.get(scope)):
            if isinstance(entry, ControlRecord | Tombstone):
                known = max(known, entry.revision)
        return known + 1
