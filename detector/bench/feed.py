"""Healthy calls into a topic: as fast as it goes, or at a steady rate from a process of its own."""

import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from confluent_kafka import Producer

from detector.bench.child import say, told
from detector.bench.traffic import Calls
from topics.partitioner import partition_for

_TURN_S = 0.005
_POLL_EVERY = 2000


class Feed:
    """Writes healthy calls under their routes, on the partitions where Java's client would put them."""

    def __init__(self, options: dict[str, Any], topic: str, partitions: int, calls: Calls) -> None:
        self._producer = Producer(
            options
            | {
                "linger.ms": 5,
                "batch.size": 1_000_000,
                "queue.buffering.max.messages": 500_000,
                "queue.buffering.max.kbytes": 500_000,
                "acks": "1",
                "log_level": 0,
            }
        )
        self._topic = topic
        self._calls = calls
        self._partition = cache(lambda route: partition_for(route.encode(), partitions))
        self._number = 0

    def send(self, event_time: float) -> None:
        """One call that ended at `event_time` (Unix s), which is its broker timestamp too."""
        route, value = self._calls.nth(self._number, event_time)
        self._number += 1
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    value,
                    route.encode(),
                    partition=self._partition(route),
                    timestamp=int(event_time * 1000),
                )
                return
            except BufferError:
                self._producer.poll(0.05)

    def many(self, count: int, time_of: Callable[[int], float]) -> None:
        """`count` calls, the one with number i at `time_of(i)`; returns when all are written."""
        for number in range(count):
            self.send(time_of(number))
            if number % _POLL_EVERY == 0:
                self._producer.poll(0)
        self.flush()

    def flush(self) -> None:
        """Wait until everything is written."""
        self._producer.flush()

    def steadily(self, rate: float, stop: threading.Event) -> float:
        """`rate` calls a second until `stop`; the rate that was reached, per second."""
        began = time.perf_counter()
        sent = 0
        while not stop.is_set():
            now = time.time()
            due = int((time.perf_counter() - began) * rate)
            for _ in range(due - sent):
                self.send(now)
            sent = due
            self._producer.poll(0)
            time.sleep(_TURN_S)
        return sent / (time.perf_counter() - began)


def main() -> None:
    """Feed steadily until the parent ends it, then say the rate that was reached."""
    stop = threading.Event()
    settings, what = told(stop.set)
    calls = Calls.over(what["routes"], "background")
    feed = Feed(settings.librdkafka_options(), what["topic"], what["partitions"], calls)
    reached = feed.steadily(what["rate"], stop)
    feed.flush()
    say(reached)


if __name__ == "__main__":
    main()
