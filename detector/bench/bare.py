"""The bare client beside the worker: aiokafka, uvloop, the same decoder, and nothing else.

A process of its own; see `child`.
"""

import asyncio
import os
import time
from collections import Counter
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from detector.bench.child import say, told
from detector.service.settings import Settings
from topics.codec import encode
from topics.control import ControlRecord, Evidence
from topics.telemetry import decode_telemetry

_IDLE_S = 20.0


async def read(
    settings: Settings, topic: str, starts: dict[str, int], ends: dict[str, int]
) -> dict[str, Any]:
    """Read and decode partitions from `starts` to `ends`; records, seconds and CPU seconds of it.

    The clock runs from the first list of records that is decoded to the last one.
    """
    consumer = AIOKafkaConsumer(**settings.client_options(), enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic, int(number)) for number in starts]
        consumer.assign(places)
        for place in places:
            consumer.seek(place, starts[str(place.partition)])
        left = {place: ends[str(place.partition)] for place in places}
        records, began, cpu = 0, 0.0, 0.0
        while any([await consumer.position(place) < end for place, end in left.items()]):
            found = await consumer.getmany(timeout_ms=int(_IDLE_S * 1000))
            if not found:
                break
            began, cpu = began or time.perf_counter(), cpu or time.process_time()
            for raws in found.values():
                for raw in raws:
                    decode_telemetry(raw.value)
                records += len(raws)
        return {
            "records": records,
            "seconds": time.perf_counter() - began,
            "cpu_s": time.process_time() - cpu,
        }
    finally:
        await consumer.stop()


async def answer(settings: Settings, source: str, target: str, failures: int) -> None:
    """Answer each route's failing call number `failures` with a control record, until stdin ends."""
    options = settings.client_options()
    consumer = AIOKafkaConsumer(
        source, **options, group_id=f"{settings.group_id}-bare", auto_offset_reset="latest"
    )
    producer = AIOKafkaProducer(**options, acks="all", enable_idempotence=True)
    await consumer.start()
    await producer.start()
    for place in consumer.assignment():
        await consumer.position(place)
    say("ready")
    seen: Counter[str] = Counter()
    while True:
        for place, raws in (await consumer.getmany(timeout_ms=1000)).items():
            for raw in raws:
                record = decode_telemetry(raw.value)
                if record.error == "timeout":
                    seen[record.route] += 1
                    if seen[record.route] == failures:
                        said = _control(record.route, place.partition, raw.offset)
                        await producer.send(target, encode(said), record.route.encode(), partition=0)


def _control(route: str, partition: int, offset: int) -> ControlRecord:
    return ControlRecord(
        scope=route,
        route=route,
        partition=partition,
        state="active",
        mode="error_spike",
        modes=["error_spike"],
        fallbacks={"*": ["secondary", "cache", "rule"], "high_risk": ["cache", "rule"]},
        issued_at=time.time(),
        evidence=Evidence(predicate="errors", topic="bare", partition=partition, offset=offset),
        reason="more calls fail than the contract allows",
    )


def main() -> None:
    """Do what the parent says."""
    # The loop may be waiting for a broker that is gone.
    settings, what = told(lambda: os._exit(0))
    uvloop.install()
    if what.pop("task") == "read":
        say(asyncio.run(read(settings, **what)))
    else:
        asyncio.run(answer(settings, **what))


if __name__ == "__main__":
    main()
