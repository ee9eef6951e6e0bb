"""A Kafka broker for demos and for tests where no real one can be had.

It is the mock cluster inside librdkafka, which the `confluent-kafka` wheel carries: real Kafka
protocol over loopback TCP, everything in memory, in a child process of its own. It is no Kafka:

- It makes no topics on request and describes no settings (an admin client fails; Faust silently never
  starts): the topics are made here. Start Faust with `topic_allow_declare=False`, skip the check of settings.
- It does not wake a waiting fetch when data arrives, which costs up to `fetch_max_wait_ms` per hop:
  set that to 2 for every consumer.
- It hands out one batch per partition and fetch: batch on the producing side.
- It keeps about 5 MB per partition, and the oldest records vanish without a word: consume while
  producing, or use more partitions.
- It does not compact, isolate transactions or fence producers: test those on Apache Kafka.
- The timestamp in its answer to a produce request is a constant: do not use it.
"""

import json
import subprocess
import sys
from types import TracebackType
from typing import Self


class EmbeddedBrokerError(RuntimeError):
    """The child process did not come up; the message says what it printed."""


class EmbeddedBroker:
    """A single-node cluster on loopback, for as long as the context lasts.

    The child ends when this process does, however that ends: it waits for its standard input to close.

    Args:
        topics: name -> number of partitions, made before anybody can connect. Topics that are not
            named here come into being on first use, with four partitions.

    Raises:
        EmbeddedBrokerError: it did not start, for instance without the `service` extra.

    >>> with EmbeddedBroker({"a": 1}) as broker:  # doctest: +SKIP
    ...     broker.bootstrap
    '127.0.0.1:45127'
    """

    def __init__(self, topics: dict[str, int]) -> None:
        # Children that the caller starts do not inherit the pipe, so its end is this process's end.
        self._child = subprocess.Popen(
            [sys.executable, "-m", "detector.embedded.child", json.dumps(topics)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C goes to the whole group; the broker outlives its clients so that they can end well.
            start_new_session=True,
        )
        assert self._child.stdout is not None
        self.bootstrap = self._child.stdout.readline().strip()
        if not self.bootstrap:
            errors = self._child.stderr.read() if self._child.stderr is not None else ""
            self.close()
            raise EmbeddedBrokerError(
                f"the embedded broker did not start: {errors.strip() or 'no reason given'}"
            )

    @property
    def pid(self) -> int:
        """Process id of the broker."""
        return self._child.pid

    def close(self) -> None:
        """Stop the broker; what it held is gone. Does nothing the second time."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            self._child.stdin.close()
        try:
            self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
