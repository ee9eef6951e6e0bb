"""The launcher of a local Kafka leaves nothing behind, however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.service import kafkajars
from detector.service.localkafka import LocalKafka, LocalKafkaUnavailableError
from tests.harness.apiversions import features

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(kafkajars.missing() is not None, reason=f"no Kafka jars: {kafkajars.missing()}"),
]

_OWNER = """
import sys
from detector.service.localkafka import LocalKafka
with LocalKafka() as kafka:
    print(kafka.bootstrap, kafka.log_path.parent, flush=True)
    sys.stdin.read()
"""


def test_a_killed_owner_leaves_no_broker() -> None:
    """After SIGKILL of the process that started it, the broker is gone, and its files with it."""
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        bootstrap, folder = owner.stdout.readline().split()
        alive = features(bootstrap)
        os.kill(owner.pid, signal.SIGKILL)

    assert "metadata.version" in alive
    _until(lambda: not _answers(bootstrap))
    _until(lambda: not Path(folder).exists())


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    """A setting that Kafka refuses ends in an error with Kafka's own words, not in a wait."""
    with pytest.raises(LocalKafkaUnavailableError, match=r"log\.segment\.bytes"):
        LocalKafka(tmp_path, properties={"log.segment.bytes": "many"})


def _answers(bootstrap: str) -> bool:
    try:
        return bool(features(bootstrap))
    except OSError:
        return False


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
