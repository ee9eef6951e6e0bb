"""Where a worker begins, and what it refuses to begin with."""

import signal
import time
from pathlib import Path

import pytest

from detector.service.inspect import inspect
from detector.service.settings import Settings
from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, control, producer, publish, transitions, until, workers
from topics.codec import encode
from topics.names import topics
from topics.partitioner import partition_for


async def test_a_new_group_begins_at_the_longest_reference_not_at_the_beginning(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Records older than the references reach are left alone; those within are judged."""
    kafka, declared = real_kafka, topics(topic_prefix)
    kafka.create_topics({declared.telemetry.name: 8})
    home = partition_for(b"r", 8)
    async with producer(kafka.bootstrap) as to:
        for hours, count in ((30.0, 50), (0.2, 20)):
            at = time.time() - hours * 3600
            for _ in range(count):
                body = encode(call("r", at=at))
                await to.send_and_wait(
                    declared.telemetry.name, body, b"r", partition=home, timestamp_ms=int(at * 1000)
                )
    worker = Worker(tmp_path, kafka.bootstrap, topic_prefix)
    with workers(worker):
        await worker.ready()

        async def judged() -> int:
            state = await inspect(Settings(bootstrap=kafka.bootstrap, topic_prefix=topic_prefix))
            return state["counts"].get("judged", 0) if state["complete"] else 0

        assert await until(judged, saying=worker.tail()) == 20


async def test_a_topic_that_contradicts_its_declaration_stops_the_start(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """The process ends with exit code 1 and names the topic and the setting."""
    declared = topics(topic_prefix)
    real_kafka.create_topics(
        {declared.control.name: 1, declared.evaluations.name: 3},
        {declared.control.name: {"cleanup.policy": "delete"}},
    )
    worker = Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(worker):
        assert worker.process.wait(30) == 1
        (said,) = worker.events("cannot_start")
        assert f"topic {declared.control.name}: cleanup.policy is delete, expected compact" in said["reason"]
        assert f"topic {declared.evaluations.name}: 3 partitions, expected 8" in said["reason"]


@pytest.mark.slow
async def test_state_of_a_topic_that_was_made_anew_is_thrown_away(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Offsets that were covered in the old topic hide nothing of the new one, not after a restart either."""
    kafka, declared = real_kafka, topics(topic_prefix)
    settings = Settings(bootstrap=kafka.bootstrap, topic_prefix=topic_prefix)

    async def judged(number: int) -> bool:
        state = await inspect(settings)
        return bool(state["complete"] and state["counts"].get("judged") == number)

    first = Worker(tmp_path, kafka.bootstrap, topic_prefix, name="first")
    with workers(first):
        await first.ready()
        async with producer(kafka.bootstrap) as to:
            await publish(to, topic_prefix, [call("r") for _ in range(100)])
        await until(lambda: judged(100), saying=first.tail())
        first.send(signal.SIGTERM)
        first.process.wait(10)
    kafka.delete_topics(declared.telemetry.name)
    kafka.create_topics({declared.telemetry.name: 8})
    home = partition_for(b"r", 8)
    other = next(name for n in range(100) if partition_for((name := f"s{n}").encode(), 8) == home)
    async with producer(kafka.bootstrap) as to:
        await publish(to, topic_prefix, [call(other) for _ in range(40)])

    second = Worker(tmp_path, kafka.bootstrap, topic_prefix, name="second")
    with workers(second):
        await second.ready()
        await until(lambda: judged(40), saying=second.tail())
        assert second.events("state_discarded")
        second.send(signal.SIGTERM)
        second.process.wait(10)

    third = Worker(tmp_path, kafka.bootstrap, topic_prefix, name="third")
    with workers(third):
        await third.ready()
        async with producer(kafka.bootstrap) as to:
            await publish(to, topic_prefix, [call("r") for _ in range(30)])
        await until(lambda: judged(70), saying=third.tail())
        assert not third.events("state_discarded")


@pytest.mark.slow
async def test_a_fault_met_while_catching_up_is_audited_as_stale_and_acted_on_if_it_holds(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """A worker that comes late publishes what still holds at the end, once, under the same event id."""
    kafka = real_kafka
    first = Worker(tmp_path, kafka.bootstrap, topic_prefix, name="first")
    with workers(first):
        await first.ready()
        async with producer(kafka.bootstrap) as to:
            await publish(to, topic_prefix, [call("bad") for _ in range(300)])
        first.send(signal.SIGTERM)
        first.process.wait(10)
    async with producer(kafka.bootstrap) as to:
        await publish(to, topic_prefix, [call("bad", error="timeout") for _ in range(200)])

    second = Worker(tmp_path, kafka.bootstrap, topic_prefix, name="second")
    with workers(second):
        await second.ready()

        async def active() -> bool:
            records = await control(kafka.bootstrap, topic_prefix)
            return bool(records) and records[-1].state == "active"

        await until(active, saying=second.tail())
        audit = await transitions(kafka.bootstrap, topic_prefix)

    assert [record.disposition for record in audit] == ["stale", "act"]
    assert len({record.event_id for record in audit}) == 1
