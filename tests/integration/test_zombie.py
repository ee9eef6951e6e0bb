"""A worker that was stopped past its session and continued: nothing of what it says counts."""

import signal
from pathlib import Path

import pytest

from detector.gateway.fold import Fold, parse
from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, control, producer, publish, read_all, until, workers
from topics.control import OwnerRecord
from topics.names import topics
from topics.partitioner import partition_for


@pytest.mark.slow
async def test_a_stopped_and_continued_worker_changes_nothing(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """What a zombie writes under its old epoch is refused by readers; it gives way and shares again."""
    bootstrap, route = real_kafka.bootstrap, "bad"
    partition = partition_for(route.encode(), 8)
    one = Worker(tmp_path, bootstrap, topic_prefix, name="one")
    with workers(one) as made:
        await one.ready()
        two = Worker(tmp_path, bootstrap, topic_prefix, name="two")
        made.append(two)
        await two.ready()
        await until(lambda: one.partitions() and two.partitions(), saying="shared")
        zombie = one if partition in one.partitions() else two
        other = two if zombie is one else one
        async with producer(bootstrap) as to:
            await publish(to, topic_prefix, [call(route) for _ in range(500)])
            zombie.send(signal.SIGSTOP)
            await publish(to, topic_prefix, [call(route, error="timeout") for _ in range(300)])
            await until(lambda: partition in other.partitions(), within_s=40, saying=other.tail())

            async def active() -> bool:
                records = await control(bootstrap, topic_prefix)
                return bool(records) and records[-1].state == "active"

            await until(active, saying=other.tail())
            zombie.send(signal.SIGCONT)
            await until(
                lambda: zombie.partitions() and not zombie.partitions() & other.partitions(),
                within_s=60,
                saying="shared again\n" + zombie.tail(),
            )
        written = await read_all(bootstrap, topics(topic_prefix).control.name)

    fold, speaker = Fold(), {}
    for raw in written:
        entry = parse(raw.key, raw.value, tuple(raw.headers), raw.offset)
        before = dict(fold.fence)
        applied = fold.apply(entry)
        if isinstance(entry, OwnerRecord):
            if applied and entry.epoch > before.get(entry.partition, -1):
                speaker[entry.partition] = entry.owner
            assert applied == (entry.epoch >= before.get(entry.partition, -1))
            assert not applied or speaker[entry.partition] == entry.owner
    assert fold.held[route].state == "active"
    assert fold.held[route].transition == 1
