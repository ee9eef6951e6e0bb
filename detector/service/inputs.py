"""Reads the inputs in threads of librdkafka's own, outside the interpreter.

aiokafka fetches in Python: it needs the interpreter several times for each fetch, and waits for it each time
while the other thread judges, which costs a decision more than judging does. So the group, its commits and
the ends of the log stay with Faust's consumer, all of whose partitions are paused, and the records come from
a consumer here that is told its partitions and offsets and joins no group.

Only one side uses that consumer at a time. A thread waits with it for the first record that comes; then it
is the event loop's, which takes what lies ready, judges it and takes again, and nobody interrupts it: records
made in another thread would be out of its processor's reach, and every one of them would be waited for.
When nothing is left the loop lets the thread wait again.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple, cast

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from faust.types import TP

from detector.service.headers import headers_of
from detector.service.logs import logger

_OPTIONS: dict[str, Any] = {
    "client.id": "inputs",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # Where retention was faster than we. A topic that was made anew is noticed by its ends.
    "auto.offset.reset": "earliest",
    # As the ends are asked for, see `BatchThread`. What was aborted was never said.
    "isolation.level": "read_committed",
    # The marker of a transaction has an offset and is no record.
    "enable.partition.eof": True,
    "check.crcs": True,
    "fetch.min.bytes": 1,
    "max.partition.fetch.bytes": 512 * 1024,
    # How much lies ready; at its limit the library looks again after the back-off.
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 32 * 1024,
    "fetch.queue.backoff.ms": 5,
    "fetch.error.backoff.ms": 50,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1_000,
    "topic.metadata.refresh.interval.ms": 30_000,
    "socket.nagle.disable": True,
    # A way to the broker that is dead without a word; a fetch is answered within its wait.
    "socket.timeout.ms": 10_000,
    "socket.keepalive.enable": True,
}
_LOOK_S = 0.05
_LOOK_AGAIN_S = 1.0
MOST = 4000  # messages taken at once: they are made without letting go of the interpreter
_FATAL = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError._BAD_MSG,
    KafkaError._BAD_COMPRESSION,
    KafkaError._FATAL,
}
_COMPLAIN_EVERY_S = 5.0
_LOGGER = logging.getLogger("librdkafka")
_CREATED = 1  # in the library, a stamp of the producer's; 0 in the protocol


class Fetched(msgspec.Struct, gc=False):
    """One record as it came; `timestamp` in ms, `timestamp_type` as in the protocol: 1, the broker's own."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] | tuple[()]


class Chunk(NamedTuple):
    """Records of one partition, fetched after its `round`-th seek.

    `end`: instead of records, the offset up to which there are none, where that is behind the last one's.
    """

    tp: TP
    round: int
    records: Sequence[Any]
    end: int | None = None


class _Order(NamedTuple):
    starts: dict[TP, int]
    rounds: dict[TP, int]
    whole: bool
    anew: bool


