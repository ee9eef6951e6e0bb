"""Owner and reader against crashes, zombies, late joiners, compaction, lapses, new counts and a new topic."""

from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from detector.gateway import fold
from detector.gateway.fold import Change, Entry, Fold, Tombstone
from detector.service.control_log import ControlLog, ScopeEntry, Unreadable
from detector.service.echoes import Echoes
from detector.service.ownership import PartitionOwner
from detector.service.ownership import Phase as Status
from detector.service.statements import Message
from tests.property.control_world import SCOPES, Reader, Worker, World
from topics.control import Override, OwnerRecord
from topics.errors import DecodeError

_BOUNDED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
some = st.integers(min_value=0, max_value=5)
few = st.integers(min_value=0, max_value=4)
scopes = st.sampled_from(SCOPES)
skews = st.sampled_from([0.0, -3.0, 3.0])
numbers = st.sampled_from(["none", "own", "next", "half", "most", "more", "all"])


class Control(RuleBasedStateMachine):
    """The world, pushed in every direction; at the end of each run it is let come to rest."""

    @initialize(skew=skews)
    def begin(self, skew: float) -> None:
        self.world = World()
        self.world.start_worker(skew)
        self.world.settle(1)

    def _awake(self, number: int) -> Worker | None:
        awake = [worker for worker in self.world.workers if not worker.asleep]
        return awake[number % len(awake)] if awake else None

    @rule(seconds=st.sampled_from([0.01, 0.2, 1.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(seconds=st.sampled_from([20.0, 40.0, 90_000.0]))
    def much_time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(scope=scopes, judged=few, written=few)
    def fault_begins_or_ends(self, scope: str, judged: int, written: int) -> None:
        """And its worker goes some of the way."""
        self.world.cause(scope)
        worker = self.world.group.get(self.world.home(scope))
        if worker is not None and not worker.asleep:
            for _ in range(judged):
                worker.judge()
            for _ in range(written):
                worker.write()

    @rule(number=some, reads=few, judged=few, written=few)
    def worker_goes_on(self, number: int, reads: int, judged: int, written: int) -> None:
        if worker := self._awake(number):
            for step, times in ((worker.step, reads), (worker.judge, judged), (worker.write, written)):
                for _ in range(times):
                    step()

    @rule(number=some)
    def worker_drains(self, number: int) -> None:
        if worker := self._awake(number):
            worker.drain()

    @rule(number=some, saves=st.booleans())
    def worker_ticks(self, number: int, saves: bool) -> None:
        if worker := self._awake(number):
            if saves:
                worker.snapshot()
            worker.tick()

    @rule(number=some)
    def worker_is_told(self, number: int) -> None:
        if worker := self._awake(number):
            self.world.tell(worker)

    @rule(number=some)
    def worker_recounts(self, number: int) -> None:
        worker = self._awake(number)
        if worker and any(owner.suspects for owner in worker.owners.values()):
            worker.recount()

    @rule(number=some)
    def worker_reconnects(self, number: int) -> None:
        if worker := self._awake(number):
            worker.reconnect()

    @rule(
        partition=st.integers(0, 2), skew=skews, fate=st.sampled_from(["asleep", "dead", "unaware"]), done=few
    )
    def partition_changes_hands(self, partition: int, skew: float, fate: str, done: int) -> None:
        """The one who had it sleeps, dies or has not heard yet; the next one goes some of the way."""
        world = self.world
        if partition >= world.count:
            return
        holder = world.group.get(partition)
        if holder is not None and fate == "dead":
            world.crash(holder)
        elif holder is not None and fate == "asleep":
            holder.asleep = True
        others = [worker for worker in world.workers if worker is not holder and not worker.asleep]
        worker = others[0] if others and len(world.workers) > 3 else world.start_worker(skew)
        world.give(partition, worker)
        for _ in range(done):
            worker.drain()
            worker.judge()

    @rule(number=some, times=few)
    def zombie_writes(self, number: int, times: int) -> None:
        """What a sleeper had handed to its producer arrives."""
        sleepers = [worker for worker in self.world.workers if worker.asleep]
        for _ in range(times if sleepers else 0):
            sleepers[number % len(sleepers)].write()

    @rule(number=some)
    def zombie_wakes(self, number: int) -> None:
        sleepers = [worker for worker in self.world.workers if worker.asleep]
        if sleepers:
            sleepers[number % len(sleepers)].asleep = False

    @rule(number=some, times=st.sampled_from([1, 3, 1000]))
    def reader_reads(self, number: int, times: int) -> None:
        reader = self.world.readers[number % len(self.world.readers)]
        while times and reader.step():
            times -= 1

    @precondition(lambda self: len(self.world.readers) < 3)
    @rule()
    def reader_joins(self) -> None:
        self.world.readers.append(Reader(self.world))

    @rule(spared=st.sets(st.integers(0, 60), max_size=3))
    def topic_is_compacted(self, spared: set[int]) -> None:
        self.world.control.compact(self.world.now, spared.__contains__)

    @precondition(lambda self: self.world.count < 3)
    @rule()
    def partitions_are_added(self) -> None:
        self.world.count += 1

    # What no clock makes and no topic tells any more is above every claim for readers that remember it.
    @precondition(lambda self: self.world.control.generation < 2 and not self.world.believed)
    @rule()
    def topic_is_made_anew(self) -> None:
        # With the topic goes what told a claim the epochs before it: clocks must differ by less than this.
        self.world.now += 7.0
        self.world.control.make_anew()

    @rule(
        scope=scopes, state=st.sampled_from(["active", "inactive", None]), lasts=st.sampled_from([5.0, 600.0])
    )
    def operator_orders(self, scope: str, state: Literal["active", "inactive"] | None, lasts: float) -> None:
        now = self.world.now
        order = Override(scope=scope, state=state, until=now + lasts, issued_at=now) if state else None
        self.world.orders.append((scope, order))

    @precondition(lambda self: self.world.lies < 3)
    @rule(
        kind=st.sampled_from(["owner", "tombstone", "active", "inactive"]),
        scope=scopes,
        partition=st.integers(0, 3),
        epoch=numbers,
        revision=numbers,
    )
    def somebody_lies(self, kind: str, scope: str, partition: int, epoch: str, revision: str) -> None:
        """One that has write rights, and is no owner: the installation stands all the same.

        Unless the owner is away: what is no record, or ends a scope, then is all that compaction keeps under
        its key, and a successor cannot know of the record that readers hold.
        """
        holder = self.world.group.get(self.world.home(scope))
        answers = holder is not None and not holder.asleep
        if answers or (kind != "tombstone" and {"more", "all"}.isdisjoint({epoch, revision})):
            self.world.lie(kind, scope, partition, epoch, revision)
        if answers and holder is not None:
            holder.drain()

    @rule(longer=st.booleans())
    def the_awake_come_to_rest(self, longer: bool) -> None:
        self.world.settle()
        if longer:
            self.world.check_rest()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.the_awake_come_to_rest(False)
            for worker in self.world.workers:
                while worker.asleep and worker.write():
                    pass
                worker.asleep = False
            self.the_awake_come_to_rest(True)


def _run(examples: int, steps: int, *phases: Phase) -> None:
    bounded = settings(
        _BOUNDED, max_examples=examples, stateful_step_count=steps, phases=phases or tuple(Phase)
    )
    run_state_machine_as_test(Control, settings=bounded)


def test_at_rest_all_readers_agree_with_the_owner_and_nothing_is_lost() -> None:
    """Whatever happened in between: one owner, one truth, no older epoch obeyed, no transition lost."""
    _run(250, 40)


def _owns_at_once(owner: PartitionOwner, now: float) -> list[Message]:
    return owner._claim(now) + owner._take_over(now)


def _claims_by_the_clock(owner: PartitionOwner, now: float) -> list[Message]:
    owner.epoch, owner.phase = int(now * 1000), Status.CLAIMING
    return [owner._beat(now)]


def _says_nothing_again(owner: PartitionOwner, now: float) -> list[Message]:
    owner.phase = Status.OWNING
    return owner._say_what_is_missing(now)


def _catches_up_silently(owner: PartitionOwner, now: float) -> list[Message]:
    owner.caught_up = True
    return []


def _forgets_the_fence(fold: Fold, again: Fold) -> list[Change]:
    fold.fence, fold.held = again.fence, again.held
    return []


def _takes_the_last(fold: Fold, entry: Entry) -> bool:
    if isinstance(entry, OwnerRecord):
        return fold._passes(entry.partition, entry.epoch)
    if isinstance(entry, Tombstone):
        return fold._remove(entry)
    if fold._passes(entry.partition, entry.epoch):
        fold.held[entry.scope] = entry
    return True


def _removes_unfenced(fold: Fold, tombstone: Tombstone) -> bool:
    return fold.held.pop(tombstone.scope, None) is not None


def _by_its_numbers(_: Echoes, entry: ScopeEntry, *, partition: int, epoch: int, **__: object) -> bool:
    here = isinstance(entry, Tombstone) or getattr(entry, "partition", None) == partition
    return here and not isinstance(entry, Unreadable) and entry.epoch == epoch


def _lets_it_rest(world: World) -> None:
    for worker in world.workers:
        worker.asleep = False
    world.settle()
    world.check_rest()


def _anything(_: World) -> None:
    _run(250, 40, Phase.generate)


def _zombie_overwrites(world: World) -> None:
    old = world.start_worker(0.0)
    world.settle(1)
    world.cause("r0")
    old.judge()
    old.asleep = True
    world.cause("r0")
    world.settle(2)
    while old.write():
        pass
    world.settle(2)
    world.crash(old)
    _lets_it_rest(world)


def _route_moves_to_a_new_partition(world: World) -> None:
    world.start_worker(0.0)
    world.settle(1)
    world.cause("r2")
    world.settle(1)
    world.count = 3
    world.give(2, world.start_worker(0.0))
    _lets_it_rest(world)


def _unaware_owner_claims_above(world: World) -> None:
    old = world.start_worker(0.0)
    world.settle(1)
    world.cause("r2")
    world.settle(1)
    world.count = 3
    new = world.start_worker(0.0)
    world.give(2, new)
    for _ in range(4):
        world.now += 10
        new.drain()
    old.drain()  # reads all again after 40 s, and claims and speaks under its old count
    for reader in world.readers:
        while reader.step():
            pass
    _lets_it_rest(world)


def _unaware_owner_speaks_late(world: World) -> None:
    old = world.start_worker(0.0)
    world.settle(1)
    world.cause("r2")
    world.settle(1)
    world.count = 3
    new = world.start_worker(0.0)
    world.give(2, new)
    new.drain()
    order = Override(scope="r2", state="inactive", until=world.now + 5, issued_at=world.now)
    world.orders.append(("r2", order))
    new.drain()
    for reader in world.readers:
        while reader.step():
            pass
    old.step()  # it has read the order, and not yet that the route is another's now
    while old.write():
        pass
    _lets_it_rest(world)


def _fault_holds_at_catching_up(world: World) -> None:
    worker = world.start_worker(0.0)
    world.settle(1)
    world.cause("r0")
    worker.reconnect()
    _lets_it_rest(world)


def _late_tombstone(world: World) -> None:
    old = world.start_worker(0.0)
    for _ in range(2):
        world.settle(1)
        world.cause("r0")
        world.settle(1)
    world.now += 90_000
    while not any(said.record is None for said in old.outbox):
        old.drain()
        old.tick()
        world.now += 1
    old.asleep = True
    world.cause("r0")
    world.settle(2)
    while old.write():
        pass
    _lets_it_rest(world)


def _liar_takes_the_last_epoch(world: World) -> None:
    world.start_worker(0.0)
    world.settle(1)
    world.lie("active", "r0", 0, "half")
    world.settle(2)
    world.start_worker(0.0)
    world.crash(world.workers[0])
    _lets_it_rest(world)


def _liar_takes_the_last_revision(world: World) -> None:
    world.start_worker(0.0)
    world.cause("r0")
    world.settle(1)
    world.lie("active", "r0", 0, "none", "half")
    world.settle(2)
    world.cause("r0")
    _lets_it_rest(world)


def _liar_copies_its_owner(world: World) -> None:
    """With the owner's own partition and epoch, and a revision above, beside or below the owner's."""
    world.start_worker(0.0)
    world.cause("r0")
    world.settle(1)
    world.cause("r0")
    world.settle(1)
    for kind, revision in (("active", "none"), ("active", "own"), ("active", "next"), ("tombstone", "next")):
        world.lie(kind, "r0", 0, "own", revision)
        _lets_it_rest(world)
    world.lie("active", "r0@gpu", 0, "own", "next")  # of which it has said nothing
    _lets_it_rest(world)


def _liar_names_another_partition(world: World) -> None:
    world.start_worker(0.0)
    world.cause("r1")
    world.settle(1)
    world.lie("active", "r0", 1, "half")
    _lets_it_rest(world)


_RULES = [
    pytest.param(Echoes, "is_own", _by_its_numbers, _liar_copies_its_owner, id="knows its own by the letter"),
    pytest.param(PartitionOwner, "reached_end", _owns_at_once, _anything, id="claim read back first"),
    pytest.param(PartitionOwner, "_yield", lambda _: None, _anything, id="stops where another owns"),
    pytest.param(PartitionOwner, "_claim", _claims_by_the_clock, _anything, id="claims above the topic"),
    pytest.param(
        PartitionOwner,
        "_take_over",
        _says_nothing_again,
        _route_moves_to_a_new_partition,
        id="says all again",
    ),
    pytest.param(
        PartitionOwner, "read_scope", lambda *_: [], _zombie_overwrites, id="answers under its keys"
    ),
    pytest.param(
        PartitionOwner,
        "_outranks",
        lambda *_: False,
        _unaware_owner_claims_above,
        id="claims above what it meets",
    ),
    pytest.param(
        PartitionOwner,
        "reached_now",
        _catches_up_silently,
        _fault_holds_at_catching_up,
        id="says what still holds",
    ),
    pytest.param(
        fold, "most_counted", lambda _: 2**52, _liar_takes_the_last_epoch, id="always room for an epoch"
    ),
    pytest.param(fold, "most_counted", lambda _: 2**53, _anything, id="nothing believed without room"),
    pytest.param(
        ControlLog, "fence_of", lambda *_: 0, _liar_names_another_partition, id="claims above its fence"
    ),
    pytest.param(Fold, "_passes", lambda *_: True, _anything, id="fence"),
    pytest.param(Fold, "_remove", _removes_unfenced, _late_tombstone, id="fence for tombstones"),
    pytest.param(Fold, "apply", _takes_the_last, _unaware_owner_speaks_late, id="greater epoch and revision"),
    pytest.param(Fold, "replace", _forgets_the_fence, _anything, id="fence stands through reading again"),
]


@pytest.mark.parametrize(("broken", "rule_name", "replacement", "course"), _RULES)
def test_the_model_notices_each_rule_that_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
    broken: object,
    rule_name: str,
    replacement: object,
    course: Callable[[World], None],
) -> None:
    """Each sentence of the rules is there because something breaks without it: shown by leaving it out."""
    if course is not _anything:
        course(World())
    monkeypatch.setattr(broken, rule_name, replacement)

    with pytest.raises((AssertionError, KeyError, DecodeError)):
        course(World())
