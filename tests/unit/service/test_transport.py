"""Faust's consumer keeps the group and fetches nothing, and what it is told reaches who has to know."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from detector.service import transport
from detector.service.transport import BatchConsumer, BatchThread

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

    stock = SimpleNamespace(full=False)
    vars(made).update(
        _seen={},
        consumer=SimpleNamespace(reader=SimpleNamespace(stock=stock), flow_active=True),
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
    whole.reader.stock.full = True
    noted.clear()
    await looked(thread, lambda: False)
    assert not noted


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
