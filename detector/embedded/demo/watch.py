"""Reads the detector's topics as any outsider can, and folds them into a `Log`."""

import asyncio
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition

from detector.embedded.demo.log import Log
from topics.control import OWNER_PREFIX, decode_ack, decode_control
from topics.names import Topics

# The embedded broker does not wake a waiting fetch.
FETCH_WAIT_MS = 5


class Watch:
    """Follows transitions, acknowledgements, dead letters and owners until closed; see `log` and `owners`."""

    def __init__(self, bootstrap: str, declared: Topics) -> None:
        self.log = Log()
        self.owners: set[bytes] = set()
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=None,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        self._takes: dict[str, Callable[[bytes | None, bytes | None], None]] = {
            declared.transitions.name: self._transition,
            declared.acks.name: self._ack,
            declared.deadletter.name: self._deadletter,
            declared.control.name: self._control,
        }
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to read, from the beginning."""
        await self._consumer.start()
        self._consumer.assign([TopicPartition(topic, 0) for topic in self._takes])
        self._task = asyncio.create_task(self._follow(), name="demo-watch")

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()

    async def _follow(self) -> None:
        async for message in self._consumer:
            self._takes[message.topic](message.key, message.value)

    def _transition(self, key: bytes | None, value: bytes | None) -> None:
        self.log.transition(decode_control(value))

    def _ack(self, key: bytes | None, value: bytes | None) -> None:
        self.log.ack(decode_ack(value))

    def _deadletter(self, key: bytes | None, value: bytes | None) -> None:
        self.log.deadletters += 1

    def _control(self, key: bytes | None, value: bytes | None) -> None:
        if key is not None and key.startswith(OWNER_PREFIX.encode()):
            self.owners.add(key)
