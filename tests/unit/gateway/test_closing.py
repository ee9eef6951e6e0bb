"""Clients of aiokafka are ended whatever their own `stop` does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from detector.gateway import closing
from detector.gateway.transport import KafkaTransport


class Connections:
    """An aiokafka client's connections."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class Unsent:
    """What a producer has not sent yet."""

    def __init__(self) -> None:
        self.failed = False

    def fail_all(self, _: Exception) -> None:
        self.failed = True


class Client:
    """A consumer or a producer, whose `stop` and `flush` do as they are told."""

    def __init__(self, stop: Callable[[], Awaitable[None]]) -> None:
        self.stop = self.flush = stop
        self.client = self._client = Connections()
        self._message_accumulator = Unsent()


def _transport(stop: Callable[[], Awaitable[None]]) -> tuple[Any, list[Connections]]:
    """One that is connected, by such a consumer and such a producer, and the connections of both."""
    transport: Any = KafkaTransport("localhost:9092")
    transport._consumer, transport._producer = Client(stop), Client(stop)
    return transport, [transport._consumer.client, transport._producer.client]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), OSError("gone"), RuntimeError("not ours")])
async def test_what_a_client_raises_keeps_no_other_from_being_closed(error: BaseException) -> None:
    """aiokafka lets out the CancelledError of its own task while brokers are away."""

    async def stop() -> None:
        raise error

    transport, connections = _transport(stop)
    await transport.close()

    assert all(each.closed for each in connections)


async def test_the_callers_own_cancellation_is_heard_when_all_is_closed() -> None:
    """It is not taken for aiokafka's, and it leaves nothing open."""
    begun = asyncio.Event()

    async def stop() -> None:
        begun.set()
        await asyncio.Event().wait()

    transport, connections = _transport(stop)
    closing_all = asyncio.create_task(transport.close())
    await begun.wait()
    closing_all.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing_all

    assert all(each.closed for each in connections)


async def test_a_client_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that does not answer keeps no gateway from ending."""
    monkeypatch.setattr(closing, "_STEP_S", 0.01)

    async def stop() -> None:
        await asyncio.Event().wait()

    transport, connections = _transport(stop)
    async with asyncio.timeout(10):
        await transport.close()

    assert all(each.closed for each in connections)
