"""A gateway ends when it wants to, whatever its broker does."""

import asyncio

from detector.embedded.broker import EmbeddedBroker
from detector.gateway import GatewayClient
from tests.integration.kit import until
from topics.names import topics


def _broker() -> EmbeddedBroker:
    declared = topics()
    return EmbeddedBroker({declared.control.name: 1, declared.acks.name: 1})


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
