"""A gateway ends when it wants to, whatever its broker does."""

import asyncio
import os
import signal
import time

from aiokafka import AIOKafkaProducer

from detector.embedded.broker import EmbeddedBroker
from detector.gateway import GatewayClient
from tests.integration.kit import producer, until
from topics.codec import encode
from topics.control import ControlRecord, OwnerRecord, State, owner_key
from topics.names import topics


def _broker() -> EmbeddedBroker:
    declared = topics()
    return EmbeddedBroker({declared.control.name: 1, declared.acks.name: 1})


async def _say(to: AIOKafkaProducer, revision: int, state: State) -> None:
    now = time.time()
    owner = OwnerRecord(partition=0, owner="w", epoch=1, issued_at=now, lease_s=600)
    record = ControlRecord(
        scope="chat", route="chat", state=state, epoch=1, revision=revision, issued_at=now, event_id=state
    )
    for key, value in ((owner_key(0), encode(owner)), (b"chat", encode(record))):
        await to.send_and_wait(topics().control.name, value, key, partition=0)


async def test_gateways_can_be_stopped_while_kafka_is_away() -> None:
    """Nothing is raised and no connection stays; six, as each has its own moment in waiting for a broker."""
    with _broker() as broker:
        clients = [GatewayClient(broker.bootstrap, f"gw-{number}") for number in range(6)]
        for client in clients:
            await client.start()
        consumers = [client._transport._consumer for client in clients]  # type: ignore[attr-defined]
        assert all(client.caught_up for client in clients)
    await until(lambda: not any(client.connected for client in clients), saying="the broker is missed")
    ended = await asyncio.gather(*(client.stop() for client in clients), return_exceptions=True)

    assert ended == [None] * len(clients)
    assert not any(consumer._client._conns for consumer in consumers)


async def test_a_gateway_is_stopped_while_an_acknowledgement_hangs() -> None:
    """A broker that hangs keeps it not as long as a request may take, and no task is left behind."""
    options = {"request_timeout_ms": 600_000}
    with _broker() as broker:
        client = GatewayClient(broker.bootstrap, "gw-1", client_options=options)
        async with producer(broker.bootstrap) as to:
            await _say(to, 1, "active")
            await client.start()
            await until(lambda: client._transport._producer, saying="acknowledged")  # type: ignore[attr-defined]
            await _say(to, 2, "inactive")
            await until(lambda: client.decide("chat").state == "inactive", saying="heard")
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            client._queue_ack(client.view.held["chat"], time.time())
            await until(lambda: not client._acks, saying="sent")
            async with asyncio.timeout(60):
                await client.stop()
            await until(lambda: len(asyncio.all_tasks()) == 1, saying="no task is left")
        finally:
            os.kill(broker.pid, signal.SIGCONT)
