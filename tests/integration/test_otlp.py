"""OpenTelemetry in, on Kafka: what a collector writes becomes telemetry, verdicts, and activations."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, control, producer, read_all, until, workers
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
        command = [sys.executable, "-m", "detector", "otlp", "--http-port", "0", "--bootstrap", bootstrap]
        command += ["--topic-prefix", prefix, "--spans", self.spans, "--logs", self.logs]
        self.process = subprocess.Popen(
            command, stderr=self._log, stdout=self._log, env=os.environ | environment, start_new_session=True
        )


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
