"""Batches instead of records through Faust: one event per topic and fetch, offsets of our own.

Stock Faust spends four tasks and three turns of the event loop on each record, and an event costs as much as
judging a hundred. So an agent is given all that has come from its topic at once, partition by partition.
Group membership, rebalance, flow control and agents remain Faust's.

What may be committed, and where reading begins, is not Faust's to decide: a commit must not pass the
acknowledged snapshots, and reading goes on from what the snapshots cover. Both come from `Offsets`.

Every private name of Faust and aiokafka that is leaned on here is held by a contract test.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, cast

from aiokafka import OffsetAndMetadata, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from faust.serializers.schemas import Schema
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service

from detector.service.garbage import in_a_spare_moment
from detector.service.inputs import Chunk, InputReader
from detector.service.logs import logger
from detector.service.standstill import Standstill, StandstillWatch

_LOOK_S = 0.05
_WATCH_S = 1.0
_ENDS_S = 0.2


class Offsets(Protocol):
    """Where reading begins and how far a commit may go."""

    async def start_offsets(self, assigned: frozenset[TP]) -> Mapping[TP, int]:
        """Called once per assignment, before a record is delivered: offset to begin at, per partition."""

    def committable(self) -> Mapping[TP, int]:
        """Offsets that acknowledged snapshots cover; only these are ever committed."""

    def unconfirmed(self) -> Mapping[TP, int]:
        """Offsets to commit although they may be no news: the group's answer is wanted."""

    async def spare(self) -> bool:
        """All that was fetched is judged: do a little of what can wait; whether there is more."""

    def round_of(self, partition: int) -> int:
        """Grows each time that reading of a partition begins again within one assignment."""

    def reached(self, tp: TP, end: int) -> None:
        """All before this offset is judged, and it is the end for now; the last ones need not be records."""

    def committed(self, offsets: Mapping[TP, int]) -> None:
        """The broker has taken these."""


class Batch(NamedTuple):
    """Records of one partition, and the round of reading that they belong to."""

    partition: int
    round: int
    records: Sequence[Any]


class BatchSchema(Schema[Any, Any]):
    """No decoding: the event's value is the list of batches that the consumer put into the message."""

    def compile(self, app: Any, **_: Any) -> Any:
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, None, message)

        return decode


