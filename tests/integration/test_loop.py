"""The whole loop on Kafka: telemetry in, control records out."""

import time
from pathlib import Path

from detector.gateway import GatewayClient
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


async def test_a_failing_deployment_is_avoided_and_its_route_is_not_diverted(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Of four deployments one fails: a gateway keeps off it, probes it, and stays with the primary."""
    first = Worker(tmp_path, real_kafka.bootstrap, topic_prefix, name="first")
    with workers(first):
        await first.ready()
    begins = time.time() - 60
    async with producer(real_kafka.bootstrap) as to:
        # What comes while nobody reads is judged by its own times.
        await publish(
            to,
            topic_prefix,
            [
                call(
                    "chat",
                    at=begins + i / 50,
                    deployment=f"eu-{i % 4}",
                    error="timeout" if i % 4 == 1 and i > 2800 else "",
                )
                for i in range(3000)
            ],
        )
    second = Worker(tmp_path, real_kafka.bootstrap, topic_prefix, name="second")
    with workers(second):
        async with GatewayClient(real_kafka.bootstrap, "gw", topic_prefix=topic_prefix) as gateway:
            await until(lambda: gateway.decide("chat").avoid == ("eu-1",), within_s=60, saying="avoided")
            decisions = [gateway.decide("chat") for _ in range(400)]
        audit = await transitions(real_kafka.bootstrap, topic_prefix)

    assert all(each.use_primary for each in decisions)
    assert 0 < sum(each.probe_deployment == "eu-1" for each in decisions) < 40
    assert {each.scope for each in audit} == {"chat@eu-1"}
    assert audit[0].evidence.detail["deployment"] == "eu-1"


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
