"""Messages out, in order, however long the broker is away.

`send` never waits: a message is put behind those before it, and one task hands them to an idempotent
producer with acks from all replicas. If one fails, everything that is not acknowledged is sent again, in
the same order, by a new producer: a message may arrive twice, but the last one of a key is the one sent last.
"""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from detector.service.logs import logger

Headers = list[tuple[str, bytes]]
_REQUEST_BYTES = (
    16 * 1024 * 1024
)  # the broker's own limit is asked for elsewhere; this one must not be smaller


@dataclass(slots=True)
class _Item:
    number: int
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None
    lane: Hashable
    on_ack: Callable[[], object] | None
    on_refused: Callable[[], object] | None
    done: bool = False
    dropped: bool = False


class Outbox:
    """An ordered, endlessly retrying way to Kafka.

    A message carries a `lane` (a partition's number, say): those of one owner can be counted and dropped.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        name: str,
        linger_ms: int = 0,
        compression: str | None = None,
        limit: int = 2000,
    ) -> None:
        """Prepare it; nothing is contacted before `start`.

        Args:
            options: what every aiokafka client is given: brokers and security.
            name: for logs and for the client id.
            linger_ms: how long the producer may collect messages, milliseconds.
            compression: as aiokafka names it; None for none.
            limit: `room` waits while more messages than this are under way.
        """
        self._options = dict(options)
        self._name = name
        self._linger_ms = linger_ms
        self._compression = compression
        self._limit = limit
        self._waiting: deque[_Item] = deque()
        self._flying: deque[_Item] = deque()
        self._by_lane: Counter[Hashable] = Counter()
        self._sent = 0
        self._acked = 0
        self._moved_s = 0.0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._broken: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._log = logger(outbox=name)
        self.refused = 0

    def start(self, ended: Callable[["asyncio.Task[None]"], object]) -> None:
        """Begin to send; the broker may come later. `ended`: told when sending is over, by whatever cause."""
        self._task = asyncio.create_task(self._run(), name=f"outbox-{self._name}")
        self._task.add_done_callback(ended)

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        *,
        partition: int | None = None,
        lane: Hashable = None,
        on_ack: Callable[[], object] | None = None,
        on_refused: Callable[[], object] | None = None,
    ) -> int:
        """Put a message behind those before it; returns its number, which `acked` takes.

        One that will never be taken counts as acknowledged, so that the others go on. `on_refused` is called
        for it then; where there is none, `on_ack` is.
        """
        self._sent += 1
        if not self.under_way:
            self._moved_s = time.monotonic()
        self._waiting.append(
            _Item(self._sent, topic, key, value, headers, partition, lane, on_ack, on_refused)
        )
        self._by_lane[lane] += 1
        self._wake.set()
        return self._sent

    def pending(self, lane: Hashable) -> int:
        """How many messages of a lane are not acknowledged."""
        return self._by_lane[lane]

    @property
    def last(self) -> int:
        """Number of the message sent last."""
        return self._sent

    @property
    def acked_through(self) -> int:
        """The message with this number, and all before it, are acknowledged."""
        return self._acked

    @property
    def stuck_s(self) -> float:
        """For how long nothing was acknowledged although something waits, seconds."""
        return time.monotonic() - self._moved_s if self.under_way else 0.0

    @property
    def under_way(self) -> int:
        """How many messages are not acknowledged in all."""
        return len(self._waiting) + len(self._flying)

    def drop(self, lane: Hashable) -> None:
        """Forget a lane's messages: their owner has lost its partition. What has left is not sent again."""
        for item in (*self._waiting, *self._flying):
            if item.lane == lane:
                item.on_ack = item.on_refused = None
                item.dropped = True
        for item in self._waiting:
            if item.lane == lane:
                self._finish(item)
        self._waiting = deque(item for item in self._waiting if item.lane != lane)
        self._advance()

    async def acked(self, number: int) -> None:
        """Wait until the message with this number, and all before it, are acknowledged."""
        if self._acked >= number:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((number, waiter))
        await waiter

    async def room(self) -> None:
        """Wait while too many messages are under way; returns at once otherwise."""
        excess = self.under_way - self._limit
        if excess > 0:
            await self.acked(self._acked + excess)

    async def stop(self, timeout_s: float = 1.0) -> bool:
        """Wait for what is under way, then end. False if something stayed unacknowledged."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.acked(self._sent), timeout_s)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=timeout_s)
        return not self.under_way

    async def _run(self) -> None:
        delay = 0.1
        while True:
            producer = AIOKafkaProducer(
                **self._options,
                client_id=f"detector-{self._name}",
                acks="all",
                enable_idempotence=True,
                linger_ms=self._linger_ms,
                compression_type=self._compression,
                max_request_size=_REQUEST_BYTES,
                metadata_max_age_ms=30_000,
            )
            self._broken = None
            try:
                await producer.start()
                delay = 0.1
                await self._pump(producer)
            except (KafkaError, OSError) as error:
                self._log.warning(
                    "producer_failed", error=repr(error), retry_in_s=delay, under_way=self.under_way
                )
            finally:
                await self._end(producer)
                self._take_back()
            await asyncio.sleep(delay)
            delay = min(delay * 2, 2.0)

    async def _pump(self, producer: AIOKafkaProducer) -> None:
        while True:
            while self._waiting:
                item = self._waiting.popleft()
                self._flying.append(item)
                try:
                    future = await producer.send(
                        item.topic, item.value, item.key, partition=item.partition, headers=item.headers
                    )
                except (MessageSizeTooLargeError, AssertionError, TypeError, ValueError) as error:
                    self._refuse(item, error)
                    continue
                future.add_done_callback(partial(self._answered, item))
                if self._broken is not None:
                    raise self._broken
            self._wake.clear()
            await self._wake.wait()
            if self._broken is not None:
                raise self._broken

    def _answered(self, item: _Item, future: "asyncio.Future[Any]") -> None:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, MessageSizeTooLargeError):
            self._refuse(item, error)
        elif future.cancelled() or error is not None:
            self._broken = error if isinstance(error, KafkaError) else KafkaError(repr(error))
            self._wake.set()
        elif not item.done:
            self._finish(item)
            self._advance()

    def _refuse(self, item: _Item, error: Exception) -> None:
        """It will never be taken: sending it again would stop everything behind it."""
        self.refused += 1
        self._log.error("message_refused", topic=item.topic, bytes=len(item.value or b""), error=repr(error))
        if item.on_refused is not None:
            item.on_ack = item.on_refused
        self._finish(item)
        self._advance()

    def _finish(self, item: _Item) -> None:
        item.done = True
        self._by_lane[item.lane] -= 1
        if not self._by_lane[item.lane]:
            del self._by_lane[item.lane]
        if item.on_ack is not None:
            item.on_ack()

    def _advance(self) -> None:
        while self._flying and self._flying[0].done:
            self._flying.popleft()
        first = self._flying[0] if self._flying else self._waiting[0] if self._waiting else None
        acked = self._sent if first is None else first.number - 1
        if acked > self._acked:
            self._acked, self._moved_s = acked, time.monotonic()
        if any(number <= self._acked for number, _ in self._waiters):
            for number, waiter in self._waiters:
                if number <= self._acked and not waiter.done():
                    waiter.set_result(None)
            self._waiters = [item for item in self._waiters if item[0] > self._acked]

    def _take_back(self) -> None:
        """Everything unacknowledged goes in front again, in its order, but for what was dropped."""
        for item in self._flying:
            if item.dropped and not item.done:
                self._finish(item)
        self._waiting.extendleft(reversed([item for item in self._flying if not item.done]))
        self._flying.clear()
        self._advance()

    async def _end(self, producer: AIOKafkaProducer) -> None:
        """Make sure that the old producer sends nothing any more, reachable broker or not."""
        if producer._sender is not None:
            with contextlib.suppress(asyncio.CancelledError, KafkaError):
                await producer._sender.close()
        with contextlib.suppress(TimeoutError, KafkaError, OSError):
            await asyncio.wait_for(producer.client.close(), 1.0)
        producer._closed = True