class BatchThread(driver.AIOKafkaConsumerThread):
    """The thread that owns the aiokafka consumer, which is a member of the group and fetches nothing."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._seen: dict[TP, tuple[int, float]] = {}

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Without tables Faust takes round robin, which gives the two topics' partition n to two workers.
        consumer._partition_assignment_strategy = (RangePartitionAssignor,)
        consumer._isolation_level = "read_committed"  # of the ends that it asks for; see `InputReader`
        return consumer

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """The group has given partitions, which another consumer reads."""
        consumer = self._ensure_consumer()
        consumer.pause(*consumer.assignment())
        self._seen = {}
        await super().on_partitions_assigned(assigned, generation_id)

    async def look_at_ends(self) -> None:
        """Ask for the ends of what is assigned, on and on; raises what Faust's own fetching raises."""
        consumer, taken = self._ensure_consumer(), 0
        while True:
            await asyncio.sleep(_ENDS_S)
            # Nobody waits for a fetch here, to whom the group's trouble would be told.
            consumer._coordinator.check_errors()
            places = consumer.assignment()
            reader = cast(BatchConsumer, self.consumer).reader
            if not reader.waiting or reader.taken != taken:
                # It brings nothing. Without it the group is left in the end: nobody seems to be at work here.
                taken = reader.taken
                await self._fetch_records(consumer, set(places), timeout=0)
            if not places or not self.consumer.flow_active:
                continue
            asked = time.time()
            with suppress(KafkaError):
                ends = await consumer.end_offsets(list(places))
                self._seen = {TP(tp.topic, tp.partition): (end, asked) for tp, end in ends.items()}

    async def commit_quietly(self, offsets: Mapping[TP, int]) -> bool:
        """Commit; False where the broker cannot be reached or the group has moved on: a later one will do."""
        consumer = self._ensure_consumer()
        wanted = {
            TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
        }
        try:
            await consumer.commit({tp: meta for tp, meta in wanted.items() if tp in consumer.assignment()})
        except KafkaError:
            return False
        return True

    async def ends(self, tps: frozenset[TP]) -> dict[TP, int]:
        """Ask the broker for end offsets."""
        wanted = [TopicPartition(tp.topic, tp.partition) for tp in tps]
        found = await self._ensure_consumer().end_offsets(wanted)
        return {TP(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def begins(self, tps: frozenset[TP]) -> dict[TP, int]:
        """Ask the broker for the first offsets still there."""
        wanted = [TopicPartition(tp.topic, tp.partition) for tp in tps]
        found = await self._ensure_consumer().beginning_offsets(wanted)
        return {TP(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def at_time(self, tps: frozenset[TP], time_s: float) -> dict[TP, int | None]:
        """Ask for the first offset at or after a time (Unix s); None where there is none."""
        wanted = {TopicPartition(tp.topic, tp.partition): int(time_s * 1000) for tp in tps}
        found = await self._ensure_consumer().offsets_for_times(wanted)
        return {
            TP(tp.topic, tp.partition): None if item is None else item.offset for tp, item in found.items()
        }

    @property
    def ends_seen(self) -> Mapping[TP, tuple[int, float]]:
        """Of all that is assigned what `seen` says of one."""
        return self._seen

    def seen(self, tp: TP) -> tuple[int | None, float | None]:
        """The end offset when it was last asked for, and when that was (Unix s)."""
        return self._seen.get(tp, (None, None))


class ReadingStoppedError(RuntimeError):
    """Records lie at the broker, and another client brought none of them either."""


class BatchConsumer(driver.Consumer):
    """Faust's consumer with batches, and with offsets from outside."""

    offsets: Offsets
    reader: InputReader

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._sought: dict[TP, int] = {}  # how often each partition was sought
        self._in_work: set[Any] = set()  # batches that agents were given
        self._all_done = asyncio.Event()
        self._idle = asyncio.Event()
        self._standstills, self._watch_at_s = StandstillWatch(), 0.0

    def _new_consumer_thread(self) -> BatchThread:
        return BatchThread(self, loop=self.loop, beacon=self.beacon)

    async def in_thread(self, name: str, *args: Any) -> Any:
        """Call one of `BatchThread`'s coroutines in its own loop."""
        thread = self._thread
        return await thread.call_thread(getattr(thread, name), *args)

    async def perform_seek(self) -> None:
        """Go to where the snapshots say, wherever the commit is; Faust calls this before it resumes."""
        self._in_work.clear()  # what agents were not given yet, they never will be
        assigned = frozenset(self.assignment())
        starts = await self.offsets.start_offsets(assigned)
        starts = {tp: offset for tp, offset in starts.items() if tp in self.assignment()}
        self._go_to(starts, whole=True)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """The group goes on; whoever has partitions then seeks them all."""
        self.reader.read({}, {}, whole=True)
        await super().on_partitions_revoked(revoked)

    def read_again(self, starts: Mapping[TP, int]) -> None:
        """Go back with some partitions, while the others are read on."""
        self._go_to(starts, whole=False)

    def _go_to(self, starts: Mapping[TP, int], *, whole: bool, anew: bool = False) -> None:
        sought = {tp: self._sought.get(tp, 0) + 1 for tp in starts}
        self._sought.update(sought)
        self._read_offset.update(starts)
        self.reader.read(starts, sought, whole=whole, anew=anew)

    def ack(self, message: Any) -> bool:
        """An agent is done with a batch. That frees the batch; it moves no offset."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    def done(self, message: Any) -> None:
        """An agent has judged a batch; Faust's own streams acknowledge without a word to the consumer."""
        self._in_work.discard(message)
        self._all_done.set()

    async def wait_empty(self) -> None:
        """A batch in work is given up, not waited for: what no snapshot covers is read again."""

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what the snapshots cover."""
        assigned = self.assignment()
        wanted = {
            tp: offset
            for tp, offset in self.offsets.committable().items()
            if tp in assigned and ((before := self._committed_offset[tp]) is None or offset > before)
        }
        if self.flow_active:
            wanted |= {tp: at for tp, at in self.offsets.unconfirmed().items() if tp in assigned}
        if not wanted or not await self.in_thread("commit_quietly", wanted):
            return False
        self._committed_offset.update(wanted)
        self.offsets.committed(wanted)
        return True

    async def verify_all_partitions_active(self) -> None:
        """Faust's check takes an idle topic for a hang; readiness says what is wrong instead."""

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand on what lies ready, each time that what came before is judged."""
        stopped = self._stopped.is_set
        fetcher_stopped = fetcher._stopped.is_set
        thread, reader = cast(BatchThread, self._thread), self.reader
        looking = asyncio.run_coroutine_threadsafe(thread.look_at_ends(), thread.thread_loop)
        looking.add_done_callback(lambda _: reader.wake_from_afar())
        try:
            while not (stopped() or fetcher_stopped()):
                if not self.flow_active:
                    await self.wait(cast(Any, self.can_resume_flow))
                    continue
                active = self._get_active_partitions()
                reader.listen()
                await self._use_spare_time()
                await reader.arrived(1.0)
                for other in (looking, reader.failed):
                    if other.done() and not other.cancelled():
                        other.result()
                # What was fetched while the flow stopped is fetched again: a resume always seeks.
                chunks = reader.take()
                found = self._current(chunks)
                if found and self.flow_active:
                    await self._deliver(found, active)
                    await self._worked_off()
                self._say_what_was_reached(chunks)
                self._watch(thread.ends_seen)
                await asyncio.sleep(0)  # whatever came of it, others have their turn
        except self.consumer_stopped_errors:
            if not self.transport.app.should_stop:
                raise
        finally:
            looking.cancel()

    def _watch(self, ends: Mapping[TP, tuple[int, float]]) -> None:
        """Have another client read on where the broker tells of what nobody brings.

        Raises:
            ReadingStoppedError: that did not help; whoever began all this begins it anew.
        """
        now_s = time.monotonic()
        if self.reader.waiting or self._in_work or now_s < self._watch_at_s:
            return
        self._watch_at_s, reached = now_s + _WATCH_S, self.reader.reached
        found = self._standstills.look(ends, reached, wall_s=time.time(), now_s=now_s)
        if not found:
            return
        places = {f"{tp.topic}/{tp.partition}": f"at {reached[tp]} of {ends[tp][0]}" for tp in found}
        if Standstill.GIVE_UP in found.values():
            raise ReadingStoppedError(f"no records come although they lie there: {places}")
        logger(part="inputs").error("reading_stands_still", places=places, remedy="another client reads on")
        self._go_to({tp: reached[tp] for tp in self.assignment() if tp in reached}, whole=True, anew=True)

    @property
    def busy(self) -> bool:
        """Whether records are in an agent's hands, or may lie ready."""
        return bool(self._in_work) or self.reader.waiting

    async def lull(self, end: float) -> None:
        """Let what was fetched be judged first, up to `end` of the monotonic clock."""
        await asyncio.sleep(0)
        left_s = end - time.monotonic()
        if self.busy and left_s > 0:
            self._idle.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._idle.wait()

    async def _use_spare_time(self) -> None:
        reader = self.reader
        if not reader.waiting:
            self._idle.set()
        while not reader.waiting and self.flow_active and await self.offsets.spare():
            pass
        if not reader.waiting:
            in_a_spare_moment()

    def _current(self, chunks: list[Chunk]) -> dict[TP, list[Any]]:
        """Records by partition, none from before a seek."""
        found: dict[TP, list[Any]] = {}
        for chunk in chunks:
            if chunk.records and chunk.round == self._sought.get(chunk.tp, 0):
                found.setdefault(chunk.tp, []).extend(chunk.records)
        return found

    def _say_what_was_reached(self, chunks: list[Chunk]) -> None:
        """Once all that came before is judged; if it never is, there is a seek, and an end after it."""
        if not self.flow_active or self._in_work:
            return
        for chunk in chunks:
            if chunk.end is not None and chunk.round == self._sought.get(chunk.tp, 0):
                self.offsets.reached(chunk.tp, chunk.end)

    async def _deliver(self, found: Mapping[TP, list[Any]], active: set[TP]) -> None:
        generation = self.app.consumer_generation_id
        batches: dict[str, list[Batch]] = {}
        for tp, fetched in found.items():
            if tp not in active and tp not in self._buffered_partitions:
                continue
            self._read_offset[tp] = fetched[-1].offset + 1
            batch = Batch(tp.partition, self.offsets.round_of(tp.partition), fetched)
            batches.setdefault(tp.topic, []).append(batch)
        for topic, together in batches.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            first = together[0]
            message = ConsumerMessage(
                topic,
                first.partition,
                first.records[-1].offset,
                first.records[-1].timestamp / 1000,
                first.records[-1].timestamp_type,
                None,
                None,
                cast(Any, together),
                None,
                0,
                0,
                TP(topic, first.partition),
                generation_id=generation,
            )
            self._in_work.add(message)
            await self.callback(message)

    async def _worked_off(self) -> None:
        """Wait until the agents are done with what they were given: meanwhile more comes together."""
        while self._in_work and self.flow_active and not self._stopped.is_set():
            self._all_done.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._all_done.wait()


def batch_transport(offsets: Offsets, reader: InputReader) -> type[Service]:
    """Make the transport class; set an instance on the app before a topic or an agent is declared."""
    consumer: Any = type("Consumer", (BatchConsumer,), {"offsets": offsets, "reader": reader})
    # The framework names a service's logger after the module that made the class.
    consumer.logger = BatchThread.logger = driver.logger
    return type("BatchTransport", (driver.Transport,), {"Consumer": consumer})
