"""No header that a producer can write stops anything: a name that is not UTF-8, a value that is null."""

from pathlib import Path

from detector.service.inspect import inspect
from detector.service.settings import Settings
from tests.harness.brokers import TestKafka
from tests.integration.kit import (
    Worker,
    call,
    producer,
    publish,
    read_all,
    send_with_bad_header,
    until,
    workers,
)
from topics.codec import encode
from topics.names import topics
from topics.partitioner import partition_for


async def test_a_header_name_that_is_not_utf8_stops_no_worker(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Such records, good ones and malformed ones, are judged or refused like others, and control goes on."""
    bootstrap, declared = real_kafka.bootstrap, topics(topic_prefix)
    worker = Worker(tmp_path, bootstrap, topic_prefix)
    settings = Settings(bootstrap=bootstrap, topic_prefix=topic_prefix)
    route = "r"
    home = partition_for(route.encode(), 8)
    with workers(worker):
        await worker.ready()
        async with producer(bootstrap) as to:
            await publish(to, topic_prefix, [call(route) for _ in range(200)])
            for value in (encode(call(route)), b"no record"):
                await send_with_bad_header(to, declared.telemetry.name, route.encode(), value, partition=home)
            await send_with_bad_header(to, declared.control.name, b"strange", b"{}", partition=0)
            await publish(to, topic_prefix, [call(route, error="timeout") for _ in range(200)])

            async def judged() -> bool:
                state = await inspect(settings)
                counts = state["counts"]
                return counts.get("judged") == 401 and counts["malformed"] == 1

            await until(judged, saying=worker.tail())

            async def active() -> bool:
                return bool((await inspect(settings))["active"])

            await until(active, saying=worker.tail())
        await worker.ready()

    assert not worker.events("service_failed")
    assert not worker.events("control_feed_failed")
    assert len(worker.events("partition_claimed")) == 8


async def test_a_header_without_a_value_stops_no_worker(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Kafka allows it: what is refused, and what belongs to another partition, is sent on with it."""
    bootstrap, declared = real_kafka.bootstrap, topics(topic_prefix)
    worker = Worker(tmp_path, bootstrap, topic_prefix)
    settings = Settings(bootstrap=bootstrap, topic_prefix=topic_prefix)
    home, headers = partition_for(b"r", 8), [("baggage", None)]
    with workers(worker):
        await worker.ready()
        async with producer(bootstrap) as to:
            for value, partition in ((b"no record", home), (encode(call("r")), (home + 1) % 8)):
                await to.send_and_wait(
                    declared.telemetry.name, value, b"r", partition=partition, headers=headers
                )

        async def judged() -> bool:
            counts = (await inspect(settings))["counts"]
            return counts.get("judged") == 1 and counts["malformed"] == 1

        await until(judged, saying=worker.tail())
        (letter,) = await read_all(bootstrap, declared.deadletter.name)

    assert not worker.events("service_failed")
    assert dict(letter.headers)["baggage"] is None
