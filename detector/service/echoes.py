"""Which messages on the control topic an owner has written itself. Pure.

Partition and epoch stand in every record, so whoever may write can copy them. Readers would hold to such a
record for as long as its revision is the greatest, and compaction keeps whichever comes last under a key.
"""

from detector.gateway.fold import Tombstone
from detector.service.control_log import ScopeEntry, Unreadable
from topics.codec import encode
from topics.control import ControlRecord, decode_control


class Echoes:
    """Of one owner: what it has written last of each scope, and whether that has come back."""

    def __init__(self) -> None:
        self._on_their_way: set[str] = set()

    def wrote(self, scope: str) -> None:
        """A record of the scope is on its way."""
        self._on_their_way.add(scope)

    def forget(self) -> None:
        """The owner begins anew."""
        self._on_their_way.clear()

    def is_own(
        self, entry: ScopeEntry, *, partition: int, epoch: int, published: ControlRecord | None
    ) -> bool:
        """Whether a message that was read needs no answer; to be asked of each one once, in their order.

        It is the owner's if it says what was published last, to the letter, or comes before that has come
        back. One of the owner's that arrives later still, from a producer that was given up, is to be covered
        like anybody's.

        Args:
            entry: under a key of this partition's.
            partition, epoch: the owner's.
            published: what the owner has written last of the scope; None: nothing, or a tombstone.
        """
        if isinstance(entry, Unreadable) or entry.epoch != epoch:
            return False
        if isinstance(entry, ControlRecord) and entry.partition != partition:
            return False
        if published is None:
            return isinstance(entry, Tombstone)
        if entry.revision != published.revision:
            return entry.revision < published.revision and entry.scope in self._on_their_way
        if isinstance(entry, Tombstone) or encode(entry) != _as_read(published):
            return False
        self._on_their_way.discard(entry.scope)
        return True


def _as_read(record: ControlRecord) -> bytes:
    """What comes back need not be the same bytes: a whole number may be a float then."""
    return encode(decode_control(encode(record)))
