"""What a gateway reports: all of it in order while brokers take it, and nobody waits while they do not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError

from detector.gateway import telemetry
from detector.gateway.telemetry import TelemetrySender
from topics.telemetry import TelemetryRecord, decode_telemetry
from topics.types import LONGEST_NAME


def _call(number: int) -> TelemetryRecord:
    return TelemetryRecord(event_time=1_800_000_000.0 + number, route="chat", request_id=str(number))


class Memory:
    """A broker in memory; `away` makes it raise, `refusing` takes a message and refuses it later."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes, bytes]] = []
        self.away = self.refusing = self.stopped = False
        self.starts = 0
        self.dead = False

    async def start(self) -> None:
        self.starts += 1
        self._see()

    async def send(self, topic: str, value: bytes, key: bytes) -> Awaitable[Any]:
        self._see()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.refusing:
            done.set_exception(KafkaConnectionError("too late"))
        else:
            self.taken.append((topic, value, key))
            done.set_result(None)
        return done

    async def stop(self) -> None:
        self.stopped = True

    def _see(self) -> None:
        self.dead = self.dead or self.away
        if self.dead:
            raise KafkaConnectionError("away")

    @property
    def numbers(self) -> list[int]:
        return [int(decode_telemetry(value).request_id) for _, value, _ in self.taken]

    def another(self) -> "Memory":
        """A producer anew: one that has failed is not used again."""
        self.dead = False
        return self


def _sender(broker: Memory, **options: Any) -> TelemetrySender:
    return TelemetrySender("", topic_prefix="p.", producer=broker.another, **options)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - the sender has no event for every state that a test waits for
            await asyncio.sleep(0.005)


async def test_all_arrives_in_order_under_its_route() -> None:
    broker = Memory()
    async with _sender(broker) as sender:
        for number in range(1000):
            sender.report(_call(number))
        await _until(lambda: sender.counts.sent == 1000)

    assert broker.numbers == list(range(1000))
    assert {(topic, key) for topic, _, key in broker.taken} == {("p.llm.telemetry", b"chat")}
    assert broker.stopped


async def test_of_more_than_may_wait_the_oldest_is_dropped_and_counted() -> None:
    """While no broker answers `report` neither raises nor grows without bound, and the latest is kept."""
    broker = Memory()
    broker.away = True
    async with _sender(broker, most_waiting=10) as sender:
        await _until(lambda: broker.starts > 0)
        for number in range(25):
            sender.report(_call(number))
        assert (sender.waiting, sender.counts.dropped) == (10, 15)

        broker.away = False
        await _until(lambda: sender.counts.sent == 10)

    assert broker.numbers == list(range(15, 25))


async def test_a_broker_that_goes_away_between_costs_what_it_did_not_take() -> None:
    broker = Memory()
    async with _sender(broker) as sender:
        sender.report(_call(0))
        await _until(lambda: sender.counts.sent == 1)
        broker.away = True
        sender.report(_call(1))
        sender.report(_call(2))
        await _until(lambda: sender.counts.failed == 1)
        await _until(lambda: broker.stopped)  # one that has failed is not used again
        broker.away = False
        await _until(lambda: sender.counts.sent == 2)
        broker.refusing = True
        sender.report(_call(3))
        await _until(lambda: sender.counts.failed == 2)

    assert broker.numbers == [0, 2]


async def test_one_failure_a_day_is_no_reason_to_wait_longer_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever was sent in between, the next pause is the shortest again."""
    monkeypatch.setattr(telemetry, "_BACKOFF_S", (0.001, 1e6))
    broker = Memory()
    async with _sender(broker) as sender:
        await _until(lambda: broker.starts > 0)
        for failure in range(1, 40):
            broker.dead = True
            sender.report(_call(0))
            await _until(lambda failure=failure: sender.counts.failed == failure)
            sender.report(_call(1))
            await _until(lambda failure=failure: sender.counts.sent == failure)

    assert broker.starts == 40, "each failure had a producer made anew, and that soon"


async def test_a_broker_that_is_away_is_said_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried all the time, and the log stays readable."""
    monkeypatch.setattr(telemetry, "_BACKOFF_S", (0.001, 0.001))
    broker = Memory()
    broker.away = True
    async with _sender(broker) as sender:
        await _until(lambda: broker.starts > 5)
        assert caplog.text.count("telemetry is not taken, 0 records wait: KafkaConnectionError") == 1
        broker.away = False
        sender.report(_call(0))
        await _until(lambda: sender.counts.sent == 1)


