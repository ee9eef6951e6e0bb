"""A control topic, workers, a group and readers, small enough to drive step by step.

Only the owner's and the reader's state machines are the product's; the topic, the group and the
judgement are replaced by the least that can go wrong in the same ways. A worker's messages wait in
its outbox until the model writes them, so it can die, sleep or be overtaken between any two of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from detector.gateway.view import ControlView
from detector.modes.decision import Decision, event_id
from detector.service.control_log import ControlLog
from detector.service.ownership import PartitionOwner, Phase
from detector.service.statements import Message, control_message, owner_message, tombstone_message
from topics.cloudevents import id_of
from topics.codec import encode
from topics.control import (
    ControlRecord,
    Evidence,
    Override,
    OwnerRecord,
    State,
    decode_control_message,
    most_counted,
)
from topics.scope import split_scope
from topics.types import MOST_COUNT

START = 1_800_000_000.0
COMPACTION_LAG_S = 30.0
TOMBSTONE_KEPT_S = 24 * 3600.0
SCOPES = ("r0", "r0@gpu", "r1", "r2")


def route_number(scope: str) -> int:
    return int(split_scope(scope)[0][1:])


class Terms:
    """One contract for all."""

    digest = "contract"

    def fallbacks_at_will(self, route: str) -> dict[str, list[str]]:
        return {"*": ["rule"]}


@dataclass(frozen=True)
class Written:
    offset: int
    at: float
    message: Message


def can_be(message: Message, offset: int) -> bool:
    """Whether what a message at this offset counts is no lie on its face."""
    _, epoch, revision = id_of(message.headers)
    return max(epoch, revision, getattr(message.record, "transition", 0)) <= most_counted(offset)


@dataclass
class Topic:
    """A log with one partition. `generation` tells a topic made anew from the one before."""

    generation: int = 0
    entries: list[Written] = field(default_factory=list)
    end: int = 0

    def append(self, message: Message, at: float) -> None:
        self.entries.append(Written(self.end, at, message))
        self.end += 1

    def after(self, position: int) -> Written | None:
        return next((entry for entry in self.entries if entry.offset >= position), None)

    def compact(self, now: float, spared: Callable[[int], bool]) -> None:
        """Drop what a cleaner may: older than the lag, and not the last of its key."""
        last = {entry.message.key: entry.offset for entry in self.entries}
        kept = []
        for entry in self.entries:
            newest = last[entry.message.key] == entry.offset
            old_tombstone = entry.message.record is None and now - entry.at > TOMBSTONE_KEPT_S
            young = now - entry.at < COMPACTION_LAG_S
            if young or spared(entry.offset) or (newest and not old_tombstone):
                kept.append(entry)
        self.entries = kept

    def make_anew(self) -> None:
        self.generation += 1
        self.entries, self.end = [], 0


class Reader:
    """A gateway: reads in order, and all again after 30 s out of touch or when the topic was made anew."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.view = ControlView()
        self.fences: dict[int, int] = {}
        self._generation = -1
        self._position = 0
        self._target = 0
        self._at_end = world.now

    def step(self) -> bool:
        """Read one message; False when there is none."""
        topic, now = self.world.control, self.world.now
        if topic.generation != self._generation or now - self._at_end > 30:
            self._generation, self._position, self._target = topic.generation, 0, topic.end
            self._at_end = now
            self.view.begin_reread()
        entry = topic.after(self._position)
        if entry is not None:
            self._position = entry.offset + 1
            self._apply(entry)
        if entry is None or self._position >= self._target:
            if self.view.rereading:
                self.view.finish_reread()
                self._fence_never_falls()
            if entry is None:
                self._position = max(self._position, topic.end)
            if self._position >= topic.end:
                self._at_end = now
        return entry is not None

    def _apply(self, entry: Written) -> None:
        message = entry.message
        reading_again = self.view.rereading
        before = dict(self.view.held)
        age = self.world.now - entry.at if reading_again else 0.0
        self.view.apply(
            message.key,
            message.value,
            message.headers,
            now=self.world.now,
            age_s=age,
            offset=entry.offset,
        )
        if reading_again:
            assert self.view.held == before, "the old view stands until the end is reached"
            return
        for scope in before.keys() | self.view.held.keys():
            old, new = before.get(scope), self.view.held.get(scope)
            if old is not new:
                _, epoch, revision = id_of(message.headers)
                partition = new.partition if new else old.partition if old else -1
                assert epoch >= self.fences.get(partition, 0), "an older epoch changed a reader"
                assert old is None or (epoch, revision) > (old.epoch, old.revision), "a reader went back"
        if isinstance(message.record, ControlRecord | OwnerRecord) and can_be(message, entry.offset):
            partition = message.record.partition
            self.fences[partition] = max(message.record.epoch, self.fences.get(partition, 0))
        self._fence_never_falls()

    def _fence_never_falls(self) -> None:
        for partition, epoch in self.fences.items():
            assert self.view.fence[partition] >= epoch, "a fence went down"
        self.fences = dict(self.view.fence)

    def active(self) -> dict[str, str]:
        """What the reader acts on: scope -> active or not, lapsed leases taken into account."""
        found = dict.fromkeys(SCOPES, "inactive")
        for scope, record in self.view.held.items():
            if record.state == "active" and self.view.in_force(record, self.world.now)[0]:
                found[scope] = "active"
        return found


