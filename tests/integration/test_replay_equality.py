"""The same records through Kafka and through a file lead to the same decisions."""

import asyncio
import random
import time
from collections import defaultdict
from pathlib import Path

import pytest

from detector.contract import load_contract
from detector.lab.replay import replay
from tests.harness.brokers import TestKafka
from tests.integration.kit import CONTRACT, Worker, producer, publish, transitions, until, workers
from topics.codec import encode
from topics.partitioner import partition_for
from topics.telemetry import TelemetryRecord

PARTITIONS = 8
ROUTES = [f"route-{number}" for number in range(12)]
RATE = 60  # calls a second and route
LEARN_S, FAULT_S, AFTER_S = 18, 6, 14

FULL = CONTRACT.replace(
    "predicates:\n",
    "predicates:\n"
    "  output_drift: {type: divergence, field: output_tokens, window_s: 5}\n"
    "  hallucinations: {type: rate, field: hallucinated, ceiling: 0.02}\n"
    "  slow_responses: {type: exceedance, field: latency_s, above_ms: 200, ceiling: 0.01}\n",
).replace(
    "modes:\n",
    "modes:\n"
    "  hallucination_spike: {when: hallucinations}\n"
    "  latency_spike: {when: slow_responses}\n"
    "  token_drift: {when: output_drift}\n",
)


def one_call(rng: random.Random, route: str, at: float, faulty: bool) -> TelemetryRecord:
    """A call of a route; routes 0 to 3 each have a fault of their own."""
    number = int(route.rpartition("-")[2])
    record = TelemetryRecord(
        event_time=at,
        route=route,
        latency_s=rng.lognormvariate(-2.8, 0.25),
        output_tokens=int(rng.lognormvariate(5, 0.8)),
        hallucinated=rng.random() < 0.004,
    )
    if faulty and number == 0:
        record.error = "timeout"
    elif faulty and number == 1:
        record.hallucinated = rng.random() < 0.6
    elif faulty and number == 2:
        record.latency_s = (record.latency_s or 0.0) * 5
    elif faulty and number == 3:
        record.output_tokens = int(rng.lognormvariate(2, 0.5))
    return record


def what_was_decided(found: list[tuple[str, str, str, str, int, int]]) -> dict[str, list[tuple[object, ...]]]:
    """Scope -> its (state, mode, predicate, row, transition) in order."""
    by_scope: dict[str, list[tuple[object, ...]]] = defaultdict(list)
    for scope, *rest in found:
        by_scope[scope].append(tuple(rest))
    return dict(by_scope)


@pytest.mark.slow
async def test_kafka_and_a_file_lead_to_the_same_decisions(
    kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Two workers on eight partitions decide what a replay of the same records decides, record for record."""
    rng = random.Random(7)
    rows: list[TelemetryRecord] = []
    row_of: dict[tuple[int, int], int] = {}
    filled = [0] * PARTITIONS
    made = [Worker(tmp_path, kafka.bootstrap, topic_prefix, name=f"w{i}", contract=FULL) for i in range(2)]
    with workers(*made):
        for worker in made:
            await worker.ready()
        await until(lambda: all(worker.partitions() for worker in made), saying="both own something")
        async with producer(kafka.bootstrap) as to:
            started = time.time()
            due = 0
            while (elapsed := time.time() - started) < LEARN_S + FAULT_S + AFTER_S:
                faulty = LEARN_S <= elapsed < LEARN_S + FAULT_S
                batch = []
                while due < elapsed * RATE:
                    batch += [one_call(rng, route, time.time(), faulty) for route in ROUTES]
                    due += 1
                for record in batch:
                    partition = partition_for(record.route.encode(), PARTITIONS)
                    row_of[partition, filled[partition]] = len(rows)
                    filled[partition] += 1
                    rows.append(record)
                await publish(to, topic_prefix, batch, partitions=PARTITIONS)
                await asyncio.sleep(0.02)

        async def ended() -> bool:
            last = {record.scope: record.state for record in await transitions(kafka.bootstrap, topic_prefix)}
            return len(last) == 4 and set(last.values()) == {"inactive"}

        await until(ended, within_s=60, saying="four faults found and over")
        live = what_was_decided(
            [
                (
                    record.scope,
                    record.state,
                    record.mode,
                    record.evidence.predicate,
                    row_of[record.partition, record.evidence.offset],
                    record.transition,
                )
                for record in await transitions(kafka.bootstrap, topic_prefix)
            ]
        )
    file = tmp_path / "calls.jsonl"
    file.write_bytes(b"".join(encode(record) + b"\n" for record in rows))

    replayed = what_was_decided(
        [
            (d.scope, d.state, d.mode, d.evidence.predicate, d.evidence.offset, d.transition)
            for d in replay([file], load_contract(FULL)).decisions
            if d.kind != "extended"
        ]
    )

    assert live == replayed
    assert {scope: found[0][1] for scope, found in live.items()} == {
        "route-0": "error_spike",
        "route-1": "hallucination_spike",
        "route-2": "latency_spike",
        "route-3": "token_drift",
    }
