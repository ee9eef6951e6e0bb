"""`look` beside workers with clocks unlike the viewer's: a heartbeat that comes says more than any clock."""

import asyncio
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import pytest

from detector.embedded.broker import EmbeddedBroker
from detector.service.heartbeats import LISTEN_S
from detector.service.inspect import look
from detector.service.settings import Settings
from tests.integration.kit import producer
from topics.codec import encode
from topics.control import ControlRecord, OwnerRecord, owner_key
from topics.names import topics

CONTROL, SNAPSHOTS = topics().control.name, topics().snapshots.name


def owner(partition: int, off_s: float, epoch: int = 5) -> bytes:
    """As a worker writes it whose clock is `off_s` ahead of this machine's."""
    return encode(
        OwnerRecord(
            partition=partition, owner=f"worker-{partition}", epoch=epoch, issued_at=time.time() + off_s
        )
    )


async def looked(
    first: dict[int, float], beating: dict[int, float], epoch: int = 5
) -> tuple[dict[str, Any], list[Collection[int]]]:
    """What is found where each partition had one heartbeat, and some go on; both as clocks off by seconds.

    Returns:
        What was found, and which partitions were said to be listened for.
    """
    with EmbeddedBroker({CONTROL: 1, SNAPSHOTS: 4}) as broker:
        async with producer(broker.bootstrap) as to:
            for partition, off_s in first.items():
                await to.send_and_wait(CONTROL, owner(partition, off_s), owner_key(partition))
                scope = ControlRecord(
                    scope=f"chat{partition}",
                    route=f"chat{partition}",
                    partition=partition,
                    state="active",
                    epoch=5,
                    revision=1,
                    issued_at=time.time() + off_s,
                )
                await to.send_and_wait(CONTROL, encode(scope), scope.scope.encode())

            async def beat() -> None:
                while True:
                    for partition, off_s in beating.items():
                        await to.send_and_wait(CONTROL, owner(partition, off_s, epoch), owner_key(partition))
                    await asyncio.sleep(0.5)

            task = asyncio.create_task(beat())
            told: list[Collection[int]] = []
            settings = Settings(bootstrap=broker.bootstrap, data_partitions=4)
            try:
                found, _ = await look(settings, listening=told.append)
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    return found, told


@pytest.mark.parametrize("off_s", [-20.0, 120.0])
async def test_a_worker_that_is_heard_watches_whatever_the_clocks_say(off_s: float) -> None:
    """A viewer ahead of it raises no alarm; one behind it shows no age below nothing."""
    found, told = await looked({0: off_s}, {0: off_s})
    partition = found["partitions"]["0"]

    assert told == [[0]]
    assert (partition["lapsed"], partition["lapsed_s"], found["lapsed"]) == (False, None, [])
    assert 0 <= partition["heard_s_ago"] < LISTEN_S
    assert found["clock_off_s"] == pytest.approx(-off_s, abs=5)


@pytest.mark.parametrize(("off_s", "known"), [(-100.0, True), (20.0, False)])
async def test_a_worker_that_is_not_heard_does_not(off_s: float, known: bool) -> None:
    """Not even if it has died in the viewer's future; for how long is not known then."""
    found, told = await looked({0: off_s}, {})
    partition = found["partitions"]["0"]

    assert told == [[0]]
    assert (partition["lapsed"], found["lapsed"]) == (True, ["chat0"])
    assert partition["heard_s_ago"] == (pytest.approx(100, abs=30) if known else None)
    assert partition["lapsed_s"] == (pytest.approx(85, abs=30) if known else None)
    assert found["clock_off_s"] is None


async def test_one_partition_is_heard_and_one_is_not() -> None:
    """Each is judged by its own heartbeats."""
    found, _ = await looked({0: -20.0, 1: -20.0}, {0: -20.0})

    assert [each["lapsed"] for each in found["partitions"].values()] == [False, True]
    assert found["lapsed"] == ["chat1"]


async def test_a_zombie_is_no_worker() -> None:
    """Its heartbeats are refused as everywhere."""
    found, _ = await looked({0: -20.0}, {0: 0.0}, epoch=4)

    assert found["lapsed"] == ["chat0"]


async def test_nothing_is_waited_for_where_all_is_well() -> None:
    """Clocks differ by a little everywhere."""
    found, told = await looked({0: -2.0, 1: 0.5}, {})

    assert told == []
    assert [each["lapsed"] for each in found["partitions"].values()] == [False, False]
    assert found["partitions"]["1"]["heard_s_ago"] >= 0
    assert found["clock_off_s"] is None
