"""OpenTelemetry in, on Kafka: what a collector writes becomes telemetry, verdicts, and activations."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from google.protobuf.message import Message

from tests.harness.brokers import TestKafka
from tests.integration.kit import (
    Worker,
    control,
    producer,
    read_all,
    send_with_bad_header,
    set_config,
    until,
    workers,
)
from tests.otlp_builders import CHAT, batch_of_logs, span, traces, verdict
from topics.names import topics
from topics.partitioner import partition_for
from topics.telemetry import decode_evaluation, decode_telemetry


class Normaliser(Worker):
    """One `detector otlp`, on topics of its own."""

    def __init__(
        self, directory: Path, bootstrap: str, prefix: str, *, name: str = "otlp", **environment: str
    ) -> None:
        self.name = name
        self.spans, self.logs = f"{prefix}otlp_spans", f"{prefix}otlp_logs"
        self.log_path = directory / f"{name}.log"
        self._log = self.log_path.open("ab")
        command = [sys.executable, "-m", "detector", *self.arguments(bootstrap, prefix)]
        self.process = subprocess.Popen(
            command, stderr=self._log, stdout=self._log, env=os.environ | environment, start_new_session=True
        )

    def arguments(self, bootstrap: str, prefix: str) -> list[str]:
        """The verb and its options."""
        found = ["otlp", "--http-port", "0", "--bootstrap", bootstrap, "--topic-prefix", prefix]
        return [*found, "--spans", self.spans, "--logs", self.logs]


def make_topics(kafka: TestKafka, prefix: str, *, inputs: bool = True) -> None:
    """The topics that are written to, and those that a collector would make."""
    declared = topics(prefix)
    wanted = {declared.telemetry.name: 8, declared.evaluations.name: 8, declared.deadletter.name: 1}
    kafka.create_topics(wanted | ({f"{prefix}otlp_spans": 3, f"{prefix}otlp_logs": 1} if inputs else {}))


async def export(kafka: TestKafka, topic: str, batches: Iterable[Message]) -> None:
    """Write batches as the collector's exporter does: no key, and wherever the client likes."""
    async with producer(kafka.bootstrap) as to:
        for batch in batches:
            await to.send_and_wait(topic, batch.SerializeToString())


async def telemetry(kafka: TestKafka, prefix: str) -> list[Any]:
    return [
        decode_telemetry(raw.value) for raw in await read_all(kafka.bootstrap, topics(prefix).telemetry.name)
    ]


