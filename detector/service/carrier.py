"""One producer of librdkafka, and the thread that waits for its answers and brings them to the event loop."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar, cast

from confluent_kafka import KafkaError, Producer

_OPTIONS: dict[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    # The broker's own limit is asked for elsewhere; this one must not be smaller.
    "message.max.bytes": 16 * 1024 * 1024,
    # What could not be sent for so long is given back; of that, what was dropped meanwhile is sent no more.
    "message.timeout.ms": 30_000,
    "retry.backoff.ms": 50,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1_000,
    "topic.metadata.refresh.interval.ms": 30_000,
    "socket.nagle.disable": True,
    # Where Java's client, and everybody else's, would put a key.
    "partitioner": "murmur2_random",
}
_POLL_S = 0.1
_LAST_S = 1.0
_WHEREVER = -1  # the key says which partition
_LOGGER = logging.getLogger("librdkafka")

T = TypeVar("T")


class Carrier(Generic[T]):
    """Carries messages to the broker, in order; one whose order can no longer be trusted is `broken`.

    Attributes:
        broken: the error that ended it, set by `fail`.
        singly: each message is a batch of its own, so that what is too large is the message.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        answered: "Callable[[Carrier[T], T, KafkaError | None], object]",
        complain: Callable[[KafkaError], object],
    ) -> None:
        """Args: `answered`: told what became of each message; `complain`: told of trouble with brokers."""
        self._loop = asyncio.get_running_loop()
        self._answered = answered
        self._answers: deque[tuple[T, KafkaError | None]] = deque()
        self._told = self._over = False
        self.singly = options.get("batch.num.messages") == 1
        self.broken: asyncio.Future[KafkaError] = self._loop.create_future()
        own = {"error_cb": partial(self._in_loop, complain), "logger": _LOGGER}
        producer = Producer({**options, **_OPTIONS, **own})
        self._produce, self._purge = producer.produce, producer.purge
        threading.Thread(target=self._poll, args=(producer,), name=options["client.id"], daemon=True).start()

    def send(
        self,
        what: T,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        partition: int | None,
    ) -> None:
        """Hand over a message; threads of the library write it at once. `answered` is told of `what`.

        Raises:
            BufferError: too many are under way.
            KafkaException: it will never be taken.
        """
        self._produce(
            topic,
            value,
            key,
            partition=_WHEREVER if partition is None else partition,
            headers=cast(Any, headers),
            on_delivery=partial(self._delivered, what),
        )

    def fail(self, error: KafkaError) -> None:
        """It is not to be used any more."""
        if not self.broken.done():
            self.broken.set_result(error)

    def close(self) -> None:
        """Send nothing more, reachable broker or not; it is not to be used any more."""
        self._purge(blocking=False)
        self._over = True
        # The thread alone holds the producer now, whose own threads end with it.
        del self._produce, self._purge

    # In the thread.

    def _poll(self, producer: Producer) -> None:
        while not self._over:
            producer.poll(_POLL_S)
        # Messages under way refer to this object, and its producer to them: they have to be let go of.
        producer.flush(_LAST_S)

    def _delivered(self, what: T, error: KafkaError | None, _: object) -> None:
        self._answers.append((what, error))
        if not self._told:
            self._told = True
            self._in_loop(self._bring)

    def _in_loop(self, call: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call, *args)

    # In the loop again.

    def _bring(self) -> None:
        self._told = False
        while self._answers:
            self._answered(self, *self._answers.popleft())
