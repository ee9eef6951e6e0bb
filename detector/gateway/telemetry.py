"""Sends a gateway's telemetry without a call ever waiting for it.

    sender = TelemetrySender("kafka:9092")
    await sender.start()
    sender.report(TelemetryRecord(event_time=time.time(), route="chat", latency_s=0.182))

What brokers do not take in time is dropped, the oldest first, and counted: a gateway's memory is worth more
than its telemetry. One task sends; `report` only puts a record into a queue.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from msgspec.structs import replace

from detector.gateway.closing import close_producer
from detector.gateway.options import known_to, refuse_unknown
from topics.codec import encode
from topics.names import topics
from topics.telemetry import TelemetryRecord
from topics.types import LONGEST_NAME

logger = logging.getLogger("detector.gateway")

MOST_WAITING = 10_000
_LINGER_MS = 5
_TIMEOUT_MS = 10_000  # a partition without a leader keeps all behind it waiting for so long
_TELL_EVERY_S = 60.0
_BACKOFF_S = (0.1, 5.0)
_END_S = 2.0
_TURN = 100  # records sent before other tasks get their turn


class Producer(Protocol):
    """What the sender needs of Kafka; aiokafka's producer is the real one."""

    async def start(self) -> None:
        """Connect."""

    async def send(self, topic: str, value: bytes, key: bytes) -> Awaitable[Any]:
        """Take one message; what is returned ends when the brokers have it, or raises."""

    async def stop(self) -> None:
        """Send what was taken, within seconds, and close."""


@dataclass(slots=True)
class SenderCounts:
    """Records since the start: taken by brokers, dropped from the full queue, refused by brokers."""

    sent: int = 0
    dropped: int = 0
    failed: int = 0


class _Kafka:
    """aiokafka's producer, closed within seconds whatever the brokers do."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._producer = AIOKafkaProducer(**options)

    async def start(self) -> None:
        try:
            await self._producer.start()
        except BaseException:
            await close_producer(self._producer)
            raise

    async def send(self, topic: str, value: bytes, key: bytes) -> Awaitable[Any]:
        return await self._producer.send(topic, value, key=key)  # type: ignore[no-any-return]  # no types

    async def stop(self) -> None:
        await close_producer(self._producer)


class TelemetrySender:
    """Writes `llm.telemetry`, each record under its route as key, partitioned as Java's client does.

    Args:
        bootstrap: Kafka's `host:port`, comma-separated.
        topic_prefix: of the installation.
        client_options: for aiokafka's producer; what a consumer alone knows is left out, so that a
            `GatewayClient` can be given the same.
        most_waiting: records that may wait for brokers; of more the oldest is dropped.
        producer: makes what sends, for tests.

    Raises:
        TypeError: an option that no client knows.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        topic_prefix: str = "",
        client_options: Mapping[str, Any] | None = None,
        most_waiting: int = MOST_WAITING,
        producer: Callable[[], Producer] | None = None,
    ) -> None:
        given = {"bootstrap_servers": bootstrap, "linger_ms": _LINGER_MS, "request_timeout_ms": _TIMEOUT_MS}
        given |= client_options or {}
        refuse_unknown(given)
        self.counts = SenderCounts()
        self._options = known_to(AIOKafkaProducer, given)
        self._topic = topics(topic_prefix).telemetry.name
        self._most_waiting = most_waiting
        self._make = producer
        self._waiting: deque[TelemetryRecord] = deque()
        self._some, self._none = asyncio.Event(), asyncio.Event()
        self._none.set()
        self._task: asyncio.Task[None] | None = None
        self._told_at = -_TELL_EVERY_S
        self._producer: Producer | None = None

    @property
    def waiting(self) -> int:
        """Records that no broker has been offered yet."""
        return len(self._waiting)

    async def start(self) -> None:
        """Begin to send; returns at once, whether a broker answers or not."""
        if self._task is not None:
            raise RuntimeError("this sender is started already")
        if self._waiting:
            self._some.set()  # what was left when it was stopped
        self._task = asyncio.create_task(self._send_for_ever(), name="detector-gateway-telemetry")

    async def stop(self) -> None:
        """End within seconds: what waits has two of them to be taken; a next `start` sends what is left."""
        if self._task is None:
            return
        try:
            await asyncio.wait_for(self._none.wait(), _END_S)
        except TimeoutError:
            logger.warning("%d records of telemetry were not taken by a broker", len(self._waiting))
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task, producer, self._producer = None, self._producer, None
            if producer is not None:
                await producer.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def report(self, record: TelemetryRecord) -> None:
        """Take one record; neither waits nor raises. From the event loop's own thread."""
        if len(self._waiting) >= self._most_waiting:
            self._waiting.popleft()
            self.counts.dropped += 1
            self._say(f"is not taken, {self.counts.dropped} records dropped so far")
        self._waiting.append(record)
        self._none.clear()
        self._some.set()

    async def _send_for_ever(self) -> None:
        delay, task = _BACKOFF_S[0], asyncio.current_task()
        while True:
            try:
                if self._producer is None:
                    producer = self._make() if self._make is not None else _Kafka(self._options)
                    await producer.start()
                    self._producer = producer
                await self._some.wait()
                self._some.clear()
                while self._waiting:
                    for _ in range(min(_TURN, len(self._waiting))):
                        await self._send(self._producer, self._waiting.popleft())
                        delay = _BACKOFF_S[0]
                    await asyncio.sleep(0)
                self._none.set()
                continue
            except (KafkaError, OSError, TimeoutError) as error:
                self._say(f"is not taken, {len(self._waiting)} records wait: {error!r}")
            except asyncio.CancelledError:
                if task is not None and task.cancelling():
                    raise
                self._say(f"is not taken, {len(self._waiting)} records wait: the client has cancelled itself")
            except Exception:
                # A gateway must not lose its telemetry to a fault of ours.
                logger.exception("sending telemetry failed, again in %.1f s", delay)
            self._some.set()
            failed, self._producer = self._producer, None
            if failed is not None:
                await failed.stop()  # one that has failed for good would fail for ever
            await asyncio.sleep(delay)
            delay = min(2 * delay, _BACKOFF_S[1])

    async def _send(self, producer: Producer, record: TelemetryRecord) -> None:
        try:
            value, key = encode(_cut(record)), record.route.encode()
        except Exception:  # such as text that is no Unicode; its neighbours are none the worse
            self.counts.failed += 1
            logger.exception("a record of telemetry cannot be written")
            return
        try:
            taken = await producer.send(self._topic, value, key)
        except MessageSizeTooLargeError as error:
            self.counts.failed += 1
            self._say(f"is lost: {error!r}")
            return
        except BaseException:
            self.counts.failed += 1
            raise
        asyncio.ensure_future(taken).add_done_callback(self._count)

    def _count(self, taken: asyncio.Future[Any]) -> None:
        error = None if taken.cancelled() else taken.exception()
        if error is None and not taken.cancelled():
            self.counts.sent += 1
            return
        self.counts.failed += 1
        self._say(f"is lost, {self.counts.failed} records refused so far, the last one by {error!r}")

    def _say(self, what: str) -> None:
        """In the log, once a minute."""
        if (now := time.monotonic()) - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            logger.warning("telemetry %s", what)


def _cut(record: TelemetryRecord) -> TelemetryRecord:
    """Cut texts to what the detector takes: for one that is longer it would refuse the whole record."""
    long = {
        name: text[:LONGEST_NAME]
        for name in record.__struct_fields__
        if isinstance(text := getattr(record, name), str) and len(text) > LONGEST_NAME
    }
    return replace(record, **long) if long else record
