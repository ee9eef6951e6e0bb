"""Telemetry that is produced in transactions: their markers have offsets and are no records."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from confluent_kafka import Producer

from detector.gateway import GatewayClient
from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, owners, transitions, until, workers
from topics.codec import encode
from topics.names import topics
from topics.partitioner import partition_for
from topics.telemetry import TelemetryRecord


def together(bootstrap: str, prefix: str, calls: Iterable[TelemetryRecord]) -> Producer:
    """Produce calls in a transaction, which is left open."""
    settings = {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "log_level": 0}
    to = Producer({**settings, "transactional.id": f"{prefix}{uuid4()}"})
    to.init_transactions(30)
    to.begin_transaction()
    for each in calls:
        to.produce(topics(prefix).telemetry.name, encode(each), each.route.encode())
    to.flush()
    return to


async def test_transactions_stop_no_heartbeat_and_what_is_aborted_never_was(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """A fault is acted on once it is committed, and stays so behind the marker, and behind an open one."""
    bootstrap, worker = real_kafka.bootstrap, Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    good, bad = [call("chat") for _ in range(100)], [call("chat", error="timeout") for _ in range(60)]
    with workers(worker):
        await worker.ready()
        ghost = [call("ghost", error="timeout") for _ in range(60)]
        aborted = await asyncio.to_thread(together, bootstrap, topic_prefix, ghost)
        await asyncio.to_thread(aborted.abort_transaction, 30)
        async with GatewayClient(bootstrap, "gw", topic_prefix=topic_prefix) as gateway:
            committed = await asyncio.to_thread(together, bootstrap, topic_prefix, good + bad)
            assert gateway.decide("chat").state == "inactive"
            await asyncio.to_thread(committed.commit_transaction, 30)
            await until(lambda: gateway.decide("chat").state == "active", saying=worker.tail())
            await _heard_twice(bootstrap, topic_prefix)
            left_open = await asyncio.to_thread(together, bootstrap, topic_prefix, good)
            await _heard_twice(bootstrap, topic_prefix)
            assert gateway.decide("chat").state == "active"
            await asyncio.to_thread(left_open.abort_transaction, 30)
        _, metrics = worker.get("/metrics") or (0, b"")
    found = await transitions(bootstrap, topic_prefix)

    assert {each.route for each in found} == {"chat"}
    assert b"detector_passed_over_offsets_total" in metrics


async def _heard_twice(bootstrap: str, prefix: str) -> None:
    """Wait for what its owner says more than one heartbeat from now."""
    since, own = time.time(), partition_for(b"chat", 8)

    async def heard() -> bool:
        said = await owners(bootstrap, prefix)
        return any(one.partition == own and one.issued_at > since + 4 for one in said)

    await until(heard, saying="two heartbeats later")
