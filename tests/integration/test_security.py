"""One settings object carries security to every client."""

from pathlib import Path

import pytest

from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, control, producer, publish, until, workers


async def test_every_client_of_a_worker_speaks_sasl(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """A worker that is given only the listener with SASL makes topics, judges, publishes and hands over."""
    if real_kafka.sasl_bootstrap is None:
        pytest.skip(f"a Kafka of the kind {real_kafka.kind!r} has no listener with SASL")
    worker = Worker(
        tmp_path,
        real_kafka.sasl_bootstrap,
        topic_prefix,
        DETECTOR_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        DETECTOR_SASL_USERNAME=real_kafka.sasl_username,
        DETECTOR_SASL_PASSWORD=real_kafka.sasl_password,
    )
    with workers(worker):
        await worker.ready()
        async with producer(real_kafka.bootstrap) as to:
            await publish(to, topic_prefix, [call("bad") for _ in range(300)])
            await publish(to, topic_prefix, [call("bad", error="timeout") for _ in range(200)])

        async def active() -> bool:
            return any(
                record.state == "active" for record in await control(real_kafka.bootstrap, topic_prefix)
            )

        await until(active, saying=worker.tail())
        assert real_kafka.sasl_password not in worker.log_path.read_text("utf-8")


async def test_a_wrong_password_ends_the_start_with_its_reason(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Trying again cannot make a password right: the process ends with exit code 1 and says why."""
    if real_kafka.sasl_bootstrap is None:
        pytest.skip(f"a Kafka of the kind {real_kafka.kind!r} has no listener with SASL")
    worker = Worker(
        tmp_path,
        real_kafka.sasl_bootstrap,
        topic_prefix,
        DETECTOR_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        DETECTOR_SASL_USERNAME=real_kafka.sasl_username,
        DETECTOR_SASL_PASSWORD="wrong",
    )
    with workers(worker):
        assert worker.process.wait(30) == 1
        assert worker.events("cannot_start")
