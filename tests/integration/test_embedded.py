"""The embedded broker serves the Kafka protocol, and never outlives the process that started it."""

import os
import subprocess
import sys
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from detector.embedded.broker import EmbeddedBroker, EmbeddedBrokerError


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
