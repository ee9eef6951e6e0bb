"""A worker dies in the middle of an activation; the other one goes on as if nothing had been."""

import asyncio
import os
import signal
from collections import defaultdict
from pathlib import Path

import pytest

from detector.service.inspect import inspect
from detector.service.settings import Settings
from tests.harness.brokers import TestKafka
from tests.integration.kit import (
    Worker,
    call,
    control,
    producer,
    publish,
    transitions,
    until,
    workers,
)
from topics.partitioner import partition_for

ROUNDS = int(os.environ.get("DETECTOR_TEST_TAKEOVERS", "2"))
HEALTHY = [f"healthy-{number}" for number in range(12)]


@pytest.mark.slow
async def test_a_killed_worker_loses_no_transition_and_judges_no_record_twice(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """After each SIGKILL during an activation: one event id per transition, every record counted once."""
    bootstrap = real_kafka.bootstrap
    living = [Worker(tmp_path, bootstrap, topic_prefix, name=f"w{number}") for number in range(2)]
    sent = 0
    stop = asyncio.Event()
    with workers(*living) as made:
        for worker in living:
            await worker.ready()
        await until(lambda: all(worker.partitions() for worker in living), saying="shared")
        async with producer(bootstrap) as to:

            async def load() -> int:
                count = 0
                while not stop.is_set():
                    count += await publish(
                        to, topic_prefix, [call(route) for route in HEALTHY for _ in range(4)]
                    )
                    await asyncio.sleep(0.02)
                return count

            background = asyncio.create_task(load())
            for number in range(ROUNDS):
                route = f"bad-{number}"
                partition = partition_for(route.encode(), 8)
                sent += await publish(to, topic_prefix, [call(route) for _ in range(300)])
                victim = await until(
                    lambda partition=partition: next(
                        (w for w in living if partition in w.partitions()), None
                    ),
                    within_s=60,
                    saying="somebody owns the partition",
                )
                async with asyncio.TaskGroup() as group:
                    burst = group.create_task(
                        publish(to, topic_prefix, [call(route, error="timeout") for _ in range(200)])
                    )
                    await asyncio.sleep(0.01 * (number % 8))
                    victim.send(signal.SIGKILL)
                sent += burst.result()
                living.remove(victim)
                fresh = Worker(tmp_path, bootstrap, topic_prefix, name=f"r{number}")
                made.append(fresh)
                living.append(fresh)

                async def active(route: str = route) -> bool:
                    records = [r for r in await control(bootstrap, topic_prefix) if r.scope == route]
                    return bool(records) and records[-1].state == "active"

                await until(
                    active, within_s=40, saying=f"{route} active\n" + "".join(w.tail() for w in living)
                )
                await fresh.ready()
            stop.set()
            sent += await background
        try:

            async def counted() -> dict[str, int] | None:
                state = await inspect(Settings(bootstrap=bootstrap, topic_prefix=topic_prefix))
                found: dict[str, int] = state["counts"]
                whole = state["complete"] and found.get("judged", 0) >= sent
                return found if whole else None

            counts = await until(counted, within_s=40, saying=f"{sent} covered")
        except AssertionError:
            state = await inspect(Settings(bootstrap=bootstrap, topic_prefix=topic_prefix))
            raise AssertionError(f"sent {sent}, state {state['counts']} {state['partitions']}") from None
        audit = await transitions(bootstrap, topic_prefix)
        last = {record.scope: record for record in await control(bootstrap, topic_prefix)}

    assert counts["judged"] == sent
    assert counts["late"] == 0
    ids = defaultdict(set)
    for record in audit:
        ids[record.scope, record.transition].add(record.event_id)
    assert {scope for scope, _ in ids} == {f"bad-{number}" for number in range(ROUNDS)}
    assert all(len(found) == 1 for found in ids.values()), ids
    for number in range(ROUNDS):
        assert last[f"bad-{number}"].state == "active"
        assert (f"bad-{number}", last[f"bad-{number}"].transition) in ids