async def test_spans_that_fail_become_one_activation(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """A collector's batches end in a switch of their route, and of no other one."""
    worker = Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    otlp = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(worker, otlp):
        await worker.ready()
        real_kafka.create_topics({otlp.spans: 3, otlp.logs: 1})
        await otlp.ready()
        now = time.time()
        good = CHAT | {"gen_ai.request.model": "good"}
        bad = CHAT | {"gen_ai.request.model": "bad"}
        failing = bad | {"error.type": "timeout"}
        await export(
            real_kafka,
            otlp.spans,
            [traces(*(span(each, since=now) for _ in range(50))) for each in (good, bad) for _ in range(10)]
            + [traces(*(span(failing, since=time.time(), failed=True) for _ in range(50))) for _ in range(6)],
        )

        async def active() -> list[Any]:
            found = await control(real_kafka.bootstrap, topic_prefix)
            return [record for record in found if record.state == "active"]

        found = await until(active, saying=otlp.tail() + worker.tail())

        assert {record.scope for record in found} == {"bad"}
        assert found[0].mode == "error_spike"
        places = await read_all(real_kafka.bootstrap, topics(topic_prefix).telemetry.name)
        assert {raw.partition for raw in places if raw.key == b"bad"} == {partition_for(b"bad", 8)}


async def test_a_verdict_is_published_with_the_route_of_its_call(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Whichever of the two comes first; the key is the route's."""
    make_topics(real_kafka, topic_prefix)
    otlp = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(otlp):
        await otlp.ready()
        now = time.time()
        await export(real_kafka, otlp.logs, [batch_of_logs(verdict("early", number=7, since=now))])
        await until(
            lambda: b"detector_otlp_waiting_evaluations 1.0" in (otlp.get("/metrics") or (0, b""))[1],
            saying=otlp.tail(),
        )
        await export(real_kafka, otlp.spans, [traces(span(number=7, since=now))])
        await until(lambda: telemetry(real_kafka, topic_prefix), saying=otlp.tail())
        await export(real_kafka, otlp.logs, [batch_of_logs(verdict("late", number=7, since=now))])

        async def both() -> Any:
            found = await read_all(real_kafka.bootstrap, topics(topic_prefix).evaluations.name)
            return found if len(found) == 2 else None

        found = await until(both, saying=otlp.tail())
        call = (await telemetry(real_kafka, topic_prefix))[0]

    assert {raw.key for raw in found} == {b"chat"}
    verdicts = [decode_evaluation(raw.value) for raw in found]
    assert {(each.name, each.failed, each.route) for each in verdicts} == {
        ("early", True, "chat"),
        ("late", True, "chat"),
    }
    assert {(each.request_id, each.call_time) for each in verdicts} == {(call.request_id, call.event_time)}


async def test_a_topic_on_which_nothing_comes_is_known_to_be_read(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Its lag is 0, from the start: one that is not told is an alert's sign that nobody reads."""
    make_topics(real_kafka, topic_prefix)
    otlp = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix)
    places = [(otlp.logs, 0), *((otlp.spans, number) for number in range(3))]
    told = [f'detector_otlp_lag_messages{{partition="{n}",topic="{topic}"}} 0.0' for topic, n in places]
    with workers(otlp):
        await otlp.ready()
        await until(
            lambda: all(each.encode() in (otlp.get("/metrics") or (0, b""))[1] for each in told),
            saying=otlp.tail(),
        )


async def test_a_process_that_is_killed_loses_nothing(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Killed after it has sent and before it commits, the next one sends the same again."""
    make_topics(real_kafka, topic_prefix)
    # It would commit in an hour.
    first = Normaliser(
        tmp_path, real_kafka.bootstrap, topic_prefix, name="first", DETECTOR_COMMIT_INTERVAL_S="3600"
    )
    with workers(first) as living:
        await first.ready()
        calls = [span(number=n, since=time.time()) for n in range(1, 301)]
        await export(real_kafka, first.spans, [traces(*calls[n : n + 10]) for n in range(0, 150, 10)])
        await until(lambda: telemetry(real_kafka, topic_prefix), saying=first.tail())
        first.send(signal.SIGKILL)
        first.process.wait(10)
        await export(real_kafka, first.spans, [traces(*calls[n : n + 10]) for n in range(150, 300, 10)])
        second = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="second")
        living.append(second)
        wanted = {(each.trace_id + each.span_id).hex() for each in calls}

        async def all_there() -> bool:
            return {record.request_id for record in await telemetry(real_kafka, topic_prefix)} == wanted

        await until(all_there, within_s=60, saying=second.tail())
        twice = len(await telemetry(real_kafka, topic_prefix)) - len(wanted)

    assert twice > 0  # else nothing lay between the sending and the commit


async def test_nothing_is_committed_before_it_is_acknowledged(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """While the topic of telemetry takes no record, offsets stay; killed then, nothing is lost."""
    inputs = {f"{topic_prefix}otlp_spans": 1, f"{topic_prefix}otlp_logs": 1}
    make_topics(real_kafka, topic_prefix, inputs=False)
    real_kafka.create_topics(inputs)
    name = topics(topic_prefix).telemetry.name
    # Whatever comes over the network is too old for it.
    set_config(real_kafka.bootstrap, name, "message.timestamp.before.max.ms", "0")
    first = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="first")
    with workers(first) as living:
        await first.ready()
        calls = [span(number=n, since=time.time()) for n in range(1, 101)]
        await export(real_kafka, first.spans, [traces(*calls[:50]), traces(*calls[50:])])
        await until(lambda: metric(first, 'outcome="published"} 100.0'), saying=first.tail())
        # A batch of something else is behind those that wait, and is all done with at once.
        await export(real_kafka, first.spans, [traces(span({}))])
        await until(lambda: metric(first, 'detector_otlp_spans_total{outcome="other"} 1.0'))
        await asyncio.sleep(1.5)  # three intervals in which it might commit
        assert committed(real_kafka, topic_prefix) < 0
        first.send(signal.SIGKILL)
        first.process.wait(10)
        set_config(real_kafka.bootstrap, name, "message.timestamp.before.max.ms", str(3_600_000))
        second = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="second")
        living.append(second)
        wanted = {(each.trace_id + each.span_id).hex() for each in calls}

        async def all_there() -> bool:
            return {record.request_id for record in await telemetry(real_kafka, topic_prefix)} == wanted

        await until(all_there, within_s=60, saying=second.tail())
        await until(lambda: committed(real_kafka, topic_prefix) == 3, saying=second.tail())


def committed(kafka: TestKafka, prefix: str) -> int:
    """What is committed of the first partition of spans; negative where nothing is."""
    asking = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": f"{prefix}detector-otlp"})
    try:
        (found,) = asking.committed([TopicPartition(f"{prefix}otlp_spans", 0)], timeout=10)
        return found.offset
    finally:
        asking.close()


async def test_what_is_committed_is_not_sent_again(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """A process that is told to stop ends within five seconds, and the next one goes on behind it."""
    make_topics(real_kafka, topic_prefix)
    first = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="first")
    with workers(first) as living:
        await first.ready()
        await export(real_kafka, first.spans, [traces(span(number=1, since=time.time()))])
        await until(lambda: telemetry(real_kafka, topic_prefix), saying=first.tail())
        first.send(signal.SIGTERM)
        assert first.process.wait(5) == 0, first.tail()
        second = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="second")
        living.append(second)
        await second.ready()
        await export(real_kafka, first.spans, [traces(span(number=2, since=time.time()))])

        async def the_second() -> bool:
            return len(await telemetry(real_kafka, topic_prefix)) > 1

        await until(the_second, saying=second.tail())
        found = [record.request_id[-1] for record in await telemetry(real_kafka, topic_prefix)]

    assert sorted(found) == ["1", "2"]


async def published(kafka: TestKafka, prefix: str) -> list[Any]:
    """Verdicts on `llm.evaluations`."""
    found = await read_all(kafka.bootstrap, topics(prefix).evaluations.name)
    return [decode_evaluation(raw.value) for raw in found]


def metric(otlp: Worker, line: str) -> bool:
    """Whether a scrape has this line."""
    return line.encode() in (otlp.get("/metrics") or (0, b""))[1]


async def test_a_verdict_finds_a_call_of_the_process_before(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """What was committed is read again to remember its calls, and sent no second time."""
    make_topics(real_kafka, topic_prefix)
    first = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="first")
    with workers(first) as living:
        await first.ready()
        await export(real_kafka, first.spans, [traces(span(number=1, since=time.time()))])
        await until(lambda: telemetry(real_kafka, topic_prefix), saying=first.tail())
        first.send(signal.SIGTERM)
        assert first.process.wait(5) == 0, first.tail()
        second = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="second")
        living.append(second)
        await export(real_kafka, second.logs, [batch_of_logs(verdict("late", number=1, since=time.time()))])
        (found,) = await until(lambda: published(real_kafka, topic_prefix), saying=second.tail())
        calls = await telemetry(real_kafka, topic_prefix)

    assert (found.name, found.route, len(calls)) == ("late", "chat", 1)
    assert found.request_id == calls[0].request_id


async def test_a_verdict_that_waits_outlives_its_process(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Its offset is not committed before it is sent, so that the next process waits for its call."""
    make_topics(real_kafka, topic_prefix)
    waits = "detector_otlp_waiting_evaluations 1.0"
    first = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="first")
    with workers(first) as living:
        await first.ready()
        await export(real_kafka, first.logs, [batch_of_logs(verdict(number=1, since=time.time()))])
        await until(lambda: metric(first, waits), saying=first.tail())
        first.send(signal.SIGTERM)
        assert first.process.wait(5) == 0, first.tail()
        second = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="second")
        living.append(second)
        await until(lambda: metric(second, waits), saying=second.tail())
        await export(real_kafka, second.spans, [traces(span(number=1, since=time.time()))])

        (found,) = await until(lambda: published(real_kafka, topic_prefix), saying=second.tail())

    assert found.route == "chat"


async def test_a_process_takes_over_from_another_one(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """As in a deployment: no call is lost, and a verdict that waits goes along with its partition."""
    make_topics(real_kafka, topic_prefix)
    first = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="first")
    with workers(first) as living:
        await first.ready()
        await export(real_kafka, first.logs, [batch_of_logs(verdict(number=1, since=time.time()))])
        await until(lambda: metric(first, "detector_otlp_waiting_evaluations 1.0"), saying=first.tail())
        second = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="second")
        living.append(second)
        await second.ready()
        calls = [span(number=n, since=time.time()) for n in range(2, 62)]
        await export(real_kafka, first.spans, [traces(each) for each in calls[:30]])
        first.send(signal.SIGTERM)
        await export(real_kafka, first.spans, [traces(each) for each in calls[30:]])
        assert first.process.wait(5) == 0, first.tail()
        await until(lambda: metric(second, "detector_otlp_waiting_evaluations 1.0"), saying=second.tail())
        await export(real_kafka, second.spans, [traces(span(number=1, since=time.time()))])
        found = await until(lambda: published(real_kafka, topic_prefix), saying=second.tail())
        wanted = {(each.trace_id + each.span_id).hex() for each in calls}

        async def all_there() -> bool:
            return wanted <= {record.request_id for record in await telemetry(real_kafka, topic_prefix)}

        await until(all_there, saying=second.tail())
        letters = await read_all(real_kafka.bootstrap, topics(topic_prefix).deadletter.name)

    assert [each.name for each in found] == ["faithfulness"]
    assert letters == []
    assert not [line for line in (first.tail() + second.tail()).splitlines() if '"error"' in line]


