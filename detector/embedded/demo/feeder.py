"""Feeds the scenarios as two gateways would: each call decided on, made, and reported on `llm.telemetry`."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer

from detector.embedded.demo.traffic import Traffic
from topics.codec import encode

_TURN_S = 0.02
# A few that no gateway should send, early on: they must cost nobody anything.
_MALFORMED = (b"", b"{", b'{"event_time": 1, "route": "chat"}', b'{"event_time": NaN}', b"\xff\xfe" * 100)
_MALFORMED_AT_S = 2.0


class Gateway(Protocol):
    """What the feed asks of a gateway."""

    def choose(self, route: str, input_class: str) -> tuple[str, bool]:
        """Return who serves the next call of `route`, and whether it is a probe of the primary."""


class Feeder:
    """Calls of all scenarios, taken in turn by the gateways.

    Attributes:
        records: calls reported.
        malformed: messages sent that are no records.
    """

    def __init__(
        self, producer: AIOKafkaProducer, topic: str, traffic: Sequence[Traffic], gateways: Sequence[Gateway]
    ) -> None:
        self.traffic = traffic
        self.records = 0
        self.malformed = 0
        self._producer = producer
        self._topic = topic
        self._gateways = gateways
        self._began = time.time()
        self._began_monotonic = time.monotonic()
        self._sent: dict[tuple[int, int], float] = {}

    @property
    def age_s(self) -> float:
        """Seconds since the feed began."""
        return time.monotonic() - self._began_monotonic

    def age_at(self, at: float) -> float:
        """Seconds into the feed at `at`, Unix seconds."""
        return at - self._began

    def sent_at(self, partition: int, offset: int) -> float | None:
        """When the record at that place was sent, Unix seconds; None if it was not from here."""
        return self._sent.get((partition, offset))

    async def run(self) -> None:
        """Feed until cancelled. Time between calls is pressed together, so that event time is now."""
        self._began, self._began_monotonic = time.time(), time.monotonic()
        while True:
            await self._turn(self.age_s)
            await asyncio.sleep(_TURN_S)

    async def _turn(self, age_s: float) -> None:
        for traffic in self.traffic:
            route = traffic.scenario.route
            for _ in range(traffic.due(age_s)):
                gateway = self._gateways[self.records % len(self._gateways)]
                served_by, probe = gateway.choose(route, traffic.input_class())
                now = time.time()
                record = traffic.call(age_s, now, served_by, probe=probe)
                sending = await self._producer.send(self._topic, encode(record), key=route.encode())
                sending.add_done_callback(partial(self._note, now))
                self.records += 1
        if self.malformed == 0 and age_s >= _MALFORMED_AT_S:
            for message in _MALFORMED:
                await self._producer.send(self._topic, message, key=b"chat")
            self.malformed = len(_MALFORMED)

    def _note(self, now: float, sending: "asyncio.Future[Any]") -> None:
        if not sending.cancelled() and sending.exception() is None:
            place = sending.result()
            self._sent[place.partition, place.offset] = now
