"""Telemetry that is produced in transactions: their markers have offsets and are no records."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

from confluent_kafka import Producer

from detector.gateway import GatewayClient
from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, owners, transitions, until, workers
from topics.codec import encode
from topics.names import topics
from topics.partitioner import partition_for
from topics.telemetry import TelemetryRecord


def together(bootstrap: str, prefix: str, calls: Iterable[TelemetryRecord], *, commit: bool) -> None:
    """Produce calls in one transaction, and end it."""
    settings = {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "log_level": 0}
    to = Producer({**settings, "transactional.id": f"{prefix}collector"})
    to.init_transactions(30)
    to.begin_transaction()
    for each in calls:
        to.produce(topics(prefix).telemetry.name, encode(each), each.route.encode())
    to.flush()
    if commit:
        to.commit_transaction(30)
    else:
        to.abort_transaction(30)


async def test_a_quiet_partition_that_ends_with_a_marker_keeps_its_heartbeat(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """The fault of a committed transaction is acted on and stays so; that of an aborted one never was."""
    bootstrap, worker = real_kafka.bootstrap, Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    good, bad = [call("chat") for _ in range(100)], [call("chat", error="timeout") for _ in range(60)]
    with workers(worker):
        await worker.ready()
        ghost = [call("ghost", error="timeout") for _ in range(60)]
        await asyncio.to_thread(together, bootstrap, topic_prefix, ghost, commit=False)
        async with GatewayClient(bootstrap, "gw", topic_prefix=topic_prefix) as gateway:
            await asyncio.to_thread(together, bootstrap, topic_prefix, good + bad, commit=True)
            await until(lambda: gateway.decide("chat").state == "active", saying=worker.tail())
            since, own = time.time(), partition_for(b"chat", 8)

            async def heard() -> bool:
                said = await owners(bootstrap, topic_prefix)
                return any(one.partition == own and one.issued_at > since + 4 for one in said)

            await until(heard, saying="two heartbeats later")
            assert gateway.decide("chat").state == "active"
        _, metrics = worker.get("/metrics") or (0, b"")
    found = await transitions(bootstrap, topic_prefix)

    assert {each.route for each in found} == {"chat"}
    assert b"detector_passed_over_offsets_total" in metrics