async def test_a_rebalance_sends_nothing_twice(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """A member that is well commits what it has sent before its partitions go to another one."""
    make_topics(real_kafka, topic_prefix)
    # It would commit in an hour.
    first = Normaliser(
        tmp_path, real_kafka.bootstrap, topic_prefix, name="first", DETECTOR_COMMIT_INTERVAL_S="3600"
    )
    with workers(first) as living:
        await first.ready()
        calls = [span(number=n, since=time.time()) for n in range(1, 121)]
        await export(real_kafka, first.spans, [traces(each) for each in calls[:60]])
        await until(lambda: metric(first, 'outcome="published"} 60.0'), saying=first.tail())
        second = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="second")
        living.append(second)
        await second.ready()
        await export(real_kafka, first.spans, [traces(each) for each in calls[60:]])
        wanted = {(each.trace_id + each.span_id).hex() for each in calls}

        async def all_there() -> bool:
            return wanted <= {record.request_id for record in await telemetry(real_kafka, topic_prefix)}

        await until(all_there, saying=second.tail())
        found = await telemetry(real_kafka, topic_prefix)

    assert len(found) == len(wanted)


async def test_a_topic_that_is_made_anew_is_read_from_its_beginning(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """What is committed is of the old one, and says nothing of what was sent."""
    make_topics(real_kafka, topic_prefix, inputs=False)
    inputs = {f"{topic_prefix}otlp_spans": 1, f"{topic_prefix}otlp_logs": 1}
    real_kafka.create_topics(inputs)
    first = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="first")
    with workers(first) as living:
        await first.ready()
        await export(
            real_kafka, first.spans, [traces(span(number=n, since=time.time())) for n in range(1, 9)]
        )
        await until(lambda: committed(real_kafka, topic_prefix) == 8, saying=first.tail())
        first.send(signal.SIGKILL)
        first.process.wait(10)
        real_kafka.delete_topics(first.spans)
        real_kafka.create_topics({first.spans: 1})
        await export(
            real_kafka, first.spans, [traces(span(number=n, since=time.time())) for n in range(11, 14)]
        )
        second = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix, name="second")
        living.append(second)

        async def all_there() -> bool:
            return len({record.request_id for record in await telemetry(real_kafka, topic_prefix)}) == 11

        await until(all_there, within_s=60, saying=second.tail())


