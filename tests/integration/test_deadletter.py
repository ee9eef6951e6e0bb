"""What is no record goes to the dead letters, each with its reason; the rest is judged."""

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from detector.service.inspect import inspect
from detector.service.outbox import Outbox
from detector.service.settings import Settings
from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, producer, read_all, set_config, until, workers
from topics.codec import encode
from topics.names import topics
from topics.partitioner import partition_for

MALFORMED = int(os.environ.get("DETECTOR_TEST_MALFORMED", "5000"))
NOW = b"1790000000"
KINDS: dict[str, bytes | None] = {
    "nothing": None,
    "empty": b"",
    "truncated": b'{"event_time": ' + NOW + b', "route": "r"',
    "another type": b'["event_time", 1]',
    "wrong type": b'{"event_time": "yesterday", "route": "r"}',
    "not UTF-8": b'{"event_time": ' + NOW + b', "route": "\xff\xfe"}',
    "another encoding": '{"event_time": 1790000000, "route": "r"}'.encode("utf-16"),
    "nested": b"[" * 20_000,
    "NaN": b'{"event_time": NaN, "route": "r"}',
    "infinite": b'{"event_time": 1e999, "route": "r"}',
    "negative": b'{"event_time": ' + NOW + b', "route": "r", "latency_s": -1}',
    "milliseconds": b'{"event_time": ' + NOW + b'000, "route": "r"}',
    "no route": b'{"event_time": ' + NOW + b"}",
    "long": b'{"event_time": ' + NOW + b', "route": "' + b"r" * 500 + b'"}',
}
HUGE = b'{"event_time": ' + NOW + b', "route": "' + b"x" * 1_048_000


@pytest.mark.slow
async def test_malformed_records_never_stop_a_partition(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Every malformed record, the huge ones too, lies among the dead letters; every good one is judged."""
    bootstrap, declared = real_kafka.bootstrap, topics(topic_prefix)
    worker = Worker(tmp_path, bootstrap, topic_prefix)
    good = 0
    sent: Counter[bytes | None] = Counter()
    with workers(worker):
        await worker.ready()
        async with producer(bootstrap) as to:
            pending = []
            bodies = list(KINDS.values())
            for number in range(MALFORMED):
                body = HUGE if number % 1000 == 500 else bodies[number % len(bodies)]
                sent[body] += 1
                key = b"k%d" % (number % 7)
                pending.append(await to.send(declared.telemetry.name, body, key, partition=number % 8))
                if number % 10 == 0:
                    record = call(f"good-{number % 40}")
                    home = partition_for(record.route.encode(), 8)
                    pending.append(
                        await to.send(
                            declared.telemetry.name, encode(record), record.route.encode(), partition=home
                        )
                    )
                    good += 1
                if len(pending) >= 1000:
                    await asyncio.gather(*pending)
                    pending.clear()
            await asyncio.gather(*pending)

        async def judged() -> bool:
            state = await inspect(Settings(bootstrap=bootstrap, topic_prefix=topic_prefix))
            counts = state["counts"]
            return state["complete"] and counts.get("judged") == good and counts["malformed"] == MALFORMED

        await until(judged, within_s=90, saying=worker.tail())
        letters = await read_all(bootstrap, declared.deadletter.name)

    assert len(letters) == MALFORMED
    origins = set()
    for letter in letters:
        headers = {name: value.decode() for name, value in letter.headers}
        assert headers["detector.errors.path"].startswith("$")
        assert headers["detector.errors.topic"] == declared.telemetry.name
        origins.add((headers["detector.errors.partition"], headers["detector.errors.offset"]))
        if "detector.errors.truncated" in headers:
            assert HUGE.startswith(letter.value)
            sent[HUGE] -= 1
        else:
            sent[letter.value] -= 1
    assert len(origins) == MALFORMED
    assert not any(sent.values())


async def test_a_record_on_the_wrong_partition_is_judged_once_where_it_belongs(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """A stray is published again under its route's key, with where it came from, and judged there once."""
    bootstrap, declared = real_kafka.bootstrap, topics(topic_prefix)
    worker = Worker(tmp_path, bootstrap, topic_prefix)
    with workers(worker):
        await worker.ready()
        async with producer(bootstrap) as to:
            for number in range(300):
                record = call("stray", error="timeout" if number >= 100 else "")
                wrong = (partition_for(b"stray", 8) + 1) % 8
                await to.send_and_wait(declared.telemetry.name, encode(record), b"other", partition=wrong)

        async def judged() -> dict[str, int] | None:
            state = await inspect(Settings(bootstrap=bootstrap, topic_prefix=topic_prefix))
            return state["counts"] if state["complete"] and state["counts"].get("judged", 0) >= 300 else None

        counts = await until(judged, saying=worker.tail())
        state = await inspect(Settings(bootstrap=bootstrap, topic_prefix=topic_prefix))

    assert counts["judged"] == 300
    assert counts["rekeyed"] == 300
    (scope,) = state["scopes"]
    assert scope["scope"] == "stray"
    assert scope["evidence"]["origin"].startswith(f"{declared.telemetry.name}/{wrong}/")


async def test_a_batch_that_its_topic_does_not_take_is_sent_message_by_message(
    real_kafka: TestKafka, topic_prefix: str
) -> None:
    """The limit of a topic holds for what the client has put together; each of these is within it."""
    topic = topics(topic_prefix).deadletter.name
    real_kafka.create_topics({topic: 1})
    set_config(real_kafka.bootstrap, topic, "max.message.bytes", "2000")
    box = Outbox({"bootstrap.servers": real_kafka.bootstrap}, name="o", linger_ms=200)
    box.start(lambda task: None)
    for number in range(50):
        box.send(topic, b"%d" % number, b"v" * 1000, [], partition=0)
    box.send(topic, b"too large", b"v" * 3000, [], partition=0)
    await asyncio.wait_for(box.acked(box.last), 30)
    await box.stop()

    assert [message.key for message in await read_all(real_kafka.bootstrap, topic)] == [
        b"%d" % number for number in range(50)
    ]
    assert box.refused == 1
