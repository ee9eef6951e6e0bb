"""Faust's consumer keeps the group and fetches nothing, and what it is told reaches who has to know."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from detector.service import transport
from detector.service.inputs import Chunk, Fetched
from detector.service.shell import Shell
from detector.service.transport import Batch, BatchConsumer, BatchThread

HERE, THERE = TopicPartition("t", 0), TopicPartition("t", 1)


class Aiokafka:
    """The consumer of the group, as far as the thread looks at it."""

    def __init__(self) -> None:
        self.paused: set[TopicPartition] = set()
        self.clock = 100.0
        self.trouble: Exception | None = None
        self._coordinator = self

    def assignment(self) -> set[TopicPartition]:
        """Both partitions."""
        return {HERE, THERE}

    def pause(self, *places: TopicPartition) -> None:
        """Noted."""
        self.paused |= set(places)

    def check_errors(self) -> None:
        """What the group's own task has run into."""
        if self.trouble is not None:
            raise self.trouble

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        """It takes two seconds."""
        self.clock += 2.0
        return dict.fromkeys(places, 7)


@pytest.fixture
def consumer() -> Aiokafka:
    """Without trouble."""
    return Aiokafka()


@pytest.fixture
def thread(consumer: Aiokafka, monkeypatch: pytest.MonkeyPatch) -> BatchThread:
    """A thread that is not started, with that consumer; each fetch is noted in `fetched`."""
    made = BatchThread.__new__(BatchThread)
    fetched: list[float | None] = []

    async def fetch(_consumer: Any, _active: Any, timeout: float | None = None) -> dict[Any, Any]:
        fetched.append(timeout)
        return {}

    reader = SimpleNamespace(waiting=False, taken=0)
    vars(made).update(
        _seen={},
        consumer=SimpleNamespace(reader=reader, flow_active=True),
        _ensure_consumer=lambda: consumer,
        _fetch_records=fetch,
        fetched=fetched,
    )
    monkeypatch.setattr(transport, "_ENDS_S", 0.0)
    monkeypatch.setattr(transport.time, "time", lambda: consumer.clock)
    return made


async def looked(thread: BatchThread, until: Any) -> None:
    """Let it look at the ends until something is so, or it fails."""
    looking = asyncio.ensure_future(thread.look_at_ends())
    for _ in range(1000):
        if until() or looking.done():
            break
        await asyncio.sleep(0)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    if not looking.cancelled():
        looking.result()