async def test_what_brokers_refuse_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Such as for want of the right to write, which nobody may be counting."""
    broker = Memory()
    broker.refusing = True
    async with _sender(broker) as sender:
        for number in range(50):
            sender.report(_call(number))
        await _until(lambda: sender.counts.failed == 50)

    assert caplog.text.count("telemetry is lost, 1 records refused so far, the last one by") == 1
    assert caplog.text.count("telemetry is") == 1


async def test_a_record_that_is_too_large_is_lost_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Memory()
    whole = broker.send

    async def send(topic: str, value: bytes, key: bytes) -> Awaitable[Any]:
        if b'"7"' in value:
            raise MessageSizeTooLargeError
        return await whole(topic, value, key)

    monkeypatch.setattr(broker, "send", send)
    async with _sender(broker) as sender:
        for number in range(10):
            sender.report(_call(number))
        await _until(lambda: sender.counts.sent == 9)

    assert (broker.starts, sender.counts.failed) == (1, 1)


async def test_a_client_that_cancels_itself_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Memory()
    whole, times = broker.send, iter([True])

    async def send(topic: str, value: bytes, key: bytes) -> Awaitable[Any]:
        if next(times, False):
            raise asyncio.CancelledError
        return await whole(topic, value, key)

    monkeypatch.setattr(broker, "send", send)
    async with _sender(broker) as sender:
        sender.report(_call(0))
        await _until(lambda: sender.counts.failed == 1)
        sender.report(_call(1))
        await _until(lambda: sender.counts.sent == 1)

    assert broker.numbers == [1]


async def test_a_text_that_is_too_long_is_cut_so_that_the_record_can_be_read() -> None:
    """The detector would refuse all of it; the caller's own record stays as it was."""
    broker = Memory()
    whole = TelemetryRecord(event_time=1.8e9, route="chat", model="m" * 1000, tenant="t")
    async with _sender(broker) as sender:
        sender.report(whole)
        await _until(lambda: sender.counts.sent == 1)

    record = decode_telemetry(broker.taken[0][1])
    assert (record.model, record.tenant, len(whole.model)) == ("m" * LONGEST_NAME, "t", 1000)


async def test_what_is_left_at_the_end_is_sent_after_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_END_S", 0.01)
    broker = Memory()
    whole, times = broker.send, iter([True])

    async def send(topic: str, value: bytes, key: bytes) -> Awaitable[Any]:
        if next(times, False):
            await asyncio.Event().wait()  # a broker that hangs
        return await whole(topic, value, key)

    monkeypatch.setattr(broker, "send", send)
    sender = _sender(broker)
    await sender.start()
    for number in range(3):
        sender.report(_call(number))
    await sender.stop()
    async with sender:
        await _until(lambda: sender.counts.sent == 2)

    assert broker.numbers == [1, 2]


async def test_what_waits_at_the_end_is_sent_first() -> None:
    """Also where the broker had not been reached yet."""
    broker = Memory()
    sender = _sender(broker)
    await sender.start()
    for number in range(5):
        sender.report(_call(number))
    await sender.stop()

    assert broker.numbers == list(range(5))
    assert broker.stopped


async def test_an_end_does_not_wait_for_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_END_S", 0.05)
    broker = Memory()
    broker.away = True
    async with asyncio.timeout(10), _sender(broker) as sender:
        sender.report(_call(0))

    assert broker.numbers == []


async def test_a_record_that_cannot_be_written_is_lost_and_its_neighbours_are_not() -> None:
    broker = Memory()
    async with _sender(broker) as sender:
        sender.report(TelemetryRecord(event_time=1e9, route="\ud800"))
        sender.report(_call(1))
        await _until(lambda: sender.counts.sent == 1)

    assert broker.numbers == [1]
    assert sender.counts.failed == 1