class Worker:
    """A process: owners, and a judgement that counts transitions which the world has caused."""

    def __init__(self, world: "World", name: str, skew_s: float) -> None:
        self.world = world
        self.name = name
        self.asleep = False
        self.skew_s = skew_s
        self.count = world.count
        self.log = ControlLog()
        self.owners: dict[int, PartitionOwner] = {}
        self.outbox: list[Message] = []
        self.claims: dict[tuple[int, int], bool] = {}  # own ones, and whether they were read back
        self.foreign: dict[int, int] = {}  # greatest epoch of another owner met, per partition
        self.greatest_read = 0
        self.judged: dict[int, dict[str, int]] = {}
        self.catch_up_to: dict[int, dict[str, int]] = {}
        self.targets: dict[int, tuple[int, int]] = {}
        self._generation = world.control.generation
        self._position = 0
        self._orders_read = 0
        self._at_end = world.now
        self._target: int | None = None

    @property
    def clock(self) -> float:
        return self.world.now + self.skew_s

    def partition_of(self, route: str) -> int:
        return int(route[1:]) % self.count

    # The group.

    def assign(self, partition: int) -> None:
        owner = self.owners[partition] = PartitionOwner(
            partition,
            self.name,
            self.log,
            partition_of=self.partition_of,
            event_id=event_id,
            terms=Terms(),
        )
        owner.assigned()
        self._want_end(partition)
        self.judged[partition] = dict(self.world.snapshots.get(partition, {}))
        self._begin_catching_up(partition)
        held = [self.world.decision(scope, n, partition) for scope, n in self.judged[partition].items() if n]
        self.say(owner.restored(held, self.clock))

    def revoke(self, partition: int) -> None:
        self.owners.pop(partition).revoked()

    def confirm(self, partition: int) -> None:
        if self.owners[partition].phase is Phase.YIELDED:
            self.assign(partition)

    def _want_end(self, partition: int) -> None:
        self.targets[partition] = (self.world.control.end, len(self.world.orders))

    def reconnect(self) -> None:
        for partition, owner in self.owners.items():
            owner.fell_behind()
            self._begin_catching_up(partition)

    def _begin_catching_up(self, partition: int) -> None:
        self.catch_up_to[partition] = {s: self.world.truth(s, partition) for s in SCOPES}

    # Reading and writing.

    def say(self, messages: list[Message]) -> None:
        """Queue messages, and hold them to what an owner may say at this point of its reading."""
        for message in messages:
            record = message.record
            if isinstance(record, OwnerRecord) and (record.partition, record.epoch) not in self.claims:
                assert record.epoch > self.greatest_read, "a claim that is not above all that was read"
                self.claims[record.partition, record.epoch] = False
            elif isinstance(record, ControlRecord) and message.topic == "control":
                assert self.claims.get((record.partition, record.epoch)), (
                    "said before its claim was read back"
                )
                foreign = self.foreign.get(record.partition, 0)
                assert record.epoch > foreign, "said after another owner was met"
        self.outbox += messages

    def _note(self, message: Message) -> None:
        record = message.record
        if record is None:
            return
        self.greatest_read = max(self.greatest_read, record.epoch)
        if isinstance(record, OwnerRecord):
            if record.owner == self.name:
                self.claims[record.partition, record.epoch] = True
            else:
                self.foreign[record.partition] = max(record.epoch, self.foreign.get(record.partition, 0))

    def write(self) -> bool:
        """The next message of the outbox reaches the topic."""
        if not self.outbox:
            return False
        message = self.outbox.pop(0)
        if message.topic == "control":
            self.world.control.append(message, self.world.now)
        else:
            self.world.audit.append(message, self.world.now)
        return True

    def step(self) -> bool:
        """Read one message of the control topic, or one order; False when there is none."""
        world = self.world
        anew = world.control.generation != self._generation
        if anew or world.now - self._at_end > 30:
            self._generation, self._position, self._at_end = world.control.generation, 0, world.now
            self._target = world.control.end
            self.log.begin_reread()
            for partition, owner in self.owners.items():
                owner.reread(anew=anew)
                self._want_end(partition)
        if self._orders_read < len(world.orders):
            scope, order = world.orders[self._orders_read]
            self._orders_read += 1
            self.log.read_override(scope.encode(), encode(order) if order else None)
            for owner in self.owners.values():
                self.say(owner.overridden(scope, self.clock))
            return True
        entry = world.control.after(self._position)
        if entry is not None:
            self._position = entry.offset + 1
            self._take(entry)
        else:
            self._position = max(self._position, world.control.end)
        if self._position >= world.control.end:
            self._at_end = world.now
        if self._target is not None and self._position >= self._target:
            self.log.finish_reread()
            self._target = None
        for partition, (end, orders) in list(self.targets.items()):
            if self._target is None and self._position >= end and self._orders_read >= orders:
                del self.targets[partition]
                if partition in self.owners:
                    self.say(self.owners[partition].reached_end(self.clock))
        return entry is not None

    def _take(self, written: Written) -> None:
        message = written.message
        if can_be(message, written.offset):
            self._note(message)
        entry = self.log.read(message.key, message.value, message.headers, written.offset)
        if isinstance(entry, OwnerRecord):
            if entry.partition in self.owners:
                self.say(self.owners[entry.partition].read_owner(entry, self.clock))
        elif entry.scope:
            partition = self.partition_of(split_scope(entry.scope)[0])
            if partition in self.owners:
                self.say(self.owners[partition].read_scope(entry, self.clock))

    def drain(self) -> bool:
        """Write and read until there is nothing left to write or read."""
        moved = False
        while self.write() or self.step() or self.outbox:
            moved = True
        return moved

    def recount(self) -> None:
        self.count = self.world.count
        for owner in self.owners.values():
            self.say(owner.recounted(self.clock))

    # Judging.

    def judge(self) -> bool:
        """Judge one transition that the world has caused; False when there is none."""
        for partition, owner in self.owners.items():
            counts = self.judged[partition]
            for scope in SCOPES:
                if counts.get(scope, 0) < self.world.truth(scope, partition):
                    counts[scope] = counts.get(scope, 0) + 1
                    made = self.world.decision(scope, counts[scope], partition)
                    out = owner.decided([made], self.clock)
                    if not owner.caught_up:
                        assert not any(said.topic == "control" for said in out), "a new decision while behind"
                    self.say(out)
                    return True
            ends = self.catch_up_to[partition]
            if not owner.caught_up and all(counts.get(s, 0) >= n for s, n in ends.items()):
                self.say(owner.reached_now(self.clock))
        return False

    def snapshot(self) -> None:
        """Control and transitions are acknowledged first, and only an owner has all of them out."""
        for partition, owner in self.owners.items():
            if not self.outbox and owner.phase is Phase.OWNING:
                saved = self.world.snapshots.setdefault(partition, {})
                for scope, n in self.judged[partition].items():
                    saved[scope] = max(n, saved.get(scope, 0))

    def tick(self) -> None:
        for owner in self.owners.values():
            self.say(owner.tick(self.clock))


