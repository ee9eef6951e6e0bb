"""One reader per worker of the control and override topics, for all of its partitions.

Read without a group, from the beginning, and again from the beginning after too long a silence.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from detector.service.logs import logger

CUT_OFF_S = 30.0
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Read:
    """One message as the feed gives it to an owner."""

    topic: str
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Listener(Protocol):
    """What the feed tells."""

    def on_read(self, messages: list[Read]) -> None:
        """Messages in the order of each log."""

    def on_read_again(self, made_anew: bool) -> None:
        """All is being read again: cut off for too long, or (`made_anew`) the topic was made anew."""

    def on_end(self) -> None:
        """After `on_read_again`, and at the start: the end that was asked for is reached."""


class ControlFeed:
    """Keeps reading, whatever happens to the broker.

    Attributes:
        at_end: set once the end asked for at the start, or at the last reading again, is reached.
        reached_s: when the broker answered last, on `time.monotonic`.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        control: str,
        overrides: str,
        listener: Listener,
        *,
        fetch_max_wait_ms: int = 500,
    ) -> None:
        self._options = dict(options)
        self._topics = (control, overrides)
        self._listener = listener
        self._fetch_max_wait_ms = fetch_max_wait_ms
        self._task: asyncio.Task[None] | None = None
        self._next: dict[TopicPartition, int] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._log = logger(part="control_feed")
        self._moved = asyncio.Event()
        self.at_end = asyncio.Event()
        self.reached_s = float("-inf")

    def start(self, ended: Callable[["asyncio.Task[None]"], object]) -> None:
        """Begin to read; the broker may come later. `ended`: told when reading is over, by whatever cause."""
        self._task = asyncio.create_task(self._run(), name="control-feed")
        self._task.add_done_callback(ended)

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1.0)

    async def ends(self) -> dict[str, int]:
        """Ask for the end offsets of both topics; raises KafkaError where the broker cannot be reached."""
        consumer = self._consumer
        if consumer is None:
            raise KafkaError("the control feed has no broker")
        found = await consumer.end_offsets([TopicPartition(name, 0) for name in self._topics])
        return {place.topic: offset for place, offset in found.items()}

    async def read_to_now(self) -> None:
        """Wait, however long it takes, until the feed has passed what both topics hold now."""
        while True:
            try:
                ends = await self.ends()
                break
            except (KafkaError, OSError):
                await asyncio.sleep(0.1)
        await self.at_end.wait()
        while any(self._next.get(TopicPartition(name, 0), 0) < end for name, end in ends.items()):
            self._moved.clear()
            await self._moved.wait()

    async def _run(self) -> None:
        delay = 0.1
        while True:
            consumer = AIOKafkaConsumer(
                **self._options,
                client_id="detector-control-feed",
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=self._fetch_max_wait_ms,
                metadata_max_age_ms=30_000,
            )
            try:
                await consumer.start()
                delay = 0.1
                await self._follow(consumer)
            except (KafkaError, OSError) as error:
                self._log.warning("control_feed_failed", error=repr(error), retry_in_s=delay)
            finally:
                self._consumer = None
                with contextlib.suppress(KafkaError, OSError, TimeoutError):
                    await asyncio.wait_for(consumer.stop(), 1.0)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 2.0)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        places = [TopicPartition(name, 0) for name in self._topics]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        made_anew = any(self._next.get(place, 0) > ends[place] for place in places)
        cut_off = self._next and time.monotonic() - self.reached_s > CUT_OFF_S
        if made_anew or cut_off:
            self._begin_again(made_anew)
        for place in places:
            consumer.seek(place, self._next.setdefault(place, 0))
        self._consumer = consumer
        while True:
            fetched = await consumer.getmany(timeout_ms=int(_POLL_S * 1000))
            if any(records[0].offset < self._next[place] for place, records in fetched.items()):
                self._begin_again(made_anew=True)
                return
            self._take(fetched)
            if not self.at_end.is_set() and all(self._next[place] >= ends[place] for place in places):
                self.at_end.set()
                self._listener.on_end()
            self._moved.set()
            if await self._must_read_again(consumer, places):
                return

    def _take(self, fetched: Mapping[TopicPartition, list[Any]]) -> None:
        messages = []
        for place, records in fetched.items():
            for record in records:
                read = Read(place.topic, record.offset, record.key, record.value, tuple(record.headers))
                messages.append(read)
            self._next[place] = records[-1].offset + 1
        if messages:
            self._listener.on_read(messages)

    async def _must_read_again(self, consumer: AIOKafkaConsumer, places: list[TopicPartition]) -> bool:
        """Notice that the broker was away too long, or that a topic is not the one that was read."""
        polled = [consumer.last_poll_timestamp(place) for place in places]
        now = time.monotonic()
        if all(polled):
            age = time.time() - min(value for value in polled if value) / 1000
            reached = now - max(age, 0.0)
            if reached > self.reached_s:
                if self.reached_s > 0 and reached - self.reached_s > CUT_OFF_S:
                    self.reached_s = reached
                    self._begin_again(made_anew=False)
                    return True
                self.reached_s = reached
        for place in places:
            end = consumer.highwater(place)
            if end is not None and end < self._next[place]:
                asked = await consumer.end_offsets([place])
                if asked[place] < self._next[place]:
                    self._begin_again(made_anew=True)
                    return True
            position = await consumer.position(place)
            # Compaction leaves holes at the end of what is read: the position passes them without a record.
            self._next[place] = max(self._next[place], position)
        return False

    def _begin_again(self, made_anew: bool) -> None:
        self._log.warning("control_read_again", made_anew=made_anew)
        self._next.clear()
        self.at_end.clear()
        self._listener.on_read_again(made_anew)
