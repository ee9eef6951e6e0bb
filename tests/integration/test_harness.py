"""The harness itself: what the other tests rely on when they ask for a Kafka or a Redis."""

import re

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.harness.apiversions import features
from tests.harness.brokers import TestKafka


async def _send(bootstrap: str, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def _read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with consumer:
        return [(await consumer.getone()).value for _ in range(count)]


def test_the_brokers_version_is_its_own_word(kafka: TestKafka) -> None:
    """A Kafka counts as real only if the broker itself names a KRaft metadata version."""
    assert kafka.real == ("metadata.version" in features(kafka.bootstrap))
    if kafka.kind == "jars":
        assert re.fullmatch(r"4\.2\.0", kafka.version)


async def test_what_is_produced_is_consumed(kafka: TestKafka, topic_prefix: str) -> None:
    """A topic made through the harness takes records and gives them back in order."""
    topic = f"{topic_prefix}roundtrip"
    kafka.create_topics({topic: 1})
    values = [b"%d" % i for i in range(100)]

    await _send(kafka.bootstrap, topic, values)

    assert await _read(kafka.bootstrap, topic, 100) == values


async def test_a_stop_and_a_start_keep_the_data(restartable_kafka: TestKafka, topic_prefix: str) -> None:
    """Acknowledged records outlive a stop of the broker, which is back at the same address."""
    topic = f"{topic_prefix}kept"
    restartable_kafka.create_topics({topic: 1})
    await _send(restartable_kafka.bootstrap, topic, [b"before"])

    restartable_kafka.stop()
    with pytest.raises(OSError):  # noqa: PT011 - refused, reset or timed out, by platform
        features(restartable_kafka.bootstrap)
    restartable_kafka.start()
    await _send(restartable_kafka.bootstrap, topic, [b"after"])

    assert await _read(restartable_kafka.bootstrap, topic, 2) == [b"before", b"after"]


async def test_the_sasl_listener_wants_the_password(real_kafka: TestKafka, topic_prefix: str) -> None:
    """The second listener serves whoever knows the password, and nobody else."""
    if real_kafka.sasl_bootstrap is None:
        pytest.skip("the given Kafka has no SASL listener that is known here")
    topic = f"{topic_prefix}guarded"
    real_kafka.create_topics({topic: 1})

    def client(password: str) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=real_kafka.sasl_bootstrap,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_plain_username=real_kafka.sasl_username,
            sasl_plain_password=password,
        )

    async with client(real_kafka.sasl_password) as producer:
        await producer.send_and_wait(topic, b"let in")
    stranger = client("wrong")
    with pytest.raises(KafkaError):
        await stranger.start()
    await stranger.stop()


async def test_redis_answers(redis_url: str) -> None:
    """The Redis of the run keeps what it is given."""
    from redis.asyncio import Redis

    async with Redis.from_url(redis_url) as client:
        await client.set("harness", "here", ex=60)

        assert await client.get("harness") == b"here"
