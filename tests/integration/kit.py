"""Workers as processes, records in, control records out: what the tests of the whole service share."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from detector.gateway.closing import close_consumer, close_producer
from topics.codec import encode
from topics.control import ControlRecord, OwnerRecord, decode_control, decode_control_message
from topics.names import topics
from topics.partitioner import partition_for
from topics.telemetry import TelemetryRecord

CONTRACT = """
version: 1
defaults: {false_alarms_per_week: 0.15, lease_s: 15, revert_within_s: 10, probe_share: 0.05}
routes:
  - match: "*"
    slo: {p99_ms: 250, primary_p99_ms: 200, monitoring_ms: 20, availability: 0.9999}
    input_classes: [default]
predicates:
  errors: {type: rate, field: error, ceiling: 0.01}
modes:
  error_spike: {when: errors}
fallbacks:
  rule: {type: rule, p99_ms: 20, share: 1.0}
matrix:
  - {mode: "*", input_class: "*", fallbacks: [rule]}
"""


async def until(what: Callable[[], Any], *, within_s: float = 30.0, saying: str = "") -> Any:
    """Wait for something to become true and return it; AssertionError after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        found = what()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within_s} s: {saying or what}"
        await asyncio.sleep(0.05)


class Worker:
    """One `detector run`."""

    def __init__(
        self,
        directory: Path,
        bootstrap: str,
        prefix: str,
        *,
        name: str = "w",
        contract: str = CONTRACT,
        **environment: str,
    ) -> None:
        self.name = name
        file = directory / "contract.yaml"
        file.write_text(contract, "utf-8")
        self.log_path = directory / f"{name}.log"
        self._log = self.log_path.open("ab")
        command = [sys.executable, "-m", "detector", "run", "--contract", str(file), "--http-port", "0"]
        command += ["--bootstrap", bootstrap, "--topic-prefix", prefix]
        self.process = subprocess.Popen(
            command, stderr=self._log, stdout=self._log, env=os.environ | environment, start_new_session=True
        )

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        found = []
        for line in self.log_path.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if event.get("event") == name:
                    found.append(event)
        return found

    def get(self, path: str) -> tuple[int, bytes] | None:
        """Ask over HTTP; None while it does not listen."""
        return self._ask("GET", path)

    def post(self, path: str) -> tuple[int, bytes] | None:
        """Have it do something over HTTP; None while it does not listen."""
        return self._ask("POST", path)

    def _ask(self, method: str, path: str) -> tuple[int, bytes] | None:
        listening = self.events("http_listening")
        if not listening:
            return None
        url = f"http://127.0.0.1:{listening[-1]['port']}{path}"
        try:
            request = urllib.request.Request(url, method=method)
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read()
        except OSError:
            return None

    async def ready(self, *, within_s: float = 60.0) -> dict[str, Any]:
        """Wait for `/readyz`."""

        def asked() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.tail()
            answer = self.get("/readyz")
            return json.loads(answer[1]) if answer is not None and answer[0] == 200 else None

        return await until(asked, within_s=within_s, saying=f"{self.name} ready\n{self.tail()}")

    def partitions(self) -> set[int]:
        """What it owns and has caught up with."""
        answer = self.get("/readyz")
        if answer is None:
            return set()
        state = json.loads(answer[1])["partitions"]
        return {int(number) for number, found in state.items() if found["claimed"] and found["caught_up"]}

    def send(self, number: signal.Signals) -> None:
        """A signal."""
        self.process.send_signal(number)

    def close(self) -> None:
        """Kill it if it lives."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(10)
        self._log.close()

    def tail(self) -> str:
        """End of its log."""
        return self.log_path.read_bytes()[-4000:].decode("utf-8", "replace")


@contextlib.contextmanager
def workers(*made: Worker) -> Iterator[list[Worker]]:
    """Whatever happens, none is left behind, nor one that is added to the list."""
    living = list(made)
    try:
        yield living
    finally:
        for worker in living:
            worker.close()


@contextlib.asynccontextmanager
async def producer(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    """A producer with all acks."""
    made = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=2)
    await made.start()
    try:
        yield made
    finally:
        await close_producer(made)


def call(route: str, *, error: str = "", at: float | None = None, **fields: Any) -> TelemetryRecord:
    """One call that ended now."""
    return TelemetryRecord(event_time=time.time() if at is None else at, route=route, error=error, **fields)


async def publish(
    to: AIOKafkaProducer, prefix: str, records: Iterable[TelemetryRecord], *, partitions: int = 8
) -> int:
    """Write records under their routes and wait for the acks; returns how many."""
    topic = topics(prefix).telemetry.name
    sent = []
    for record in records:
        key = record.route.encode()
        sent.append(await to.send(topic, encode(record), key, partition=partition_for(key, partitions)))
    await asyncio.gather(*sent)
    return len(sent)


def set_config(bootstrap: str, topic: str, name: str, value: str) -> None:
    """Change a setting of a topic."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(timeout=30)


async def read_all(bootstrap: str, topic: str) -> list[Any]:
    """Everything that lies on a topic's partitions now, in the order of each."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        found = await consumer._client._wait_on_metadata(topic)
        places = [TopicPartition(topic, number) for number in sorted(found)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        await consumer.seek_to_beginning(*places)
        out: list[Any] = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                out += records
        return out
    finally:
        await close_consumer(consumer)  # a connection may be made while it stops


async def control(bootstrap: str, prefix: str) -> list[ControlRecord]:
    """All records of scopes on the control topic."""
    found = await read_all(bootstrap, topics(prefix).control.name)
    decoded = [decode_control_message(raw.key, raw.value) for raw in found if raw.value is not None]
    return [record for record in decoded if isinstance(record, ControlRecord)]


async def owners(bootstrap: str, prefix: str) -> list[OwnerRecord]:
    """All claims and heartbeats."""
    found = await read_all(bootstrap, topics(prefix).control.name)
    decoded = [decode_control_message(raw.key, raw.value) for raw in found if raw.value is not None]
    return [record for record in decoded if isinstance(record, OwnerRecord)]


async def transitions(bootstrap: str, prefix: str) -> list[ControlRecord]:
    """The audit."""
    return [decode_control(raw.value) for raw in await read_all(bootstrap, topics(prefix).transitions.name)]


class RawName(str):
    """A header name that is written as the byte 0xff, which is no UTF-8: C and Go producers can."""

    def encode(self, *_: Any, **__: Any) -> bytes:
        return b"\xff"


async def send_with_bad_header(
    to: AIOKafkaProducer, topic: str, key: bytes, value: bytes, *, partition: int
) -> None:
    """Write one message with such a header and wait for the ack; aiokafka's own way refuses it."""
    batch = to.create_batch()
    batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 1_000_000)
    batch.append(timestamp=None, key=key, value=value, headers=[(RawName("x"), b"v")])
    await (await to.send_batch(batch, topic, partition=partition))
