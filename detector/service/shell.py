"""The worker around its partitions: assignments, restores, time, and what may be committed."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP

from detector.contract.model import Contract
from detector.pipeline import Pipeline
from detector.service import topics_admin
from detector.service.controlfeed import ControlFeed
from detector.service.cover import Cover
from detector.service.decode import Homes
from detector.service.desk import Desk
from detector.service.logs import logger
from detector.service.metrics import Metrics, route_failed
from detector.service.outbox import Outbox
from detector.service.ownership import Phase
from detector.service.partition import CUT_OFF_S, EVALUATIONS, INPUTS, TELEMETRY, PartitionWorker
from detector.service.refused import Refused
from detector.service.settings import Settings
from detector.service.snapshots import SnapshotReader, SnapshotWriter, Turn, breathe
from detector.service.starts import Starts
from detector.service.topics_admin import Cluster
from detector.service.upkeep import Upkeep
from topics.names import topics

_BEAT_S = 0.05
_LULLS_S = 0.1  # of waiting for records to be judged first, in each beat
_SPARE_S = 0.001  # longer than the wait for the interpreter that `app.serve` sets
_FINISH_S = 2.0


class Shell:
    """All that one worker has beside its Faust app; gives the transport its offsets."""

    def __init__(self, settings: Settings, contract: Contract, cluster: Cluster, *, owner_id: str) -> None:
        """Args: `owner_id`: unique to this start of the process."""
        self.settings = settings
        self.contract = contract
        self.declared = topics(settings.topic_prefix)
        self.metrics = Metrics()
        self.metrics.info.labels(contract.digest).set(1)
        self.workers: dict[int, PartitionWorker] = {}
        self.generation = -1
        self.gone: list[str] = []  # topics that were looked for and not found
        self._rounds: dict[int, int] = {}
        self._going_back: set[int] = set()
        self._asked: set[int] = set()
        self.consumer: Any = None  # the transport's, see `attach`
        self.stopping = False
        self.topic_of = {
            TELEMETRY: self.declared.telemetry.name,
            EVALUATIONS: self.declared.evaluations.name,
        }
        self._input_of = {topic: name for name, topic in self.topic_of.items()}
        options = settings.client_options()
        wait_ms = 20 if settings.embedded else 500
        out, packed = settings.librdkafka_options(), "none" if settings.embedded else "zstd"
        self.control = Outbox(out, name="control")
        self.bulk = Outbox(out, name="bulk", linger_ms=5)
        self.snapshots = Outbox(out, name="snapshots", linger_ms=5, compression=packed)
        self.outboxes = {"control": self.control, "bulk": self.bulk, "snapshots": self.snapshots}
        self.desk = Desk(
            self.control,
            self.declared,
            owner_id=owner_id,
            partitions=cluster.partitions,
            lease_s=contract.defaults.lease_s,
            terms=contract,
            clock=time.time,
            changed=self._owner_changed,
        )
        self.feed = ControlFeed(
            options,
            self.declared.control.name,
            self.declared.overrides.name,
            self.desk,
            fetch_max_wait_ms=wait_ms,
        )
        self._homes, self._at_start = Homes(cluster.partitions), cluster.partitions
        self.refused = Refused(
            self.bulk,
            deadletter=self.declared.deadletter.name,
            inputs=self.topic_of,
            max_bytes=cluster.deadletter_bytes,
        )
        self._writer = SnapshotWriter(self.snapshots, self.declared.snapshots.name)
        self._reader = SnapshotReader(options, self.declared.snapshots.name, fetch_max_wait_ms=wait_ms)
        self._log = logger(part="shell")
        self._upkeep = Upkeep(self.metrics.snapshot.observe)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._alive_s = time.monotonic()

    def attach(self, consumer: Any) -> None:
        """The app has made its consumer."""
        self.consumer = consumer
        self._starts = Starts(
            consumer,
            self._input_of,
            self.contract,
            self.metrics,
            partitions=self._at_start,
            embedded=self.settings.embedded,
        )

    def start(self) -> None:
        """Begin to read and write control records; partitions come with the group."""
        for outbox in self.outboxes.values():
            outbox.start(self.ended)
        self.feed.start(self.ended)
        self.spawn(self._beat(), "beat")

    async def stop(self) -> None:
        """End everything; what is under way gets a second."""
        self.stopping = True
        if self.consumer is not None:
            self.consumer.reader.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(
            *(box.stop() for box in self.outboxes.values()), self.feed.stop(), return_exceptions=True
        )

    def spawn(self, work: Any, name: str) -> "asyncio.Task[None]":
        """Begin a task that ends with this shell at the latest."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self.ended)
        return task

    def ended(self, task: "asyncio.Task[Any]") -> None:
        """A task of ours is over; one that failed ends this life of the service."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("task_failed", task=task.get_name(), exc_info=error)
            if self.failed is not None and not self.stopping:
                self.failed(error)

    failed: Callable[[BaseException], None] | None = None

    # What the group says, and what the transport asks.

    def joined(self, assigned: Iterable[TP]) -> None:
        """The group has gone on with this worker in it; without partitions nothing else tells."""
        if not set(assigned):
            self.generation = self.consumer.app.consumer_generation_id

    async def start_offsets(self, assigned: frozenset[TP]) -> Mapping[TP, int]:
        """A new assignment: claim, restore, and say where to read on."""
        self._drop_all()
        self.generation = self.consumer.app.consumer_generation_id
        inputs = frozenset(tp for tp in assigned if tp.topic in self._input_of)
        if not inputs:
            return {}
        starts = await self._begin(inputs)
        self._log.info("assigned", partitions=sorted(self.workers), generation=self.generation)
        return starts

    async def _begin(self, inputs: frozenset[TP]) -> dict[TP, int]:
        """Claim and restore the partitions of these inputs; returns where to read on."""
        started = time.monotonic()
        workers = {
            partition: self._worker(partition) for partition in sorted({tp.partition for tp in inputs})
        }
        for partition, worker in workers.items():
            self.desk.assign(partition)
            self.workers[partition] = worker
        self.spawn(self._claim(list(workers)), "claim")
        found, starts, ends = await self._starts.look(self._reader, inputs)
        for partition, worker in workers.items():
            if self.workers.get(partition) is not worker:
                continue  # the group has gone on
            own = {self._input_of[tp.topic]: tp for tp in inputs if tp.partition == partition}
            await worker.restore(
                found[partition],
                {name: starts[tp] for name, tp in own.items()},
                {name: ends[tp] for name, tp in own.items()},
            )
        self.metrics.restore.observe(time.monotonic() - started)
        return starts

    async def _begin_again(self, partition: int) -> None:
        """One that gave way may claim: what it judged last was said to nobody, so it is restored anew."""
        generation = self.generation
        self._going_back.add(partition)
        try:
            starts = await self._begin(frozenset(TP(topic, partition) for topic in self._input_of))
            if self.generation == generation:
                self.consumer.read_again(starts)
                self._rounds[partition] = self.round_of(partition) + 1
                self._log.info("began_again", partition=partition, starts=list(starts.values()))
        finally:
            self._going_back.discard(partition)

    async def reload(self, contract: Contract) -> None:
        """Judge by another contract from here on: each partition is covered, and begun again under it.

        That is what a takeover does: windows of predicates that are the same go on, and no record is lost.
        """
        self.metrics.info.remove(self.contract.digest)
        self.contract = contract
        self.metrics.info.labels(contract.digest).set(1)
        self.desk.renew(contract, contract.defaults.lease_s)
        self.attach(self.consumer)
        for partition, worker in list(self.workers.items()):
            if partition not in self._going_back and self.workers.get(partition) is worker:
                await worker.finish()
                if self.workers.get(partition) is worker:  # else it was taken away meanwhile
                    await self._begin_again(partition)
        self._log.info("reloaded", contract=contract.digest)

    def committable(self) -> Mapping[TP, int]:
        """What the partitions' marks cover."""
        return {
            TP(self.topic_of[name], partition): offset
            for partition, worker in self.workers.items()
            for name, offset in worker.cover.committable.items()
        }

    def unconfirmed(self) -> Mapping[TP, int]:
        """What is safe of partitions whose owner gave way: a commit that is taken says they are ours."""
        self._asked = set(self.desk.yielded())
        return {
            TP(self.topic_of[name], partition): offset
            for partition in self._asked
            if (worker := self.workers.get(partition)) is not None
            for name, offset in worker.cover.committed.items()
        }

    @property
    def _covers(self) -> dict[int, Cover]:
        return {partition: worker.cover for partition, worker in self.workers.items()}

    async def spare(self) -> bool:
        """Judge some of what can wait, for a moment; where there is nothing, see to snapshots."""
        turn, more = Turn(_SPARE_S), False
        for worker in list(self.workers.values()):
            more = worker.spare(turn) or more
            if turn.over():
                break
        if not more:
            self._upkeep.in_a_spare_moment(self._covers)
        await breathe()
        return more

    def round_of(self, partition: int) -> int:
        """How often the partition was begun again."""
        return self._rounds.get(partition, 0)

    def reached(self, tp: TP, end: int) -> None:
        """An input has been judged up to its present end."""
        worker = self.workers.get(tp.partition)
        if worker is not None and tp.partition not in self._going_back:
            worker.reached(self._input_of[tp.topic], end)

    def committed(self, offsets: Mapping[TP, int]) -> None:
        """The group still takes our commits: an owner that gave way may claim again."""
        asked, self._asked = self._asked, set()
        for partition in asked.intersection(self.desk.yielded(), self.workers):
            if any(tp.partition == partition for tp in offsets):
                self.spawn(self._begin_again(partition), "begin-again")

    async def revoked(self) -> None:
        """Hand over before the group goes on: cover, mark, commit; then forget."""
        try:
            async with asyncio.timeout(_FINISH_S):
                await asyncio.gather(*(worker.finish() for worker in self.workers.values()))
                if self.workers:  # else told to stop before the consumer was there
                    await self.consumer.force_commit()
        except (TimeoutError, KafkaError) as error:
            self._log.warning("handover_cut_short", error=repr(error))
        self._drop_all()

    def _drop_all(self) -> None:
        for partition in self.workers:
            self._silence(partition)
            self.desk.release(partition)
            self.metrics.forget(partition)
        self.workers, self.generation = {}, -1

    def _silence(self, partition: int) -> None:
        """Judge and write no more for a partition."""
        self.workers[partition].close()
        self.refused.forget(partition)
        self.snapshots.drop(("snapshot", partition))

    # What the agents bring.

    async def take(self, message: Any) -> None:
        """What has come from one input. From before the last assignment is dropped: it is read again."""
        name = self._input_of[message.topic]
        for batch in message.value:
            worker = self.workers.get(batch.partition)
            old = message.generation_id != self.generation or batch.round != self.round_of(batch.partition)
            if worker is None or old or batch.partition in self._going_back:
                continue
            self._notice_stall()
            self.refused.saw(len(batch.records))
            await worker.take(name, batch.records)

    # Owners.

    def _owner_changed(self, partition: int) -> None:
        worker = self.workers.get(partition)
        if worker is None:
            return
        phase = self.desk.phase(partition)
        if phase is Phase.YIELDED:
            self.metrics.fenced.inc()
            self._silence(partition)
        elif phase is Phase.READING and partition in self.desk.owners:
            self.spawn(self._claim([partition]), "claim")
        worker.look()

    async def _claim(self, partitions: Iterable[int]) -> None:
        """Read control and overrides to their ends of now, then claim."""
        owners = {partition: self.desk.owners.get(partition) for partition in partitions}
        await self.feed.read_to_now()
        for partition, owner in owners.items():
            if self.desk.owners.get(partition) is owner:
                self.desk.claim(partition)

    # Time.

    async def _beat(self) -> None:
        """The loop that judges time: ticks, heartbeats, snapshots."""
        while True:
            await asyncio.sleep(_BEAT_S)
            self._notice_stall()
            lull = partial(self.consumer.lull, time.monotonic() + _LULLS_S)
            for worker in list(self.workers.values()):
                await lull()
                seen = {name: self.seen(name, worker.partition) for name in INPUTS}
                await worker.tick(seen, time.time(), lull)
                self._upkeep.in_saved_time(self._covers)
            if self.desk.suspects():
                await self._recount()

    def seen(self, name: str, partition: int) -> tuple[int | None, float | None]:
        """End offset of an input that the last fetch brought, and when that was (Unix s)."""
        seen: tuple[int | None, float | None] = self.consumer._thread.seen(TP(self.topic_of[name], partition))
        return seen

    def _notice_stall(self) -> None:
        """This process was stopped for a while: the broker may have gone on without it."""
        now = time.monotonic()
        if now - self._alive_s > CUT_OFF_S:
            self._log.warning("stalled", seconds=round(now - self._alive_s, 1))
            for worker in self.workers.values():
                worker.cut_off = True
        self._alive_s = now

    async def _recount(self) -> None:
        options = self.settings.client_options()
        try:
            count = await topics_admin.partition_count(options, self.declared.telemetry.name)
        except (KafkaError, OSError):
            return
        if count:
            if count != self.desk.partitions:
                self._log.warning("partitions_changed", before=self.desk.partitions, now=count)
            self._homes.recount(count)
            self.desk.recounted(count)

    def _worker(self, partition: int) -> PartitionWorker:
        pipeline = Pipeline(
            self.contract,
            partition=partition,
            topic=self.declared.telemetry.name,
            evaluations_topic=self.declared.evaluations.name,
            on_failure=partial(route_failed, partition, self.metrics),
        )
        cover = Cover(
            partition,
            pipeline,
            desk=self.desk,
            refused=self.refused,
            control=self.control,
            snapshots=self.snapshots,
            writer=self._writer,
            period_s=self.settings.snapshot_period_s,
            clock=time.time,
        )
        return PartitionWorker(
            partition,
            pipeline,
            cover,
            desk=self.desk,
            homes=self._homes,
            refused=self.refused,
            outboxes=(self.control, self.bulk),
            metrics=self.metrics,
            clock=time.time,
            ask_ends=lambda wanted: self._starts.ends_of(wanted),
        )
