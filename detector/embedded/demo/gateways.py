"""The demo's gateways: the reader's rules of the control topic, obeyed call by call."""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from detector.embedded.demo.watch import FETCH_WAIT_MS
from detector.gateway.view import ControlView
from topics.codec import encode
from topics.control import Ack, ControlRecord
from topics.names import Topics
from topics.telemetry import PRIMARY


class DemoGateway:
    """Holds the control topic in memory, answers `choose` from it, acknowledges what it has applied.

    Args:
        name: the gateway's id on `detector.acks`.
        bootstrap: the embedded broker.
        declared: topic names.
        calls_per_s: calls of one route that all gateways together take, to share the probes out.
    """

    def __init__(self, name: str, bootstrap: str, declared: Topics, calls_per_s: float) -> None:
        self._name = name
        self._declared = declared
        self._calls_per_s = calls_per_s
        self._view = ControlView()
        self._owed: dict[str, float] = {}
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=None,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the control topic from the beginning, and on."""
        await self._producer.start()
        await self._consumer.start()
        self._consumer.assign([TopicPartition(self._declared.control.name, 0)])
        self._task = asyncio.create_task(self._follow(), name=self._name)

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()
        await self._producer.stop()

    async def _follow(self) -> None:
        async for message in self._consumer:
            received = time.time()
            change = self._view.apply(message.key, message.value, message.headers, now=time.monotonic())
            if change is not None and change[1] is not None:
                await self._acknowledge(change[1], received)

    async def _acknowledge(self, record: ControlRecord, received: float) -> None:
        ack = Ack(
            gateway=self._name,
            scope=record.scope,
            epoch=record.epoch,
            revision=record.revision,
            event_id=record.event_id,
            received_at=received,
            applied_at=time.time(),
        )
        await self._producer.send(self._declared.acks.name, encode(ack), key=self._name.encode())

    def choose(self, route: str, input_class: str) -> tuple[str, bool]:
        """Say who serves the next call, and whether it probes the primary."""
        record = self._view.effective(route, now=time.monotonic()).record
        if record is None:
            return PRIMARY, False
        names = record.fallbacks.get(input_class) or record.fallbacks.get("*")
        owed = self._owed.get(route, 0.0)
        owed += max(record.primary_share, (record.probes_per_s or 0.0) / self._calls_per_s)
        probe = owed >= 1.0 or not names
        self._owed[route] = max(0.0, owed - probe)
        return (PRIMARY, True) if probe or not names else (names[0], False)