async def test_garbage_lands_on_the_dead_letters_and_its_neighbours_go_on(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """A message that is no batch, as it came; a span that has no route, alone; all else is sent."""
    make_topics(real_kafka, topic_prefix)
    otlp = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(otlp):
        await otlp.ready()
        async with producer(real_kafka.bootstrap) as to:
            await to.send_and_wait(otlp.spans, b"\xff\xff", key=b"k", partition=0, headers=[("h", b"v")])
            await send_with_bad_header(to, otlp.spans, b"k", b"\xfe\xfe", partition=0)
            batch = traces(span({"gen_ai.operation.name": "chat"}), span(number=3, since=time.time()))
            await to.send_and_wait(otlp.spans, batch.SerializeToString(), partition=0)

        async def letters() -> list[Any]:
            found = await read_all(real_kafka.bootstrap, topics(topic_prefix).deadletter.name)
            return found if len(found) == 3 else []

        whole, bad_header, alone = await until(letters, saying=otlp.tail())
        (record,) = await until(lambda: telemetry(real_kafka, topic_prefix), saying=otlp.tail())

    headers = dict(whole.headers)
    assert (whole.key, whole.value, headers["h"]) == (b"k", b"\xff\xff", b"v")
    assert headers["detector.errors.topic"] == otlp.spans.encode()
    assert (headers["detector.errors.partition"], headers["detector.errors.offset"]) == (b"0", b"0")
    assert bad_header.value == b"\xfe\xfe"
    assert b"gen_ai.request.model" in dict(alone.headers)["detector.errors.path"]
    assert record.route == "chat"


async def test_a_dead_letter_is_cut_to_what_its_topic_takes(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """And marked, however large a batch its exporter may write."""
    make_topics(real_kafka, topic_prefix)
    set_config(real_kafka.bootstrap, topics(topic_prefix).deadletter.name, "max.message.bytes", "20000")
    otlp = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(otlp):
        await otlp.ready()
        async with producer(real_kafka.bootstrap) as to:
            await to.send_and_wait(otlp.spans, b"\xff" * 100_000)
        (letter,) = await until(
            lambda: read_all(real_kafka.bootstrap, topics(topic_prefix).deadletter.name), saying=otlp.tail()
        )

    assert letter.value == b"\xff" * len(letter.value)
    assert 10_000 < len(letter.value) < 20_000
    assert dict(letter.headers)["detector.errors.truncated"] == b"true"


async def test_topics_that_are_not_there_yet_are_waited_for(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Those that are written to and those that are read; it makes none of them, and says so once."""
    otlp = Normaliser(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(otlp):
        await until(lambda: otlp.events("topics_missing"), saying=otlp.tail())
        assert f"topic {topic_prefix}llm.telemetry" in missing(otlp)
        make_topics(real_kafka, topic_prefix, inputs=False)
        unread = [f"topic {otlp.spans}", f"topic {otlp.logs}"]
        await until(lambda: missing(otlp) == unread, saying=otlp.tail())
        assert not topics_of(real_kafka) & {otlp.spans, otlp.logs}
        real_kafka.create_topics({otlp.spans: 1})
        await export(real_kafka, otlp.spans, [traces(span(since=time.time()))])
        await until(lambda: telemetry(real_kafka, topic_prefix), saying=otlp.tail())
        await otlp.ready()

        (said,) = otlp.events("topics_missing")  # and not again within a minute
        written = [
            f"{topic_prefix}{name}" for name in ("llm.telemetry", "llm.evaluations", "detector.deadletter")
        ]
        assert said["topics"] == [*written, otlp.spans, otlp.logs]


def missing(otlp: Worker) -> list[str]:
    """What `/readyz` says is missing."""
    answer = otlp.get("/readyz")
    assert answer is not None
    found: list[str] = json.loads(answer[1])["missing"]
    assert answer[0] == (503 if found else 200)
    return found


def topics_of(kafka: TestKafka) -> set[str]:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    return set(admin.list_topics(timeout=10).topics)


async def test_a_broker_that_is_away_is_waited_for(
    restartable_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """The process goes on when the broker is back; told to stop while it is away, it ends in five seconds."""
    make_topics(restartable_kafka, topic_prefix)
    otlp = Normaliser(tmp_path, restartable_kafka.bootstrap, topic_prefix)
    with workers(otlp):
        await otlp.ready()
        await export(restartable_kafka, otlp.spans, [traces(span(number=1, since=time.time()))])
        await until(lambda: telemetry(restartable_kafka, topic_prefix), saying=otlp.tail())
        restartable_kafka.stop()
        await until(lambda: otlp.events("reading_waits"), saying=otlp.tail())
        await until(lambda: "broker" in missing(otlp), saying=otlp.tail())
        restartable_kafka.start()
        await export(restartable_kafka, otlp.spans, [traces(span(number=2, since=time.time()))])

        async def the_second() -> bool:
            return len(await telemetry(restartable_kafka, topic_prefix)) > 1

        await until(the_second, within_s=60, saying=otlp.tail())
        await otlp.ready()
        restartable_kafka.stop()
        await until(lambda: len(otlp.events("reading_waits")) > 1, saying=otlp.tail())
        began = time.monotonic()
        otlp.send(signal.SIGTERM)
        code = otlp.process.wait(10)
        took = time.monotonic() - began

    assert took < 5.0
    assert code == 0, otlp.tail()


async def test_every_client_speaks_sasl(real_kafka: TestKafka, topic_prefix: str, tmp_path: Path) -> None:
    """Given only the listener with SASL it reads, sends and commits; a wrong password ends it."""
    if real_kafka.sasl_bootstrap is None:
        pytest.skip(f"a Kafka of the kind {real_kafka.kind!r} has no listener with SASL")
    make_topics(real_kafka, topic_prefix)
    sasl = {
        "DETECTOR_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "DETECTOR_SASL_USERNAME": real_kafka.sasl_username,
        "DETECTOR_SASL_PASSWORD": real_kafka.sasl_password,
    }
    otlp = Normaliser(tmp_path, real_kafka.sasl_bootstrap, topic_prefix, **sasl)
    wrong = Normaliser(
        tmp_path,
        real_kafka.sasl_bootstrap,
        topic_prefix,
        name="wrong",
        **sasl | {"DETECTOR_SASL_PASSWORD": "wrong"},
    )
    with workers(otlp, wrong):
        await otlp.ready()
        batch = traces(span(since=time.time()))
        async with producer(real_kafka.bootstrap) as to:
            await to.send_and_wait(otlp.spans, batch.SerializeToString(), partition=0)
        await until(lambda: telemetry(real_kafka, topic_prefix), saying=otlp.tail())
        await until(lambda: committed(real_kafka, topic_prefix) == 1, saying=otlp.tail())

        assert wrong.process.wait(30) == 1
        assert wrong.events("cannot_start")
        assert real_kafka.sasl_password not in otlp.log_path.read_text("utf-8")