class World:
    """All of it, and the clock."""

    def __init__(self) -> None:
        self.now = START
        self.control, self.audit = Topic(), Topic()
        self.count = 2
        self.caused: dict[tuple[str, int], int] = {}
        self.caused_at: dict[tuple[str, int, int], float] = {}
        self.snapshots: dict[int, dict[str, int]] = {}
        self.orders: list[tuple[str, Override | None]] = []
        self.workers: list[Worker] = []
        self.group: dict[int, Worker] = {}
        self.readers = [Reader(self)]
        self.lies = 0
        self.believed = False  # a lie that drove numbers beyond all clocks
        self._started = 0

    def truth(self, scope: str, partition: int) -> int:
        return self.caused.get((scope, partition), 0)

    def home(self, scope: str) -> int:
        return route_number(scope) % self.count

    def cause(self, scope: str) -> None:
        place = (scope, self.home(scope))
        self.caused[place] = self.caused.get(place, 0) + 1
        self.caused_at[(*place, self.caused[place])] = self.now

    def decision(self, scope: str, number: int, partition: int) -> Decision:
        route, deployment = split_scope(scope)
        active = number % 2 == 1
        return Decision(
            kind="activated" if active else "deactivated",
            scope=scope,
            route=route,
            deployment=deployment,
            partition=partition,
            state="active" if active else "inactive",
            mode="error_spike" if active else "",
            modes=("error_spike",) if active else (),
            muted=(),
            fallbacks={"*": ["rule"]} if active else {},
            primary_share=0.05 if active else 1.0,
            probes_per_s=None,
            transition=number,
            event_id=event_id(scope, number),
            at=self.caused_at[(scope, partition, number)],
            on_expiry="revert",
            hold_max_s=600.0,
            next_revert_at=None,
            damped_until=None,
            evidence=Evidence(),
            disposition="act",
            reason="",
            contract="",
        )

    # What happens to workers.

    def start_worker(self, skew_s: float) -> Worker:
        self._started += 1
        worker = Worker(self, f"w{self._started}", skew_s)
        self.workers.append(worker)
        return worker

    def crash(self, worker: Worker) -> None:
        self.workers.remove(worker)
        for partition in [p for p, holder in self.group.items() if holder is worker]:
            del self.group[partition]

    def give(self, partition: int, worker: Worker) -> None:
        """The group moves a partition; the worker that had it learns of it later, if it lives."""
        self.group[partition] = worker
        if partition not in worker.owners:
            worker.assign(partition)

    def tell(self, worker: Worker) -> None:
        """The group reaches a worker: what it no longer has, and that it stands by the rest."""
        for partition in list(worker.owners):
            if self.group.get(partition) is worker:
                worker.confirm(partition)
            else:
                worker.revoke(partition)

    # Liars: whoever may write, and writes what no owner would.

    def lie(self, kind: str, scope: str, partition: int, epoch: str, revision: str = "none") -> None:
        """Append a message that no owner would write.

        Args:
            kind: owner, tombstone, or a scope's state.
            partition: that the record names.
            epoch, revision: `none`, `own`: what the scope's owner has used last, the `next` one, or at a
                bound: `half` of all numbers, the `most` that are believed at this offset, one `more`, `all`.
        """
        most = most_counted(self.control.end)
        bounds = {"none": 0, "half": MOST_COUNT // 2, "most": most, "more": most + 1, "all": MOST_COUNT}
        own_epoch, own_revision = self._numbers_of(scope)
        epochs = bounds | {"own": own_epoch, "next": own_epoch + 1}
        revisions = bounds | {"own": own_revision, "next": own_revision + 1}
        self.lies += 1
        self.believed = self.believed or epoch in ("half", "most") or revision == "most"
        self._lie(kind, scope, partition, epochs[epoch], revisions[revision])

    def _numbers_of(self, scope: str) -> tuple[int, int]:
        """Epoch of the scope's owner, and the revision that it has written last."""
        holder = self.group.get(self.home(scope))
        owner = holder.owners.get(self.home(scope)) if holder else None
        published = owner.published.get(scope) if owner else None
        return owner.epoch if owner else 0, published.revision if published else 0

    def _lie(self, kind: str, scope: str, partition: int, epoch: int, revision: int) -> None:
        if kind == "owner":
            message = owner_message(partition, "liar", epoch, self.now, 15.0)
        elif kind == "tombstone":
            message = tombstone_message(scope, epoch, revision)
        else:
            route, deployment = split_scope(scope)
            state: State = "active" if kind == "active" else "inactive"
            record = ControlRecord(
                scope=scope,
                route=route,
                deployment=deployment,
                partition=partition,
                state=state,
                epoch=epoch,
                revision=revision,
                transition=revision,
                issued_at=self.now,
                event_id=event_id(scope, revision),
            )
            message = control_message(record, turned=True)
        self.control.append(message, self.now)

    # Rest.

    def settle(self, seconds: int = 8) -> None:
        """Every partition given to somebody awake, and time for all to be said and read."""
        if all(worker.asleep for worker in self.workers):
            self.start_worker(0.0)
        awake = [worker for worker in self.workers if not worker.asleep]
        for _ in range(seconds):
            self.now += 1.0
            for partition in range(self.count):
                if self.group.get(partition) not in awake:
                    self.give(partition, awake[partition % len(awake)])
            for worker in awake:
                worker.drain()
                self.tell(worker)
                if worker.count != self.count or any(owner.suspects for owner in worker.owners.values()):
                    worker.recount()
                worker.tick()
                worker.drain()
            busy = True
            while busy:
                busy = False
                for worker in awake:
                    busy = worker.judge() or worker.drain() or busy
            for reader in self.readers:
                while reader.step():
                    pass

    def wanted(self) -> dict[str, str]:
        """What every reader is to do at rest: the operator's order, else what is judged."""
        orders = dict(self.orders)
        found = {}
        for scope in SCOPES:
            order = orders.get(scope)
            judged = "active" if self.truth(scope, self.home(scope)) % 2 else "inactive"
            found[scope] = order.state if order and self.now < order.until else judged
        return found

    def check_rest(self) -> None:
        """The laws that hold once everything has been said and read."""
        for partition in range(self.count):
            owners = [w.owners[partition] for w in self.workers if not w.asleep and partition in w.owners]
            assert [owner.phase for owner in owners] == [Phase.OWNING], "one owner, and it owns"
        readers = {f"reader {number}": reader for number, reader in enumerate(self.readers)}
        readers["late reader"] = self.late_reader()
        for _ in range(4):
            self.now += (
                COMPACTION_LAG_S / 3
            )  # in steps that cut nobody off: reading all again would heal much
            self.settle(1)
        self.control.compact(self.now, lambda offset: False)
        self.settle(4)
        while any(order and abs(order.until - self.now) < 5 for _, order in self.orders):
            self.settle(5)  # workers' clocks differ on whether such an order is over
        readers["late reader of a compacted topic"] = self.late_reader()
        wanted = self.wanted()
        for name, reader in readers.items():
            while reader.step():
                pass
            assert reader.active() == wanted, f"{name} disagrees"
        self._check_records(readers)
        self._check_nothing_lost()

    def late_reader(self) -> Reader:
        reader = Reader(self)
        while reader.step():
            pass
        return reader

    def _check_records(self, readers: dict[str, Reader]) -> None:
        for scope in SCOPES:
            said = self.group[self.home(scope)].owners[self.home(scope)].published.get(scope)
            for name, reader in readers.items():
                held = reader.view.held.get(scope)
                if said is None:
                    assert held is None or held.state == "inactive", f"{name} holds what nobody says"
                else:
                    assert held == said, f"{name} holds another record of {scope} than its owner"

    def _check_nothing_lost(self) -> None:
        """Every transition that was judged is on the audit, or a later one of its scope is."""
        told: dict[str, int] = {}
        identity: dict[tuple[str, int], str] = {}
        for entry in self.audit.entries:
            record = entry.message.record
            assert isinstance(record, ControlRecord)
            told[record.scope] = max(record.transition, told.get(record.scope, 0))
            known = identity.setdefault((record.scope, record.transition), record.event_id)
            assert known == record.event_id, "one transition, two identities"
        for scope in SCOPES:
            assert told.get(scope, 0) >= self.truth(scope, self.home(scope)), (
                f"a transition of {scope} is lost"
            )
        for entry in self.control.entries:
            if entry.message.record is not None:
                decode_control_message(entry.message.key, entry.message.value or b"")
