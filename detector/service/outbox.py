"""Messages out, in order, however long the broker is away.

`send` never waits, and hands a message to librdkafka before it returns: threads of that library's own write
it to the broker and await the answer, so that a decision is on its way while the event loop judges on. An
idempotent producer keeps the order, with acks from all replicas. If a message fails, everything that is not
acknowledged is sent again, in the same order, by a new producer: a message may arrive twice, but the last one
of a key is the one sent last.
"""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from detector.service.carrier import Carrier
from detector.service.logs import logger

Headers = Sequence[tuple[str, bytes | None]]
_COMPLAIN_EVERY_S = 5.0
_SINGLY = {"batch.num.messages": 1}


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

    @property
    def size(self) -> int:
        """Bytes that it keeps."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


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
        compression: str = "none",
        limit: int = 2000,
        limit_bytes: int | None = None,
    ) -> None:
        """Prepare it; nothing is contacted before `start`.

        Args:
            options: what every client of librdkafka is given: brokers and security.
            name: for logs and for the client id.
            linger_ms: how long the producer may collect messages, milliseconds.
            compression: as librdkafka names it.
            limit: `room` waits while more messages than this are under way.
            limit_bytes: likewise, bytes of keys, values and headers.
        """
        self._name = name
        self._options = {
            **options,
            "client.id": f"detector-{name}",
            "linger.ms": linger_ms,
            "compression.type": compression,
        }
        self._limit, self._limit_bytes = limit, limit_bytes
        self._bytes = 0
        self._waiting: deque[_Item] = deque()
        self._flying: deque[_Item] = deque()
        self._by_lane: Counter[Hashable] = Counter()
        self._sent = 0
        self._acked = 0
        self._moved_s = 0.0
        self._complained_s = -_COMPLAIN_EVERY_S
        self._singly = False
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._carrier: Carrier[_Item] | None = None
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
        self._bytes += self._waiting[-1].size
        self._hand_over()
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

    @property
    def crowded(self) -> bool:
        """Whether too much is under way."""
        return self.under_way > self._limit or (
            self._limit_bytes is not None and self._bytes > self._limit_bytes
        )

    async def room(self) -> None:
        """Wait while too much is under way; returns at once otherwise."""
        while self.crowded:
            await self.acked(self._acked + max(1, self.under_way - self._limit))

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
            acked = self._acked
            options = {**self._options, **(_SINGLY if self._singly else {})}
            self._carrier = carrier = Carrier(options, self._answered, self._complain)
            try:
                self._hand_over()
                error = await carrier.broken
                delay = min(delay * 2, 2.0) if self._acked == acked else 0.1
                self._log.warning(
                    "producer_failed", error=str(error), retry_in_s=delay, under_way=self.under_way
                )
            finally:
                self._carrier = None
                carrier.close()
                self._take_back()
            await asyncio.sleep(delay)

    def _hand_over(self) -> None:
        """Give the producer what waits, as long as it has room."""
        carrier = self._carrier
        while carrier is not None and self._waiting:
            item = self._waiting[0]
            try:
                carrier.send(item, item.topic, item.key, item.value, item.headers, item.partition)
            except BufferError:
                return  # an answer makes room
            except (KafkaException, TypeError, ValueError) as error:
                self._flying.append(self._waiting.popleft())
                self._refuse(item, error)
                continue
            self._flying.append(self._waiting.popleft())

    def _answered(self, carrier: Carrier[_Item], item: _Item, error: KafkaError | None) -> None:
        if item.done:
            pass
        elif error is None:
            self._finish(item)
        elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE and carrier.singly:
            self._refuse(item, KafkaException(error))
        else:
            # A topic's limit holds for a batch, and may be less than what the client puts into one.
            self._singly = self._singly or error.code() == KafkaError.MSG_SIZE_TOO_LARGE
            carrier.fail(error)
        self._advance()
        if self._waiting:
            self._hand_over()

    def _complain(self, error: KafkaError) -> None:
        now = time.monotonic()
        if self.under_way and now - self._complained_s > _COMPLAIN_EVERY_S:
            self._complained_s = now
            self._log.warning("producer_waits", error=str(error), under_way=self.under_way)

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
        self._bytes -= item.size
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
        if self._waiters and any(number <= self._acked for number, _ in self._waiters):
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
