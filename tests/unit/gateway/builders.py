"""Messages of the control topic in one line, and a topic in memory behind the client's seam."""

import asyncio
from dataclasses import dataclass
from typing import Any

from detector.gateway.transport import Fetched, RestartedError
from topics.cloudevents import REVISED, Headers, control_headers, owner_headers, tombstone_headers
from topics.codec import encode
from topics.control import Ack, ControlRecord, OwnerRecord, decode_ack, owner_key
from topics.scope import scope_of

NOW = 1_800_000_000.0


@dataclass(frozen=True)
class Message:
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int = int(NOW * 1000)
    offset: int = 0


def scope_message(route: str = "chat", deployment: str = "", **fields: Any) -> Message:
    values = {"state": "active", "epoch": 1, "revision": 1, "issued_at": NOW, "fallbacks": {"*": ["rule"]}}
    record = ControlRecord(
        scope=scope_of(route, deployment), route=route, deployment=deployment, **(values | fields)
    )
    return Message(record.scope.encode(), encode(record), control_headers(record, REVISED))


def owner_message(
    partition: int = 0, epoch: int = 1, *, lease_s: float = 15.0, at: float = NOW, issued_at: float = NOW
) -> Message:
    record = OwnerRecord(partition=partition, owner="w", epoch=epoch, issued_at=issued_at, lease_s=lease_s)
    return Message(owner_key(partition), encode(record), owner_headers(record), int(at * 1000))


def tombstone(scope: str, epoch: int, revision: int) -> Message:
    return Message(scope.encode(), None, tombstone_headers(scope, epoch, revision))


class MemoryTransport:
    """A control topic in memory. `failing` makes every call raise, as a broker that is away does."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.acks: list[Ack] = []
        self.connects = 0
        self.rewinds = 0
        self.failing: Exception | None = None
        self.stuck = False
        self.closed = False
        self._position = 0
        self._more = asyncio.Event()

    def append(self, *messages: Message) -> None:
        self.messages += messages
        self._more.set()

    def make_anew(self, *messages: Message) -> None:
        self.messages = list(messages)
        self._more.set()

    def _check(self) -> None:
        if self.failing is not None:
            raise self.failing

    async def connect(self) -> None:
        self.connects += 1
        await asyncio.sleep(0)
        self._check()
        self._position = 0

    async def end(self) -> int:
        self._check()
        return len(self.messages)

    async def read(self, timeout_s: float) -> Fetched:
        self._check()
        if self._position > len(self.messages):
            raise RestartedError
        if self.stuck or self._position == len(self.messages):
            self._more.clear()
            try:
                await asyncio.wait_for(self._more.wait(), min(timeout_s, 0.02))
            except TimeoutError:
                return Fetched([], self._position)
        self._check()
        if self._position > len(self.messages):
            raise RestartedError
        found = self.messages[self._position :]
        self._position = len(self.messages)
        return Fetched(found, self._position)

    async def rewind(self) -> None:
        self._check()
        self.rewinds += 1
        self._position = 0

    async def acknowledge(self, key: bytes, value: bytes) -> None:
        self._check()
        ack = decode_ack(value)
        assert key == ack.gateway.encode()
        self.acks.append(ack)

    async def disconnect(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True
