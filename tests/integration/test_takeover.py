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
    CONTRACT,
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
CONTRACT_WITH_NOTICE = CONTRACT.replace(
    "modes:",
    "  slow: {type: exceedance, field: latency_s, above_ms: 200, ceiling: 0.01}\n"
    "modes:\n  latency_spike: {when: slow, severity: notice}",
)
HEALTHY = [f"healthy-{number}" for number in range(12)]


@pytest.mark.slow
async def test_a_killed_worker_loses_no_transition_and_judges_no_record_twice(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """After each SIGKILL during an activation: one event id per transition, every record counted once.

    A notice of the same scope, given before, has an identity of its own.
    """
    bootstrap = real_kafka.bootstrap

    def start(name: str) -> Worker:
        return Worker(tmp_path, bootstrap, topic_prefix, name=name, contract=CONTRACT_WITH_NOTICE)

    living = [start(f"w{number}") for number in range(2)]
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
                calm = [call(route, latency_s=0.1) for _ in range(300)]
                slow = [call(route, latency_s=0.5) for _ in range(100)]
                sent += await publish(to, topic_prefix, calm + slow)
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
                fresh = start(f"r{number}")
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
        ids[record.scope, record.mode == "latency_spike", record.transition].add(record.event_id)
    bad = {f"bad-{number}" for number in range(ROUNDS)}
    assert {scope for scope, noticed, _ in ids if noticed} == bad
    assert {scope for scope, noticed, _ in ids if not noticed} == bad
    assert all(len(found) == 1 for found in ids.values()), ids
    assert len(set().union(*ids.values())) == len(ids)
    for number in range(ROUNDS):
        assert last[f"bad-{number}"].state == "active"
        assert (f"bad-{number}", False, last[f"bad-{number}"].transition) in ids
