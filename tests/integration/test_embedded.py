"""The embedded broker serves the Kafka protocol, and never outlives the process that started it."""

import itertools
import os
import subprocess
import sys
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from detector.contract import example_text
from detector.embedded.broker import EmbeddedBroker, EmbeddedBrokerError
from topics.names import topics


def _gone(pid: int, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
    return False


async def test_what_is_produced_is_consumed_from_the_partitions_declared():
    """Topics have as many partitions as asked for, and each record comes back from the one it was sent to."""
    with EmbeddedBroker({"three": 3, "one": 1}) as broker:
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
        await producer.start()
        try:
            partitions = await producer.partitions_for("three"), await producer.partitions_for("one")
            for index in range(9):
                await producer.send_and_wait("three", b"%d" % index, partition=index % 3)
        finally:
            await producer.stop()
        consumer = AIOKafkaConsumer(
            "three", bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=2
        )
        await consumer.start()
        try:
            received = [await consumer.getone() for _ in range(9)]
        finally:
            await consumer.stop()

    assert partitions == ({0, 1, 2}, {0})
    assert sorted((int(message.value), message.partition) for message in received) == [
        (index, index % 3) for index in range(9)
    ]


def test_the_broker_is_gone_when_its_context_ends():
    """Leaving the context ends the child process, and closing twice does no harm."""
    with EmbeddedBroker({}) as broker:
        pid = broker.pid
        assert not _gone(pid, within_s=0.05)
    broker.close()

    assert _gone(pid)


def test_the_broker_dies_with_a_parent_that_is_killed():
    """A parent that ends without a chance to clean up leaves no broker behind."""
    program = (
        "import os, signal\n"
        "from detector.embedded.broker import EmbeddedBroker\n"
        "print(EmbeddedBroker({}).pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False, timeout=30)

    assert _gone(int(parent.stdout))


def test_a_topic_that_cannot_be_made_is_an_error_that_says_so():
    """A start that fails raises with the reason instead of handing out an address."""
    with pytest.raises(EmbeddedBrokerError, match="'bad' x 0"):
        EmbeddedBroker({"bad": 0})


@pytest.mark.parametrize("source", ["flag", "environment", "file"])
def test_a_worker_joins_the_embedded_broker_that_any_source_names(source, tmp_path):
    """Beside a broker of its own it would judge nothing, and look well."""
    contract, file = tmp_path / "contract.yaml", tmp_path / "settings.toml"
    contract.write_text(example_text(), "utf-8")
    command = [sys.executable, "-m", "detector", "run", "--contract", str(contract), "--embedded"]
    environment = os.environ.copy()
    with EmbeddedBroker({topic.name: topic.partitions or 2 for topic in topics().all()}) as broker:
        if source == "flag":
            command += ["--bootstrap", broker.bootstrap]
        elif source == "environment":
            environment["DETECTOR_BOOTSTRAP"] = broker.bootstrap
        else:
            file.write_text(f'bootstrap = "{broker.bootstrap}"\n', "utf-8")
            command += ["--settings", str(file)]
        with subprocess.Popen(
            [*command, "--http-port", "0"], stderr=subprocess.PIPE, text=True, env=environment
        ) as worker:
            began = itertools.takewhile(lambda line: "http_listening" not in line, worker.stderr)
            own = [line for line in began if "embedded_broker" in line]
            worker.terminate()
            _, rest = worker.communicate(timeout=30)

    assert not own
    assert worker.returncode == 0, rest


def test_a_worker_waits_for_an_embedded_broker_that_is_not_there_yet(tmp_path):
    """As for any other broker."""
    contract = tmp_path / "contract.yaml"
    contract.write_text(example_text(), "utf-8")
    command = [sys.executable, "-m", "detector", "run", "--contract", str(contract), "--http-port", "0"]
    with subprocess.Popen(
        [*command, "--embedded", "--bootstrap", "127.0.0.1:1"], stderr=subprocess.PIPE, text=True
    ) as worker:
        said = next((line for line in worker.stderr if "broker_unreachable" in line), "")
        worker.terminate()
        worker.communicate(timeout=30)

    assert "127.0.0.1:1" in said
    assert worker.returncode == 0
