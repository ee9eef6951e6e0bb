"""The owners of all partitions that this worker was given: what they read, what they write.

`ownership` decides; here its messages meet Kafka. One log of the control topic serves all owners.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from detector.modes.decision import Decision, event_id
from detector.service.control_log import ControlLog, ScopeEntry, Unreadable
from detector.service.controlfeed import Read
from detector.service.logs import logger
from detector.service.outbox import Outbox
from detector.service.ownership import PartitionOwner, Phase
from detector.service.statements import Message, Terms
from detector.service.unread import Unread
from topics.control import ControlRecord, Override, OwnerRecord
from topics.errors import DecodeError
from topics.names import Topics
from topics.partitioner import partition_for
from topics.scope import split_scope

_LATELY_S = 60.0
_MOST_TOLD = 100  # contracts


class Desk:
    """Owners by partition, the log that they share, and what of it they could not read."""

    def __init__(
        self,
        outbox: Outbox,
        declared: Topics,
        *,
        owner_id: str,
        partitions: int,
        lease_s: float,
        terms: Terms,
        clock: Callable[[], float],
        changed: Callable[[int], None],
    ) -> None:
        """Args:
        terms: of the contract, for operators' orders.
        clock: wall clock, Unix s.
        changed: told the partition whose owner changed its phase.
        """
        self.owner_id = owner_id
        self.partitions = partitions
        self.log = ControlLog()
        self.unread = Unread(declared.control.name, declared.overrides.name)
        self.owners: dict[int, PartitionOwner] = {}
        self._outbox = outbox
        self._topic_of = {"control": declared.control.name, "transitions": declared.transitions.name}
        self._overrides = declared.overrides.name
        self._lease_s = lease_s
        self._terms = terms
        self._clock = clock
        self._changed = changed
        self._told: set[str] = set()  # contracts of others
        self._log = logger(part="owner")

    def partition_of(self, route: str) -> int:
        """Where a route lives now."""
        return partition_for(route.encode(), self.partitions)

    def assign(self, partition: int) -> None:
        """The group has given this partition; `claim` follows once both topics are read to their ends."""
        owner = self.owners[partition] = PartitionOwner(
            partition,
            self.owner_id,
            self.log,
            partition_of=self.partition_of,
            event_id=event_id,
            terms=self._terms,
            lease_s=self._lease_s,
        )
        owner.assigned()

    def claim(self, partition: int) -> None:
        """Both topics are read to the ends that were asked for after the assignment."""
        self._with(partition, lambda owner, now: owner.reached_end(now))

    def release(self, partition: int) -> None:
        """The group has taken the partition: nothing more is said for it."""
        if owner := self.owners.pop(partition, None):
            owner.revoked()
            self._outbox.drop(partition)

    def phase(self, partition: int) -> Phase:
        """Where the partition's owner stands."""
        owner = self.owners.get(partition)
        return Phase.IDLE if owner is None else owner.phase

    def epoch(self, partition: int) -> int:
        """Epoch of the present claim."""
        owner = self.owners.get(partition)
        return 0 if owner is None else owner.epoch

    def beat_at(self, partition: int) -> float:
        """When the partition's lease was renewed last, Unix seconds."""
        owner = self.owners.get(partition)
        return 0.0 if owner is None else owner.beat_at

    @property
    def lease_s(self) -> float:
        """How long a renewal holds."""
        return self._lease_s

    def renew(self, terms: Terms, lease_s: float) -> None:
        """Another contract is in force for owners assigned from now on."""
        self._terms, self._lease_s = terms, lease_s

    # What the pipeline says.

    def restored(self, partition: int, judged: Iterable[Decision]) -> None:
        """State that the snapshots carry."""
        self._with(partition, lambda owner, now: owner.restored(judged, now))

    def decided(self, partition: int, decisions: Iterable[Decision]) -> None:
        """New decisions, in their order."""
        self._with(partition, lambda owner, now: owner.decided(decisions, now))

    def reached_now(self, partition: int) -> None:
        """The telemetry is read to the end that was asked for."""
        self._with(partition, lambda owner, now: owner.reached_now(now))

    def fell_behind(self, partition: int) -> None:
        """Decisions wait until `reached_now`."""
        if owner := self.owners.get(partition):
            owner.fell_behind()

    def tick(self, partition: int) -> None:
        """Heartbeats and what else time brings; called by the loop that judges."""
        self._with(partition, lambda owner, now: owner.tick(now))

    def accepted(self, partition: int) -> list[Override]:
        """Orders to take drifts of this partition's scopes for the new normal, done ones included."""
        orders = self.log.accepted.values()
        return [each for each in orders if self.partition_of(split_scope(each.scope)[0]) == partition]

    # What the group says.

    def yielded(self) -> list[int]:
        """Partitions whose owner has met another one."""
        return [number for number, owner in self.owners.items() if owner.phase is Phase.YIELDED]

    def suspects(self) -> bool:
        """Whether another partition wrote under a scope of ours: the partition count is wanted."""
        return any(owner.suspects for owner in self.owners.values())

    def recounted(self, partitions: int) -> None:
        """The partition count as it is now."""
        self.partitions = partitions
        for partition in list(self.owners):
            self._with(partition, lambda owner, now: owner.recounted(now))

    # What the feed reads.

    def on_read(self, messages: list[Read]) -> None:
        """Messages of both topics, each in the order of its log."""
        for read in messages:
            if read.topic == self._overrides:
                self._read_override(read)
                continue
            entry = self.log.read(read.key, read.value, read.headers, read.offset)
            if isinstance(entry, Unreadable):
                self.unread.met(read, entry.error, self._clock())
            if isinstance(entry, OwnerRecord):
                self._with(entry.partition, partial(_read_owner, entry))
            elif entry.scope:
                self._compare(entry)
                self._about(entry.scope, partial(_read_scope, entry))

    def _read_override(self, read: Read) -> None:
        try:
            scope = self.log.read_override(read.key, read.value)
        except DecodeError as error:
            self.unread.met(read, error, self._clock())
            return
        if scope is not None:
            self._about(scope, partial(_overridden, scope))

    def _compare(self, entry: ScopeEntry) -> None:
        """Tell once of a worker of the group that judges by another contract."""
        if not isinstance(entry, ControlRecord) or entry.partition in self.owners:
            return
        ours, theirs = self._terms.digest, entry.contract
        lately = self._clock() - entry.issued_at < _LATELY_S
        if lately and theirs not in ("", ours, *self._told) and len(self._told) < _MOST_TOLD:
            self._told.add(theirs)
            hint = "a worker of this group judges by another contract: reload or restart whichever is behind"
            self._log.warning(
                "other_contract", partition=entry.partition, theirs=theirs, ours=ours, hint=hint
            )

    def on_read_again(self, made_anew: bool) -> None:
        """Both topics are read from the beginning once more."""
        self.log.begin_reread()
        if made_anew:
            self.unread.begin_anew()
        for partition, owner in self.owners.items():
            owner.reread(anew=made_anew)
            self._changed(partition)

    def on_end(self) -> None:
        """The ends are reached: those that were told to read again may claim."""
        self.log.finish_reread()

    # How it is done.

    def _about(self, scope: str, what: Callable[[PartitionOwner, float], list[Message]]) -> None:
        self._with(self.partition_of(split_scope(scope)[0]), what)

    def _with(self, partition: int, what: Callable[[PartitionOwner, float], list[Message]]) -> None:
        owner = self.owners.get(partition)
        if owner is None:
            return
        before = (owner.phase, owner.epoch)
        messages = what(owner, self._clock())
        if owner.phase is Phase.YIELDED and before[0] is not Phase.YIELDED:
            self._outbox.drop(partition)
            self._log.warning("partition_yielded", partition=partition, epoch=before[1])
        elif messages:
            self._send(partition, messages)
        if (owner.phase, owner.epoch) != before:
            if owner.phase is Phase.OWNING:
                self._log.info("partition_claimed", partition=partition, epoch=owner.epoch)
            self._changed(partition)

    def _send(self, partition: int, messages: Iterable[Message]) -> None:
        for message in messages:
            self._outbox.send(
                self._topic_of[message.topic],
                message.key,
                message.value,
                list(message.headers),
                partition=0,
                lane=partition,
            )

    def active(self) -> Mapping[int, int]:
        """Scopes published as active, per partition."""
        return {
            number: sum(record.state == "active" for record in owner.published.values())
            for number, owner in self.owners.items()
        }


def _overridden(scope: str, owner: PartitionOwner, now: float) -> list[Message]:
    return owner.overridden(scope, now)


def _read_owner(entry: OwnerRecord, owner: PartitionOwner, now: float) -> list[Message]:
    return owner.read_owner(entry, now)


def _read_scope(entry: ScopeEntry, owner: PartitionOwner, now: float) -> list[Message]:
    return owner.read_scope(entry, now)