async def test_all_that_is_assigned_is_paused_before_anybody_hears_of_it(
    thread: BatchThread, consumer: Aiokafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or each record would be fetched twice, once for nobody. Ends from before say nothing any more."""
    heard: list[set[TopicPartition]] = []

    async def tell(*_: Any) -> None:
        heard.append(set(consumer.paused))

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "on_partitions_assigned", tell)
    thread._seen = {TP("t", 0): (5, 1.0)}
    await thread.on_partitions_assigned({TP("t", 0), TP("t", 1)})

    assert heard == [{HERE, THERE}]
    assert thread.seen(TP("t", 0)) == (None, None)


async def test_an_end_is_as_old_as_the_question(thread: BatchThread) -> None:
    """What came between question and answer may lie behind it: time must not go on past the question."""
    await looked(thread, lambda: thread._seen)

    assert thread.seen(TP("t", 0)) == (7, 100.0)
    assert thread.seen(TP("t", 1)) == (7, 100.0)
    assert thread.seen(TP("t", 2)) == (None, None)


async def test_trouble_of_the_group_ends_the_looking(thread: BatchThread, consumer: Aiokafka) -> None:
    """Its own task parks until somebody asks; unheard, the worker would read on outside the group."""
    consumer.trouble = GroupAuthorizationFailedError("g")

    with pytest.raises(GroupAuthorizationFailedError):
        await looked(thread, lambda: False)


async def test_the_group_hears_of_work_unless_nobody_takes_what_comes(thread: BatchThread) -> None:
    """Also while nothing is assigned, or a spare worker would be put out of the group."""
    noted: list[float] = vars(thread)["fetched"]
    vars(thread)["_ensure_consumer"]().assignment = set
    await looked(thread, lambda: noted)
    assert noted[0] == 0

    whole: Any = thread.consumer
    whole.reader.waiting, whole.reader.taken = True, 1
    noted.clear()
    await looked(thread, lambda: False)
    assert noted == [0]  # for what was taken; since then nothing was


async def test_nothing_is_read_from_a_revocation_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever keeps partitions seeks them all; a worker without any must not read its old ones for ever."""
    told: list[Any] = []

    class Bare(BatchConsumer):
        def __init__(self) -> None:
            self.reader: Any = SimpleNamespace(read=lambda *args, **more: told.append((*args, more)))

    async def revoked(_self: Any, gone: set[TP]) -> None:
        told.append(gone)

    monkeypatch.setattr(driver.Consumer, "on_partitions_revoked", revoked)
    await Bare().on_partitions_revoked({TP("t", 0)})

    assert told == [({}, {}, {"whole": True}), {TP("t", 0)}]


class Delivering(BatchConsumer):
    """Notes what agents are given; after each message the group goes on, if told so."""

    flow_active = True

    def __init__(self, *, interrupted: bool) -> None:
        self.app: Any = SimpleNamespace(consumer_generation_id=3)
        self.offsets: Any = SimpleNamespace(round_of=lambda partition: 10 + partition)
        self._buffered_partitions, self._read_offset, self._in_work = set(), {}, set()
        self.given: list[Any] = []

        async def callback(message: Any) -> None:
            self.given.append(message)
            self.app.consumer_generation_id += interrupted

        self.callback = callback


def brought(*offsets: int) -> list[Any]:
    """Records as the reader makes them."""
    return [Fetched(offset, 1_700_000_000_000, 0, None, b"", ()) for offset in offsets]


async def test_one_message_carries_all_partitions_of_a_topic() -> None:
    """Each with its own round; what is not active is left out."""
    consumer = Delivering(interrupted=False)
    first, second, other, gone = TP("a", 0), TP("a", 1), TP("b", 1), TP("b", 2)
    found = {first: brought(1, 2), other: brought(7), second: brought(5), gone: brought(9)}
    await consumer._deliver(found, {first, second, other})

    assert [(message.topic, message.generation_id) for message in consumer.given] == [("a", 3), ("b", 3)]
    assert [
        (batch.partition, batch.round, [record.offset for record in batch.records])
        for message in consumer.given
        for batch in message.value
    ] == [(0, 10, [1, 2]), (1, 11, [5]), (1, 11, [7])]
    assert consumer._in_work == set(consumer.given)


async def test_nothing_more_is_given_once_the_group_has_gone_on() -> None:
    """Nobody would take it, and the next round would wait for it for ever."""
    consumer = Delivering(interrupted=True)
    await consumer._deliver({TP("a", 0): brought(1), TP("b", 0): brought(1)}, {TP("a", 0), TP("b", 0)})

    assert [message.topic for message in consumer.given] == ["a"]
    assert consumer._in_work == set(consumer.given)


async def test_what_was_fetched_before_a_partition_was_begun_again_is_not_judged() -> None:
    """Nor while it is being begun again, nor after another assignment, nor what is not here any more."""
    judged: list[Any] = []

    async def take(name: str, records: Any) -> None:
        judged.append((name, records))

    shell = Shell.__new__(Shell)
    vars(shell).update(
        workers={number: SimpleNamespace(take=take) for number in (0, 1, 2)},
        generation=3,
        _rounds={0: 1},
        _going_back={2},
        _input_of={"a": "telemetry"},
        _notice_stall=lambda: None,
        refused=SimpleNamespace(saw=lambda count: None),
    )
    batches = [
        Batch(0, 0, "old"),
        Batch(0, 1, "new"),
        Batch(1, 0, "other"),
        Batch(2, 0, "x"),
        Batch(9, 0, "x"),
    ]
    await shell.take(SimpleNamespace(topic="a", generation_id=3, value=batches))
    await shell.take(SimpleNamespace(topic="a", generation_id=2, value=batches))

    assert judged == [("telemetry", "new"), ("telemetry", "other")]


def test_what_was_fetched_before_a_seek_is_dropped() -> None:
    """Another partition's records are left alone, and chunks of one partition come together."""
    here, other = TP("t", 3), TP("t", 4)
    consumer: Any = SimpleNamespace(_sought={here: 1})
    chunks = [Chunk(here, 0, [7]), Chunk(here, 1, [5]), Chunk(other, 0, [9]), Chunk(here, 1, [6])]

    assert BatchConsumer._current(consumer, chunks) == {here: [5, 6], other: [9]}


async def test_a_round_is_over_as_soon_as_its_batches_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust acknowledges without a word to the consumer: waiting must not rest on that."""
    monkeypatch.setattr(transport, "_LOOK_S", 3600.0)
    stopped = SimpleNamespace(is_set=lambda: False)
    message = object()
    consumer: Any = SimpleNamespace(
        _in_work={message}, _all_done=asyncio.Event(), flow_active=True, _stopped=stopped
    )
    waiting = asyncio.create_task(BatchConsumer._worked_off(consumer))
    await asyncio.sleep(0)
    assert not waiting.done()
    BatchConsumer.done(consumer, message)

    await asyncio.wait_for(waiting, 5)
    assert not consumer._in_work


async def test_what_is_not_urgent_waits_until_all_that_was_fetched_is_judged() -> None:
    """Whether it lies there or is in an agent's hands; and not for ever."""
    reader, message = SimpleNamespace(waiting=False), object()

    class Bare(BatchConsumer):
        flow_active = True

        def __init__(self) -> None:
            self.reader: Any = reader
            self._in_work = {message}
            self._idle = asyncio.Event()
            self.offsets: Any = SimpleNamespace(spare=nothing_to_do)

    async def nothing_to_do() -> bool:
        return False

    consumer, far = Bare(), time.monotonic() + 3600.0
    assert consumer.busy
    await asyncio.wait_for(consumer.lull(time.monotonic() + 0.001), 5)
    reader.waiting = True
    waiting = asyncio.create_task(consumer.lull(far))
    for _ in range(5):
        await asyncio.sleep(0)
    consumer._in_work.discard(message)
    assert consumer.busy
    await consumer._use_spare_time()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    reader.waiting = False
    await consumer._use_spare_time()

    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(consumer.lull(far), 5)


async def test_others_have_their_turn_though_what_lies_ready_is_of_no_use(thread: BatchThread) -> None:
    """Records from before a seek, one portion after the other: heartbeats must not wait behind them."""
    place, most = TP("t", 3), 10_000
    taken: list[int] = []

    def take() -> list[Chunk]:
        taken.append(len(taken))
        return [Chunk(place, 0, [7])]

    async def at_once(_: float) -> None:
        """Something waits."""

    class Bare(BatchConsumer):
        flow_active = True
        consumer_stopped_errors = ()

        def __init__(self) -> None:
            self.reader: Any = SimpleNamespace(
                waiting=True,
                failed=asyncio.get_running_loop().create_future(),
                take=take,
                arrived=at_once,
                listen=lambda: None,
                wake_from_afar=lambda: None,
            )
            self._sought, self._in_work, self._thread = {place: 1}, set(), thread
            self._watch_at_s = 0.0
            self._stopped: Any = SimpleNamespace(is_set=lambda: len(taken) >= most)

        def _get_active_partitions(self) -> set[TP]:
            return {place}

    vars(thread)["thread_loop"] = asyncio.get_running_loop()
    fetcher = SimpleNamespace(_stopped=SimpleNamespace(is_set=lambda: False))
    draining = asyncio.ensure_future(Bare()._drain_messages(fetcher))
    for _ in range(5):
        await asyncio.sleep(0)
    assert 0 < len(taken) < most
    draining.cancel()
    await asyncio.gather(draining, return_exceptions=True)


def test_what_stands_still_is_left_to_another_client_and_in_the_end_all_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While records lie ready or are being judged nobody can tell; nor is it asked at every turn."""
    here, other, clock = TP("t", 3), TP("t", 4), [100.0]
    monkeypatch.setattr(transport.time, "monotonic", lambda: clock[0])
    orders: list[Any] = []

    class Bare(BatchConsumer):
        def __init__(self) -> None:
            self.reader: Any = SimpleNamespace(
                waiting=False,
                reached={here: 5, other: 9},
                read=lambda starts, rounds, **how: orders.append((clock[0], starts, rounds, how)),
            )
            self._sought, self._read_offset, self._in_work = {here: 1}, {}, set()
            self._standstills, self._watch_at_s = transport.StandstillWatch(), 0.0

        def assignment(self) -> set[TP]:
            return {here, other, TP("t", 5)}  # of the last one nothing was said yet

        def look(self, seconds: float) -> None:
            for _ in range(int(seconds * 4)):
                clock[0] += 0.25
                self._watch({tp: (9, time.time()) for tp in (here, other)})

    busy, waiting, still = Bare(), Bare(), Bare()
    busy._in_work, waiting.reader.waiting = {object()}, True
    for consumer in (busy, waiting):
        consumer.look(40)
    assert orders == []

    clock[0] = 100.0
    still.look(29)
    starts, rounds, how = {here: 5, other: 9}, {here: 2, other: 1}, {"whole": True, "anew": True}
    assert orders == [(pytest.approx(115, abs=2), starts, rounds, how)]
    with pytest.raises(transport.ReadingStoppedError, match=r"t/3.*at 5 of 9"):
        still.look(3)
