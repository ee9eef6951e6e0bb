"""The reader of the inputs brings every record of its partitions, in order and once per round of reading."""

import asyncio
import random
import threading
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from faust.types import TP

from detector.service import inputs
from detector.service.inputs import Chunk, InputReader
from detector.service.settings import Settings
from tests.harness.brokers import TestKafka
from tests.integration.kit import producer, until

MANY = 3_000


class Watched(Consumer):
    """Notes whoever uses it while another does."""

    crowds: ClassVar[list[str]] = []

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lock = threading.Lock()

    def _alone(self, name: str, *args: Any) -> Any:
        if not self._lock.acquire(blocking=False):
            self.crowds.append(name)
            return getattr(super(), name)(*args)
        try:
            return getattr(super(), name)(*args)
        finally:
            self._lock.release()

    def poll(self, *args: Any) -> Any:
        return self._alone("poll", *args)

    def consume(self, *args: Any) -> Any:
        return self._alone("consume", *args)

    def assign(self, *args: Any) -> Any:
        return self._alone("assign", *args)

    def incremental_assign(self, *args: Any) -> Any:
        return self._alone("incremental_assign", *args)


@pytest.fixture
async def places(real_kafka: TestKafka, topic_prefix: str) -> list[TP]:
    """Two partitions, and MANY records in each."""
    topic = f"{topic_prefix}inputs"
    admin = AIOKafkaAdminClient(bootstrap_servers=real_kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1)])
    await admin.close()
    async with producer(real_kafka.bootstrap) as to:
        for partition in (0, 1):
            sent = [
                await to.send(topic, b"v%d" % number, b"k", partition=partition, headers=[("h", b"x")])
                for number in range(MANY)
            ]
            await asyncio.gather(*sent)
    return [TP(topic, 0), TP(topic, 1)]


@pytest.fixture
async def reader(real_kafka: TestKafka, places: list[TP]) -> AsyncIterator[InputReader]:
    """Told of nothing yet; closed in the end."""
    made = InputReader(Settings(bootstrap=real_kafka.bootstrap).librdkafka_options(), group=places[0].topic)
    yield made
    made.close()


async def taken(reader: InputReader, last: dict[TP, int]) -> list[Chunk]:
    """Chunks up to these offsets."""
    chunks: list[Chunk] = []
    left = set(last)
    async with asyncio.timeout(30):
        while left:
            reader.listen()
            await reader.arrived(1.0)
            found = [chunk for chunk in reader.take() if chunk.records]
            chunks += found
            left -= {chunk.tp for chunk in found if chunk.records[-1].offset == last[chunk.tp]}
    return chunks


def offsets(chunks: list[Chunk]) -> dict[tuple[TP, int], list[int]]:
    """By partition and round."""
    found: defaultdict[tuple[TP, int], list[int]] = defaultdict(list)
    for chunk in chunks:
        found[chunk.tp, chunk.round] += [record.offset for record in chunk.records]
    return found


async def test_each_partition_is_read_from_its_start_and_again_when_told(
    reader: InputReader, places: list[TP]
) -> None:
    """Going back with one leaves the other where it is; going to others forgets those left out."""
    here, other = places
    reader.read({here: 0, other: 10}, {here: 1, other: 1}, whole=True)
    first = await taken(reader, dict.fromkeys(places, MANY - 1))
    reader.read({here: MANY - 5}, {here: 2}, whole=False)
    again = await taken(reader, {here: MANY - 1})
    reader.read({other: MANY - 2}, {other: 2}, whole=True)
    others = await taken(reader, {other: MANY - 1})

    assert offsets(first) == {(here, 1): list(range(MANY)), (other, 1): list(range(10, MANY))}
    assert offsets(again) == {(here, 2): list(range(MANY - 5, MANY))}
    assert offsets(others) == {(other, 2): [MANY - 2, MANY - 1]}
    record = first[0].records[0]
    assert (record.key, record.value, record.headers) == (b"k", b"v%d" % record.offset, [("h", b"x")])
    assert record.timestamp_type == 0
    assert record.timestamp > 1.7e12


async def test_one_partition_may_be_told_of_before_all_are(reader: InputReader, places: list[TP]) -> None:
    """A contract that is read anew while an assignment is restored; then nothing is left to read."""
    here, other = places
    reader.read({here: MANY - 2}, {here: 1}, whole=False)
    first = await taken(reader, {here: MANY - 1})
    reader.read({}, {}, whole=True)
    reader.read({other: MANY - 1}, {other: 1}, whole=False)
    then = await taken(reader, {other: MANY - 1})

    assert offsets(first) == {(here, 1): [MANY - 2, MANY - 1]}
    assert offsets(then) == {(other, 1): [MANY - 1]}
    assert not reader.failed.done()


