"""The client's seam to Kafka: a log to read from the beginning and to ask for its end, and acks to write."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, UnsupportedCodecError

from detector.gateway.closing import close_consumer, close_producer
from detector.gateway.headernames import tolerate_header_names
from detector.gateway.leanfetch import TRIED_WITH, hand_over_whole
from detector.gateway.options import known_to, refuse_unknown
from topics.names import topics

logger = logging.getLogger("detector.gateway")

_ASK_S = 5.0
# A long topic is caught up with in a fraction of the round trips that the usual 1 MiB takes.
_FETCH_BYTES = 8 * 1024 * 1024
# A broker that is away is asked twice a second: aiokafka says each time in the log that it is.
_AGAIN_MS = 500
_READ_IT = "pip install cramjam here, or leave compression.type of the topic at producer"
# Options with which a partition's records are not handed over whole.
_DIFFERENT = frozenset({"max_poll_records", "isolation_level", "key_deserializer", "value_deserializer"})
# What any of these calls may raise while brokers are away.
TransportError = (KafkaError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Fetched:
    """Messages of one fetch, in order, and the position behind them.

    Attributes:
        messages: objects with key, value, headers, offset and timestamp (Unix milliseconds).
        position: next offset to be read; it passes holes that compaction left.
    """

    messages: Sequence[Any]
    position: int


class RestartedError(Exception):
    """The offset to be read is not on the topic: it was made anew, or cut."""


class Transport(Protocol):
    """What the client needs; `KafkaTransport` is the real one. Calls raise `TransportError`."""

    async def connect(self) -> None:
        """Connect, ready to read from the beginning."""

    async def end(self) -> int:
        """The topic's end offset now."""

    async def read(self, timeout_s: float) -> Fetched:
        """The next messages, or none after a time-out. Raises RestartedError too."""

    async def rewind(self) -> None:
        """Go back to the beginning."""

    async def acknowledge(self, key: bytes, value: bytes) -> None:
        """Write to the topic of acknowledgements."""

    async def disconnect(self) -> None:
        """Give back what reads, for `connect` to begin anew; acknowledgements are not waited for."""

    async def close(self) -> None:
        """Give everything back."""


def _let_it_fail(sent: asyncio.Future[Any]) -> None:
    if not sent.cancelled() and (error := sent.exception()) is not None:
        logger.warning("acknowledgement lost: %r", error)


class KafkaTransport:
    """The control topic over aiokafka, without a consumer group.

    Args:
        options: for aiokafka's clients: security, time-outs, `fetch_max_wait_ms`. Each client is given
            those that it knows.

    Attributes:
        whole_fetches: what a fetch brings is handed over whole, see `leanfetch`.

    Raises:
        TypeError: an option that no client knows.
    """

    def __init__(
        self, bootstrap: str, *, topic_prefix: str = "", options: Mapping[str, Any] | None = None
    ) -> None:
        given: dict[str, Any] = {
            "bootstrap_servers": bootstrap,
            "max_partition_fetch_bytes": _FETCH_BYTES,
            "retry_backoff_ms": _AGAIN_MS,
        }
        given |= options or {}
        self._consumer_options = known_to(AIOKafkaConsumer, given)
        self._producer_options = known_to(AIOKafkaProducer, given)
        refuse_unknown(given)
        # It rests on private names: an aiokafka that it was not tried with is read the usual way.
        self.whole_fetches = aiokafka.__version__.startswith(TRIED_WITH) and _DIFFERENT.isdisjoint(given)
        declared = topics(topic_prefix)
        self._place = TopicPartition(declared.control.name, 0)
        self._acks = declared.acks.name
        self._consumer: AIOKafkaConsumer | None = None
        self._producer: AIOKafkaProducer | None = None

    async def connect(self) -> None:
        """Connect, ready to read from the beginning."""
        tolerate_header_names()
        fixed = {"group_id": None, "enable_auto_commit": False, "auto_offset_reset": "none"}
        consumer = AIOKafkaConsumer(**(self._consumer_options | fixed))
        try:
            await consumer.start()
            if self.whole_fetches:
                hand_over_whole(consumer._fetcher)
            consumer.assign([self._place])
            await consumer.seek_to_beginning(self._place)
        except BaseException:
            await close_consumer(consumer)
            raise
        self._consumer = consumer

    async def end(self) -> int:
        """The topic's end offset now."""
        # aiokafka asks for up to its request time-out; a reader has to know sooner that nobody answers.
        async with asyncio.timeout(_ASK_S):
            ends = await self._connected().end_offsets([self._place])
        return int(ends[self._place])

    async def read(self, timeout_s: float) -> Fetched:
        """The next messages, or none after a time-out."""
        consumer = self._connected()
        try:
            fetched = await consumer.getmany(self._place, timeout_ms=int(timeout_s * 1000))
        except OffsetOutOfRangeError:
            raise RestartedError from None
        except UnsupportedCodecError as error:
            raise UnsupportedCodecError(
                f"{error.args[0]}; the control topic is compressed: {_READ_IT}"
            ) from None
        async with asyncio.timeout(_ASK_S):
            return Fetched(fetched.get(self._place, []), int(await consumer.position(self._place)))

    async def rewind(self) -> None:
        """Go back to the beginning."""
        await self._connected().seek_to_beginning(self._place)

    async def acknowledge(self, key: bytes, value: bytes) -> None:
        """Write to the topic of acknowledgements; the producer is made at the first one."""
        if self._producer is None:
            producer = AIOKafkaProducer(**self._producer_options)
            try:
                await producer.start()
            except BaseException:
                await close_producer(producer)
                raise
            self._producer = producer
        future = await self._producer.send(self._acks, value, key=key)
        future.add_done_callback(_let_it_fail)

    async def disconnect(self) -> None:
        """Give back what reads, for `connect` to begin anew; acknowledgements are not waited for."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await close_consumer(consumer)

    async def close(self) -> None:
        """Give everything back; acknowledgements have seconds left to be sent."""
        producer, self._producer = self._producer, None
        try:
            await self.disconnect()
        finally:
            if producer is not None:
                await close_producer(producer)

    def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise ConnectionError("not connected to the control topic")
        return self._consumer
