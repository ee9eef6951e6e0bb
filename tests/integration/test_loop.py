"""The whole loop on Kafka: telemetry in, control records out."""

from pathlib import Path

from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, control, producer, publish, transitions, until, workers


async def test_a_burst_of_errors_becomes_one_activation_on_the_control_topic(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Errors on a route make its scope active, with the evidence's place, and leave other routes alone."""
    worker = Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(worker):
        await worker.ready()
        async with producer(real_kafka.bootstrap) as to:
            await publish(
                to, topic_prefix, [call("good") for _ in range(500)] + [call("bad") for _ in range(500)]
            )
            await publish(to, topic_prefix, [call("bad", error="timeout") for _ in range(300)])

        async def active() -> list[object]:
            return [
                record
                for record in await control(real_kafka.bootstrap, topic_prefix)
                if record.state == "active"
            ]

        found = await until(active, saying=worker.tail())

        assert {record.scope for record in found} == {"bad"}
        assert found[0].mode == "error_spike"
        assert found[0].evidence.topic == f"{topic_prefix}llm.telemetry"
        assert found[0].evidence.offset >= 0
        audit = await transitions(real_kafka.bootstrap, topic_prefix)
        assert [record.event_id for record in audit if record.disposition == "act"] == [found[0].event_id]


async def test_two_workers_share_the_partitions(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Of two workers each owns some partitions; none is owned twice, none by nobody."""
    first = Worker(tmp_path, real_kafka.bootstrap, topic_prefix, name="a")
    with workers(first):
        await first.ready()
        second = Worker(tmp_path, real_kafka.bootstrap, topic_prefix, name="b")
        with workers(second):

            def shared() -> bool:
                one, two = first.partitions(), second.partitions()
                return bool(one and two) and not one & two and one | two == set(range(8))

            await until(shared, within_s=60, saying=first.tail() + second.tail())
