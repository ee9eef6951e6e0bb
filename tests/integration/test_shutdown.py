"""SIGTERM ends a worker within five seconds, whatever state it is in; a graceful end hands over at once."""

import signal
import time
from pathlib import Path

import pytest

from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, producer, publish, until, workers

PROMISED_S = 5.0


def ends(worker: Worker) -> float:
    """How long it takes from SIGTERM to the process's end."""
    began = time.monotonic()
    worker.send(signal.SIGTERM)
    worker.process.wait(30)
    return time.monotonic() - began


async def test_sigterm_ends_a_worker_without_a_broker(topic_prefix: str, tmp_path: Path) -> None:
    """A worker whose broker never was says so, keeps trying, and still ends when told."""
    worker = Worker(tmp_path, "127.0.0.1:1", topic_prefix)
    with workers(worker):
        await until(lambda: len(worker.events("broker_unreachable")) >= 2, saying=worker.tail())
        assert worker.get("/healthz") == (200, b"ok\n")
        assert (worker.get("/readyz") or (0, b""))[0] == 503

        assert ends(worker) < PROMISED_S, worker.tail()
        assert worker.process.returncode == 0


async def test_sigterm_under_load_hands_over_at_once(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """The other worker owns everything long before a session would have run out."""
    one = Worker(tmp_path, real_kafka.bootstrap, topic_prefix, name="one")
    two = Worker(tmp_path, real_kafka.bootstrap, topic_prefix, name="two")
    with workers(one, two):
        await one.ready()
        await two.ready()
        await until(lambda: one.partitions() and two.partitions(), saying="shared")
        async with producer(real_kafka.bootstrap) as to:
            await publish(to, topic_prefix, [call(f"r{n % 50}") for n in range(5000)])

            assert ends(one) < PROMISED_S, one.tail()
            assert one.process.returncode == 0
            began = time.monotonic()
            await until(lambda: two.partitions() == set(range(8)), saying=two.tail())
            assert time.monotonic() - began < 5.0, two.tail()


@pytest.mark.slow
async def test_sigterm_ends_a_worker_whose_broker_went_away(
    restartable_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """A broker that is lost does not keep a worker from ending."""
    worker = Worker(tmp_path, restartable_kafka.bootstrap, topic_prefix)
    with workers(worker):
        await worker.ready()
        restartable_kafka.stop()
        await until(lambda: (worker.get("/readyz") or (0, b""))[0] == 503, within_s=40, saying=worker.tail())

        assert ends(worker) < PROMISED_S, worker.tail()
