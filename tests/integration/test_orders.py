"""What counts as an answer to an operator's order: a record that gateways apply, and no other."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer

from detector.embedded.broker import EmbeddedBroker
from detector.modes.voice import acceptance
from detector.service.orders import NotAppliedError, give
from detector.service.settings import Settings
from tests.integration.kit import producer, read_all, until
from topics.codec import encode
from topics.control import ControlRecord, Override, OwnerRecord, owner_key
from topics.names import DEFAULT_PARTITIONS, topics

DECLARED = topics()


@pytest.fixture
def bootstrap() -> Iterator[str]:
    with EmbeddedBroker(
        {each.name: each.partitions or DEFAULT_PARTITIONS for each in DECLARED.all()}
    ) as broker:
        yield broker.bootstrap


def _order(*, accept: bool) -> Override:
    now = time.time()
    until = now if accept else now + 600
    state = "inactive" if accept else "active"
    return Override(
        scope="chat", state=state, until=until, who="ann", reason="x", issued_at=now, accept=accept
    )


async def _claim(to: AIOKafkaProducer, epoch: int) -> None:
    owner = OwnerRecord(partition=0, owner=f"w{epoch}", epoch=epoch, issued_at=time.time())
    await to.send_and_wait(DECLARED.control.name, encode(owner), owner_key(0), partition=0)


async def _answer(to: AIOKafkaProducer, order: Override, epoch: int) -> None:
    """What the worker of an epoch says once it has read the order."""
    record = ControlRecord(
        scope="chat",
        route="chat",
        state=order.state,
        epoch=epoch,
        revision=1,
        issued_at=time.time(),
        override_until=None if order.accept else order.until,
        reason=acceptance(order),
    )
    topic = DECLARED.transitions if order.accept else DECLARED.control
    await to.send_and_wait(topic.name, encode(record), b"chat", partition=0)


@pytest.mark.parametrize("accept", [False, True])
async def test_a_zombies_record_is_no_answer(bootstrap: str, accept: bool) -> None:
    """Gateways refuse it, so the order is not applied; the owner's own record is the answer."""
    order = _order(accept=accept)
    settings = Settings(bootstrap=bootstrap)

    async def ordered() -> bool:
        return bool(await read_all(bootstrap, DECLARED.overrides.name))

    async with producer(bootstrap) as to:
        await _claim(to, 4)
        await _claim(to, 5)
        giving = asyncio.create_task(give(settings, "chat", order, within_s=60))
        await until(ordered, saying="sent")
        await _answer(to, order, 4)
        await _answer(to, order, 5)
        record = await giving

    assert record.epoch == 5


async def test_a_drift_of_a_deployments_scope_is_answered_for_its_route(bootstrap: str) -> None:
    """References are the route's, so it is the route of which the audit tells."""
    order = _order(accept=True)
    order.scope = "chat@eu-1"

    async def ordered() -> bool:
        return bool(await read_all(bootstrap, DECLARED.overrides.name))

    async with producer(bootstrap) as to:
        await _claim(to, 4)
        giving = asyncio.create_task(give(Settings(bootstrap=bootstrap), order.scope, order, within_s=10))
        await until(ordered, saying="sent")
        await _answer(to, order, 4)
        record = await giving

    assert record.scope == "chat"


async def test_an_order_that_only_a_zombie_answers_is_not_applied(bootstrap: str) -> None:
    """Who claims while it is waited for is heard too."""
    order = _order(accept=False)

    async def ordered() -> bool:
        return bool(await read_all(bootstrap, DECLARED.overrides.name))

    async with producer(bootstrap) as to:
        await _claim(to, 4)
        giving = asyncio.create_task(give(Settings(bootstrap=bootstrap), "chat", order, within_s=5))
        await until(ordered, saying="sent")
        await _claim(to, 5)
        await _answer(to, order, 4)
        with pytest.raises(NotAppliedError):
            await giving


async def test_what_was_said_before_the_order_is_no_answer(bootstrap: str) -> None:
    """A record that fits it by chance, of the owner that still speaks, was there already."""
    order = _order(accept=False)
    async with producer(bootstrap) as to:
        await _claim(to, 4)
        await _answer(to, order, 4)
        with pytest.raises(NotAppliedError):
            await give(Settings(bootstrap=bootstrap), "chat", order, within_s=1)