class InputReader:
    """Brings the records of the partitions that it is told of, in order.

    Attributes:
        waiting: whether something may lie ready to be taken: it does, or did when it was last looked for.
        taken: how often the loop has looked for it.
        failed: set to the error that ended the reading.
    """

    def __init__(self, options: Mapping[str, Any], *, group: str, wait_ms: int = 500) -> None:
        """Made in the loop that takes.

        Args:
            options: brokers and security.
            group: whose reader this is; it is not joined.
            wait_ms: how long a fetch waits at a broker for records.
        """
        self._loop = asyncio.get_running_loop()
        self.waiting = False
        self.taken = 0
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._options = {**options, **_OPTIONS, "group.id": group, "fetch.wait.max.ms": wait_ms}
        self._orders: deque[_Order] = deque()
        self._rounds: dict[TP, int] = {}
        self._over = False
        self._thread: threading.Thread | None = None
        self._consumer: Consumer | None = None
        # Set: the consumer is the thread's. The loop sets it, the thread clears it.
        self._listening = threading.Event()
        self._first: Message | None = None
        self._next: dict[TP, int] = {}  # behind the last record that was made; whoever has the consumer
        self._arrived = asyncio.Event()
        self._complained_s = -_COMPLAIN_EVERY_S
        self._log = logger(part="inputs")

    # The loop that judges.

    def read(
        self, starts: Mapping[TP, int], rounds: Mapping[TP, int], *, whole: bool, anew: bool = False
    ) -> None:
        """Read on from these offsets; `whole`: these partitions and no others, `anew`: with another client.

        What comes from there on is marked with the partition's round.
        """
        self._orders.append(_Order(dict(starts), dict(rounds), whole, anew))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="inputs", daemon=True)
            self._thread.start()
        self.listen()

    @property
    def reached(self) -> Mapping[TP, int]:
        """By partition the offset behind what was brought last, or where reading begins."""
        return self._next

    def close(self) -> None:
        """Read no more."""
        self._over = True
        self.listen()

    def listen(self) -> None:
        """Let the thread wait for what comes next, unless something is to be taken first."""
        if self._listening.is_set():
            return  # it does, and may be about to say that something is here
        if not self.waiting or self._orders or self._over:
            self.waiting = False
            self._listening.set()

    async def arrived(self, timeout_s: float) -> None:
        """Wait until something lies ready or somebody wakes us, for so long at most."""
        if self.waiting:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()
        self._arrived.clear()

    def wake(self) -> None:
        """Let who waits for something look again."""
        self._arrived.set()

    def wake_from_afar(self) -> None:
        """As `wake`, from any thread."""
        with suppress(RuntimeError):  # the loop has ended: nobody takes any more
            self._loop.call_soon_threadsafe(self._arrived.set)

    def take(self) -> list[Chunk]:
        """What lies ready, at most MOST records and one more; nothing while the thread waits for them.

        Raises:
            KafkaException: reading cannot go on.
        """
        if self._over:
            self.waiting = False
        if self._orders:
            self.listen()
        if self._listening.is_set() or self._consumer is None or self._over:
            return []
        self.taken += 1
        messages = [] if self._first is None else [self._first]
        self._first = None
        messages += self._consumer.consume(MOST, 0)
        self.waiting = bool(messages)
        return self._chunks(messages)

    # In the thread.

    def _run(self) -> None:
        try:
            self._consumer = Consumer(self._options, logger=_LOGGER)
            try:
                while not self._over:
                    if not self._listening.wait(_LOOK_AGAIN_S):
                        continue
                    self._obey()
                    if self._first is None:
                        found = self._consumer.poll(_LOOK_S)
                        self._first = None if found is None or self._is_old_end(found) else found
                    if self._first is not None and not self._orders:
                        self.waiting = True
                        self._listening.clear()
                        self.wake_from_afar()
            finally:
                self._consumer.close()
        except Exception as error:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._fail, error)

    def _obey(self) -> None:
        while self._orders:
            starts, rounds, whole, anew = self._orders.popleft()
            consumer = cast(Consumer, self._consumer)
            if anew:
                consumer.close()
                self._consumer = consumer = Consumer(self._options, logger=_LOGGER)
            places = [TopicPartition(tp.topic, tp.partition, offset) for tp, offset in starts.items()]
            if whole:
                self._rounds.clear()
                consumer.assign(places)
            else:
                held = {(place.topic, place.partition) for place in consumer.assignment()}
                if gone := [place for place in places if (place.topic, place.partition) in held]:
                    consumer.incremental_unassign(gone)
                consumer.incremental_assign(places)
            # Of these partitions the library hands out nothing any more that was fetched before; of others it
            # hands nothing out twice.
            if (first := self._first) is not None and (whole or _place(first) in starts):
                self._first = None
            self._rounds |= rounds
            self._next |= starts

    # Where the consumer is.

    def _chunks(self, messages: list[Message]) -> list[Chunk]:
        """Records by partition; they come in runs."""
        errors = list(map(Message.error, messages))
        others: list[Message] = []
        if any(errors):
            others = [message for message, error in zip(messages, errors, strict=True) if error is not None]
            messages = [message for message, error in zip(messages, errors, strict=True) if error is None]
        kinds, stamps = zip(*map(Message.timestamp, messages), strict=True) if messages else ((), ())
        records = list(
            map(
                Fetched,
                map(Message.offset, messages),
                stamps,
                [kind - _CREATED for kind in kinds],
                map(Message.key, messages),
                map(Message.value, messages),
                headers_of(messages),
            )
        )
        chunks, first = [], 0
        places = zip(map(Message.topic, messages), map(Message.partition, messages), strict=True)
        for place, run in groupby(places):
            end = first + sum(1 for _ in run)
            tp = TP(*cast(tuple[str, int], place))
            chunks.append(Chunk(tp, self._rounds.get(tp, 0), records[first:end]))
            self._next[tp] = records[end - 1].offset + 1
            first = end
        for message in others:
            if not _is_end(message):
                self._complain(cast(KafkaError, message.error()))
            elif not self._is_old_end(message):
                tp = _place(message)
                self._next[tp] = end = cast(int, message.offset())
                chunks.append(Chunk(tp, self._rounds.get(tp, 0), (), end))
        return chunks

    def _is_old_end(self, message: Message) -> bool:
        """Each end is told that is reached; behind the last record it is no news."""
        return _is_end(message) and cast(int, message.offset()) <= self._next.get(_place(message), -1)

    def _complain(self, error: KafkaError) -> None:
        if error.code() in _FATAL:
            raise KafkaException(error)
        now = time.monotonic()
        if now - self._complained_s > _COMPLAIN_EVERY_S:
            self._complained_s = now
            self._log.warning("reading_waits", error=str(error))

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
            self.failed.exception()  # whoever asks is told; nobody needs to
            self.wake()


def _is_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def _place(message: Message) -> TP:
    return TP(*cast(tuple[str, int], (message.topic(), message.partition())))