async def test_nothing_from_before_a_seek_comes_behind_it(
    reader: InputReader, places: list[TP], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told again and again while it reads, each round begins where it was told and leaves nothing out.

    And the thread and the loop never use the consumer at the same time.
    """
    monkeypatch.setattr(inputs, "Consumer", Watched)
    monkeypatch.setattr(Watched, "crowds", [])
    monkeypatch.setattr(inputs, "MOST", 100)
    draw = random.Random(5)
    rounds, told = dict.fromkeys(places, 0), dict.fromkeys(places, 0)
    begun = 0
    for number in range(60):
        some = places if number % 3 == 0 else [draw.choice(places)]
        for tp in some:
            rounds[tp] += 1
            told[tp] = draw.randrange(MANY)
        mine = {tp: told[tp] for tp in some}
        reader.read(mine, {tp: rounds[tp] for tp in some}, whole=number % 3 == 0)
        due = dict(mine)
        while due.keys() & set(some[:1]):
            reader.listen()
            await reader.arrived(1.0)
            for chunk in reader.take():
                if chunk.round != rounds[chunk.tp] or not chunk.records:
                    continue
                first = told[chunk.tp]
                told[chunk.tp] = first + len(chunk.records)
                assert [record.offset for record in chunk.records] == list(range(first, told[chunk.tp]))
                begun += due.pop(chunk.tp, None) is not None

    assert begun >= 60
    assert not Watched.crowds


async def test_an_end_is_told_where_no_record_tells_it(
    real_kafka: TestKafka, reader: InputReader, places: list[TP]
) -> None:
    """Behind the marker of a transaction; not behind a record, nor where there is nothing to read."""
    here, other = places
    settings = {"bootstrap.servers": real_kafka.bootstrap, "transactional.id": here.topic, "log_level": 0}
    to = Producer(settings)
    await asyncio.to_thread(to.init_transactions, 30)
    to.begin_transaction()
    to.produce(here.topic, b"sure", partition=here.partition)
    await asyncio.to_thread(to.commit_transaction, 30)
    reader.read({here: MANY - 3, other: MANY}, {here: 1, other: 1}, whole=True)
    chunks: list[Chunk] = []
    async with asyncio.timeout(30):
        while not any(chunk.end is not None for chunk in chunks):
            reader.listen()
            await reader.arrived(1.0)
            chunks += reader.take()
    own = [(len(chunk.records), chunk.end) for chunk in chunks]

    assert {chunk.tp for chunk in chunks} == {here}
    assert own[-1] == (0, MANY + 2)
    assert sum(size for size, _ in own) == 4


async def test_an_end_behind_the_last_record_wakes_nobody(
    reader: InputReader, places: list[TP], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fetch that finds nothing more brings one: at every lull, of every partition."""
    ends: list[int] = []

    class Noting(Consumer):
        def poll(self, *args: Any) -> Any:
            found = super().poll(*args)
            ends.extend([found.offset()] if found is not None and found.error() is not None else [])
            return found

    monkeypatch.setattr(inputs, "Consumer", Noting)
    reader.read(dict.fromkeys(places, MANY), dict.fromkeys(places, 1), whole=True)
    await until(lambda: len(ends) == len(places), saying="both ends reached")
    reader.close()  # the thread has decided on the last one once it has ended
    await until(lambda: reader._thread is not None and not reader._thread.is_alive(), saying="over")

    assert ends == [MANY, MANY]
    assert not reader.waiting
    assert reader._first is None


async def test_of_many_records_some_are_taken_at_a_time(
    reader: InputReader, places: list[TP], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While more lie ready the loop goes on by itself; then it has to let the thread wait for the next."""
    monkeypatch.setattr(inputs, "MOST", 100)
    sizes: list[int] = []
    reader.read(dict.fromkeys(places, 0), dict.fromkeys(places, 1), whole=True)
    async with asyncio.timeout(30):
        while sum(sizes) < 2 * MANY:
            reader.listen()
            await reader.arrived(1.0)
            size = sum(len(chunk.records) for chunk in reader.take())
            assert reader.waiting or not size
            sizes += [size] if size else []
        assert reader.take() == []
        reader.listen()
    assert reader.take() == []
    assert not reader.waiting

    assert sum(sizes) == 2 * MANY
    assert max(sizes) <= 101


async def test_an_order_about_one_partition_takes_nothing_from_another(
    real_kafka: TestKafka, reader: InputReader, places: list[TP]
) -> None:
    """What the thread holds already is handed out by the library only once."""
    here, other = places
    found: list[Chunk] = []
    reader.read({here: MANY - 20}, {here: 1}, whole=True)
    async with asyncio.timeout(30):
        for turn in range(20):
            reader.listen()
            await reader.arrived(5.0)
            reader.read({other: MANY - 1}, {other: turn}, whole=False)
            while not any(chunk.tp == other and chunk.round == turn for chunk in found):
                reader.listen()
                await reader.arrived(1.0)
                found += reader.take()
            async with producer(real_kafka.bootstrap) as to:
                await to.send_and_wait(here.topic, b"more", partition=here.partition)
    found += await taken(reader, {here: MANY + 19})

    assert offsets(found)[here, 1] == list(range(MANY - 20, MANY + 20))


@pytest.mark.parametrize("whole", [True, False])
async def test_what_the_thread_holds_is_not_of_the_round_that_begins(
    reader: InputReader, places: list[TP], whole: bool
) -> None:
    """Whether all is read anew or that partition alone."""
    here = places[0]
    reader.read({here: 7}, {here: 1}, whole=True)
    async with asyncio.timeout(30):
        await reader.arrived(30)
    reader.read({here: MANY - 3}, {here: 2}, whole=whole)
    found = await taken(reader, {here: MANY - 1})

    assert offsets(found) == {(here, 2): [MANY - 3, MANY - 2, MANY - 1]}


async def test_an_order_is_obeyed_though_nobody_takes(
    reader: InputReader, places: list[TP], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may read no more must not go on fetching while the flow is stopped: also if it comes late."""
    here, other = places

    class Interrupted(Consumer):
        def poll(self, *args: Any) -> Any:
            found = super().poll(*args)
            if found is not None and orders:
                reader.read(*orders.pop(), whole=True)
            return found

    monkeypatch.setattr(inputs, "Consumer", Interrupted)
    orders: list[Any] = [({other: MANY - 1}, {other: 1})]
    reader.read({here: 0}, {here: 1}, whole=True)
    await until(lambda: not orders and not reader._orders)
    found = await taken(reader, {other: MANY - 1})

    assert offsets(found) == {(other, 1): [MANY - 1]}


async def test_nothing_is_taken_before_an_order_that_is_there(reader: InputReader, places: list[TP]) -> None:
    """It may have come just as the thread handed over: however much lies ready, it is obeyed first."""
    here = places[0]
    reader.read({here: 0}, {here: 1}, whole=True)
    async with asyncio.timeout(30):
        await reader.arrived(30)
    reader._orders.append(inputs._Order({here: MANY - 1}, {here: 2}, whole=True, anew=False))
    assert reader.take() == []
    await until(lambda: not reader._orders)
    found = await taken(reader, {here: MANY - 1})

    assert offsets(found) == {(here, 2): [MANY - 1]}


async def test_a_closed_reader_ends_though_something_waits(reader: InputReader, places: list[TP]) -> None:
    """Whoever has the consumer then, the thread closes it."""
    reader.read(dict.fromkeys(places, 0), dict.fromkeys(places, 1), whole=True)
    async with asyncio.timeout(30):
        await reader.arrived(30)
    assert reader.waiting
    reader.close()
    assert reader._thread is not None
    await asyncio.to_thread(reader._thread.join, 10)

    assert not reader._thread.is_alive()
    assert reader.take() == []
    assert not reader.waiting


async def test_a_reader_that_cannot_go_on_says_so(real_kafka: TestKafka) -> None:
    """Options that are refused, and a batch whose checksum is wrong; a lost connection is waited for."""
    reader = InputReader({"no.such.option": 1}, group="g")
    reader.read({}, {}, whole=True)
    with pytest.raises(KafkaException, match=r"no\.such\.option"):
        await asyncio.wait_for(reader.failed, 10)

    reader._complain(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    with pytest.raises(KafkaException):
        reader._complain(KafkaError(KafkaError._BAD_MSG))


async def test_another_client_brings_what_the_first_has_stopped_bringing(
    reader: InputReader, places: list[TP]
) -> None:
    """From where it was left, and the other partitions too. A pause stands for whatever stopped it."""
    here, other = places
    reader.read({here: MANY - 2, other: MANY - 1}, {here: 1, other: 1}, whole=True)
    async with asyncio.timeout(30):
        while not reader.waiting:
            await reader.arrived(1.0)
    assert reader._consumer is not None
    reader._consumer.pause([TopicPartition(*here), TopicPartition(*other)])
    reader.read({here: MANY - 3, other: MANY - 2}, {here: 2, other: 2}, whole=True, anew=True)
    found = await taken(reader, dict.fromkeys(places, MANY - 1))

    assert offsets(found) == {(here, 2): list(range(MANY - 3, MANY)), (other, 2): [MANY - 2, MANY - 1]}
