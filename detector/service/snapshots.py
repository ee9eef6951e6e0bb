"""The snapshot topic: each partition of it holds the state of the telemetry partition with its number.

Not a Faust table: when a snapshot may leave, when it counts and how fast a restore reads are decided here.
"""

import asyncio
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from detector.gateway.closing import close_consumer
from detector.service.logs import logger
from detector.service.marks import (
    COVERS_HEADER,
    EPOCH_HEADER,
    MARK_KEY,
    MAX_SNAPSHOT_BYTES,
    Mark,
    Message,
    Snapshots,
    collect,
    encode_mark,
    write_covers,
)
from detector.service.outbox import Outbox
from detector.service.stall import unless_stalled

TURN_S = 0.002
BYTES_PER_S = 3 * 1024 * 1024  # of one partition, before compression to about a third


class SnapshotReader:
    """Reads partitions of the snapshot topic to their ends, in no group."""

    def __init__(self, options: dict[str, Any], topic: str, *, fetch_max_wait_ms: int = 500) -> None:
        self._options = options
        self._topic = topic
        self._fetch_max_wait_ms = fetch_max_wait_ms

    async def read(self, partitions: Iterable[int]) -> dict[int, Snapshots]:
        """Read what is there now; raises KafkaError where the broker is lost meanwhile."""
        places = [TopicPartition(self._topic, partition) for partition in sorted(set(partitions))]
        consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_bytes=32 * 1024 * 1024,
            max_partition_fetch_bytes=8 * 1024 * 1024,
            fetch_max_wait_ms=self._fetch_max_wait_ms,
        )
        try:
            await consumer.start()
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found: dict[int, dict[bytes, Message]] = {place.partition: {} for place in places}
            await consumer.seek_to_beginning(*places)
            left = set(places)
            async with unless_stalled(self._topic) as come_further:
                while left:
                    for place in list(left):
                        if await consumer.position(place) >= ends[place]:
                            left.discard(place)
                            consumer.pause(place)
                    if not left:
                        break
                    for place, records in (await consumer.getmany(timeout_ms=200)).items():
                        come_further()
                        latest = found[place.partition]
                        for record in records:
                            key = record.key or b""
                            # All marks are kept: the one that counts is not always the last.
                            slot = MARK_KEY + b"%d" % record.offset if key == MARK_KEY else key
                            latest.pop(slot, None)
                            latest[slot] = (record.offset, key, record.value, dict(record.headers))
            return {
                place.partition: collect(found[place.partition].values(), ends[place]) for place in places
            }
        finally:
            await close_consumer(consumer)


class SnapshotWriter:
    """Sends snapshots and marks; spreads them so that neither a turn nor a restore gets long."""

    def __init__(self, outbox: Outbox, topic: str) -> None:
        self._outbox = outbox
        self._topic = topic
        self._log = logger(part="snapshots")

    def send_route(
        self,
        partition: int,
        route: str,
        data: bytes,
        epoch: int,
        position: dict[str, int],
        *,
        on_ack: Callable[[], object],
        on_refused: Callable[[], object],
    ) -> int | None:
        """Send one route's snapshot; returns its number in the outbox, None if it is too large."""
        if len(data) > MAX_SNAPSHOT_BYTES:
            self._log.error("snapshot_too_large", route=route, bytes=len(data), limit=MAX_SNAPSHOT_BYTES)
            on_refused()
            return None
        headers = [(EPOCH_HEADER, b"%d" % epoch), (COVERS_HEADER, write_covers(position))]
        return self._outbox.send(
            self._topic,
            route.encode(),
            data,
            headers,
            partition=partition,
            lane=("snapshot", partition),
            on_ack=on_ack,
            on_refused=on_refused,
        )

    def remove(self, partition: int, route: bytes, epoch: int, *, on_ack: Any = None) -> int:
        """Send a tombstone: the route has no state any more; returns the outbox's number for it."""
        return self._outbox.send(
            self._topic,
            route,
            None,
            [(EPOCH_HEADER, b"%d" % epoch)],
            partition=partition,
            lane=("snapshot", partition),
            on_ack=on_ack,
        )

    def send_mark(self, mark: Mark, *, on_ack: Any = None) -> int:
        """Send a partition's mark."""
        return self._outbox.send(
            self._topic,
            MARK_KEY,
            encode_mark(mark),
            [(EPOCH_HEADER, b"%d" % mark.epoch)],
            partition=mark.partition,
            lane=("snapshot", mark.partition),
            on_ack=on_ack,
        )


class Pace:
    """How many dirty routes may be taken now: all within a period, no more bytes than a restore can read."""

    def __init__(self, period_s: float, bytes_per_s: float = BYTES_PER_S) -> None:
        self._period_s = period_s
        self._bytes_per_s = bytes_per_s
        self._routes = 0.0
        self._bytes = bytes_per_s

    def elapse(self, seconds: float, dirty: int) -> None:
        """Time has passed with so many routes dirty."""
        self._routes = min(self._routes + dirty * seconds / self._period_s, max(1.0, float(dirty)))
        self._bytes = min(self._bytes + seconds * self._bytes_per_s, self._bytes_per_s)

    def allowed(self) -> bool:
        """Whether one more may be taken."""
        return self._routes >= 1.0 and self._bytes > 0

    def took(self, size: int) -> None:
        """One of this size (bytes) was taken."""
        self._routes -= 1.0
        self._bytes -= size


class Turn:
    """The time that one turn of the event loop may spend on snapshots."""

    def __init__(self, seconds: float = TURN_S) -> None:
        self._end = perf_counter() + seconds

    def over(self) -> bool:
        """Whether the time is spent."""
        return perf_counter() >= self._end


async def breathe() -> None:
    """Let everything else run once."""
    await asyncio.sleep(0)
