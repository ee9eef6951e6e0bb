"""Nothing that a thread has put is lost or comes twice, whoever is faster, and a full stock is waited for."""

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from detector.service import transport
from detector.service.stock import Chunk, Stock
from detector.service.transport import BatchConsumer

PLACE = TP("t", 3)
MANY = 5_000


async def test_all_that_a_thread_puts_is_taken_once_and_in_order() -> None:
    """The stock is far smaller than what goes through it."""
    stock = Stock(most=50)
    largest = 0

    def put() -> None:
        for first in range(0, MANY, 10):
            while not stock.room(5.0):
                pass
            stock.put({PLACE: list(range(first, first + 10))}, {})

    thread = threading.Thread(target=put, daemon=True)
    thread.start()
    taken: list[int] = []
    while len(taken) < MANY:
        await stock.arrived(5.0)
        largest = max(largest, len(stock))
        for chunk in stock.take():
            taken += chunk.records
    thread.join(5)

    assert taken == list(range(MANY))
    assert largest <= 50 + 10
    assert len(stock) == 0


def began_to_wait(stock: Stock) -> None:
    """Wait for a thread to wait for room."""
    while not stock._room._cond._waiters:  # type: ignore[attr-defined]  # nothing else tells
        time.sleep(0.001)


async def test_a_full_stock_has_no_room_until_it_is_taken() -> None:
    """Waiting ends with the time, or with the first take."""
    stock = Stock(most=2)
    stock.put({PLACE: [1, 2]}, {})

    assert not stock.room(0.001)
    waiting = asyncio.create_task(asyncio.to_thread(stock.room, 60.0))
    await asyncio.to_thread(began_to_wait, stock)
    stock.take()
    assert await asyncio.wait_for(waiting, 5)


async def test_a_chunk_is_named_by_its_partition_and_its_seek() -> None:
    """The round is that of the moment at which it was put."""
    stock = Stock()
    rounds = {PLACE: 2}
    stock.put({PLACE: [1]}, rounds)
    rounds[PLACE] = 3
    stock.put({PLACE: [2]}, rounds)

    assert stock.take() == [Chunk(PLACE, 2, [1]), Chunk(PLACE, 3, [2])]


async def test_waiting_ends_with_the_time_where_nothing_comes() -> None:
    """And at once for who is woken."""
    stock = Stock()
    await stock.arrived(0.001)
    stock.wake()
    await stock.arrived(3600.0)
    assert stock.take() == []


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
    stock, message = Stock(), object()

    class Bare(BatchConsumer):
        flow_active = True

        def __init__(self) -> None:
            self.reader: Any = SimpleNamespace(stock=stock)
            self._in_work = {message}
            self._idle = asyncio.Event()
            self.offsets: Any = SimpleNamespace(spare=nothing_to_do)

    async def nothing_to_do() -> bool:
        return False

    consumer, far = Bare(), time.monotonic() + 3600.0
    assert consumer.busy
    await asyncio.wait_for(consumer.lull(time.monotonic() + 0.001), 5)
    stock.put({TP("t", 3): [1]}, {})
    waiting = asyncio.create_task(consumer.lull(far))
    for _ in range(5):
        await asyncio.sleep(0)
    consumer._in_work.discard(message)
    assert consumer.busy
    await consumer._use_spare_time(stock)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    stock.take()
    await consumer._use_spare_time(stock)

    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(consumer.lull(far), 5)
