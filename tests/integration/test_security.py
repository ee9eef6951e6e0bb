"""One settings object carries security to every client."""

from pathlib import Path
from typing import Any

import pytest

from detector.service.reach import find_out
from detector.service.settings import Settings
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


async def test_a_broker_says_itself_what_it_wants(real_kafka: TestKafka) -> None:
    """Apache Kafka tells a listener with SASL from one without, and TLS from none, without a password."""
    if real_kafka.sasl_bootstrap is None:
        pytest.skip(f"a Kafka of the kind {real_kafka.kind!r} has no listener with SASL")
    plain, sasl = real_kafka.bootstrap, real_kafka.sasl_bootstrap
    with_sasl: dict[str, Any] = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "u"}

    def said(bootstrap: str, **more: Any) -> str:
        (sentence,) = find_out(Settings(bootstrap=bootstrap, **more))
        return sentence.removeprefix(f"{bootstrap} ")

    assert said(plain).startswith("answers now: ")
    assert said(sasl).startswith("answers, but wants SASL (PLAIN): set security_protocol to SASL_PLAINTEXT ")
    assert said(plain, **with_sasl).startswith("answers, but takes no SASL: set security_protocol to PLAIN")
    assert said(sasl, **with_sasl) == "answers: are sasl_username and sasl_password right?"
    assert said(sasl, **with_sasl, sasl_mechanism="SCRAM-SHA-256").endswith("set sasl_mechanism to PLAIN")
    for each in (plain, sasl):
        assert said(each, security_protocol="SSL").startswith("speaks no TLS: set security_protocol to ")


async def test_a_worker_without_sasl_is_told_so_in_its_log(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """It goes on trying; the first line says what to set."""
    if real_kafka.sasl_bootstrap is None:
        pytest.skip(f"a Kafka of the kind {real_kafka.kind!r} has no listener with SASL")
    worker = Worker(tmp_path, real_kafka.sasl_bootstrap, topic_prefix)
    with workers(worker):
        await until(lambda: len(worker.events("broker_unreachable")) >= 2, saying=worker.tail())
        first, second = worker.events("broker_unreachable")[:2]

    assert "wants SASL (PLAIN): set security_protocol to SASL_PLAINTEXT" in first["advice"]
    assert "advice" not in second
