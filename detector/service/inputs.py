"""Reads the inputs in threads of librdkafka's own, outside the interpreter.

aiokafka fetches in Python: it needs the interpreter several times for each fetch, and waits for it each time
while the other thread judges, which costs a decision more than judging does. So the group, its commits and
the ends of the log stay with Faust's consumer, all of whose partitions are paused, and the records come from
a consumer here that is told its partitions and offsets and joins no group.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, cast

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from faust.types import TP

from detector.service.logs import logger
from detector.service.stock import Stock

_OPTIONS: dict[str, Any] = {
    "client.id": "inputs",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # Where retention was faster than we. A topic that was made anew is noticed by its ends.
    "auto.offset.reset": "earliest",
    "isolation.level": "read_uncommitted",
    "check.crcs": True,
    "fetch.min.bytes": 1,
    "max.partition.fetch.bytes": 512 * 1024,
    # How much lies ready beside the stock; at its limit the library looks again after the back-off.
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
_AT_ONCE = 500  # messages: they are made without letting go of the interpreter
_FATAL = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError._BAD_MSG,
    KafkaError._BAD_COMPRESSION,
    KafkaError._FATAL,
}
_COMPLAIN_EVERY_S = 5.0
_NOWHERE = TP("", -1)
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


class _Order(NamedTuple):
    starts: dict[TP, int]
    rounds: dict[TP, int]
    whole: bool


class InputReader:
    """Puts what it reads into `stock`.

    Attributes:
        stock: what was read and not taken yet; while it is full nothing more is read.
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
        self.stock = Stock()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._options = {**options, **_OPTIONS, "group.id": group, "fetch.wait.max.ms": wait_ms}
        self._orders: deque[_Order] = deque()
        self._rounds: dict[TP, int] = {}
        self._over = False
        self._thread: threading.Thread | None = None
        self._complained_s = -_COMPLAIN_EVERY_S
        self._log = logger(part="inputs")

    def read(self, starts: Mapping[TP, int], rounds: Mapping[TP, int], *, whole: bool) -> None:
        """Read on from these offsets; `whole`: these partitions and no others.

        What is put from there on is marked with the partition's round.
        """
        self._orders.append(_Order(dict(starts), dict(rounds), whole))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="inputs", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Read no more."""
        self._over = True

    # In the thread.

    def _run(self) -> None:
        try:
            consumer = Consumer(self._options, logger=_LOGGER)
            try:
                while not self._over:
                    self._obey(consumer)
                    if not self.stock.room(_LOOK_S):
                        continue
                    first = consumer.poll(_LOOK_S)
                    if first is not None:
                        self._put([first, *consumer.consume(_AT_ONCE, 0)])
            finally:
                consumer.close()
        except Exception as error:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._fail, error)

    def _obey(self, consumer: Consumer) -> None:
        while self._orders:
            starts, rounds, whole = self._orders.popleft()
            places = [TopicPartition(tp.topic, tp.partition, offset) for tp, offset in starts.items()]
            if whole:
                self._rounds.clear()
                consumer.assign(places)
            else:
                held = {(place.topic, place.partition) for place in consumer.assignment()}
                if gone := [place for place in places if (place.topic, place.partition) in held]:
                    consumer.incremental_unassign(gone)
                consumer.incremental_assign(places)
            # The library hands out nothing any more that was fetched before.
            self._rounds |= rounds

    def _put(self, messages: list[Message]) -> None:
        found: dict[TP, list[Fetched]] = {}
        place: tuple[str | None, int | None] = (None, None)
        add = found.setdefault(_NOWHERE, []).append
        # Where a name is no text the library returns what must not be touched, with its error pending. The
        # interpreter calls methods without a look at that; `map` looks, and goes on with the next one.
        all_headers = map(Message.headers, messages)
        for message in messages:
            try:
                headers: Any = next(all_headers) or ()
            except (UnicodeDecodeError, SystemError):
                headers = ()
            if (error := message.error()) is not None:
                self._complain(error)
                continue
            here = message.topic(), message.partition()
            if here != place:  # they come in runs
                place = here
                add = found.setdefault(TP(*cast(tuple[str, int], here)), []).append
            kind, stamp = message.timestamp()
            offset: Any = message.offset()
            add(Fetched(offset, stamp, kind - _CREATED, message.key(), message.value(), headers))
        del found[_NOWHERE]
        self.stock.put(found, self._rounds)

    def _complain(self, error: KafkaError) -> None:
        if error.code() in _FATAL:
            raise KafkaException(error)
        now = time.monotonic()
        if now - self._complained_s > _COMPLAIN_EVERY_S:
            self._complained_s = now
            self._log.warning("reading_waits", error=str(error))

    # In the loop again.

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
            self.failed.exception()  # whoever asks is told; nobody needs to
            self.stock.wake()
