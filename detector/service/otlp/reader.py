"""Reads the inputs as a member of a consumer group, with librdkafka, in a thread of its own."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple, cast

from confluent_kafka import OFFSET_STORED, Consumer, KafkaError, KafkaException, Message, TopicPartition

from detector.service.headers import headers_of
from detector.service.logs import logger
from detector.service.otlp.normalise import SENT, SPANS, Received
from detector.service.otlp.progress import Place
from detector.service.otlp.recall import recall

_OPTIONS: dict[str, Any] = {
    "client.id": "otlp",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # What came before the first start, or between a start and its first commit, is read too.
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,  # tells whether all there is has been read
    # A topic that is not there yet is the collector's to make.
    "allow.auto.create.topics": False,
    "topic.metadata.refresh.interval.ms": 5_000,
    # As long as nothing can be sent nothing is read, and nobody else could do better.
    "max.poll.interval.ms": 3_600_000,
    "queued.max.messages.kbytes": 32 * 1024,
    "fetch.queue.backoff.ms": 5,
    "fetch.error.backoff.ms": 50,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1_000,
    "socket.keepalive.enable": True,
}
_POLL_S = 0.1
_MOST = 100  # batches at once
_COMPLAIN_EVERY_S = 5.0
_LONG_S = 5.0
_LEAVE_S = 1.5
_SETTLE_S = 2.0
_LOGGER = logging.getLogger("librdkafka")


class Fetched(NamedTuple):
    """What one look brought: partitions that are ours no more, then messages in their order."""

    revoked: list[Place]
    messages: list[Received]


class Reader:
    """The consumer. Its methods are the loop's; what its thread writes is read only between two fetches.

    Attributes:
        assigned: partitions that are ours.
        behind: those of them where what comes next may have lain there for long.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        group: str,
        inputs: Mapping[str, str],
        settle: Callable[[], Coroutine[Any, Any, Mapping[Place, int]]],
        session_s: float,
        beat_s: float,
    ) -> None:
        """Join the group.

        Args:
            options: brokers and security, as librdkafka names them.
            group: the group's id.
            inputs: topic to signal.
            settle: what to commit before partitions go to somebody else; may wait a moment for it.
            session_s, beat_s: after how long a silent member is out; how often it says that it is there.
        """
        self.assigned: set[Place] = set()
        self.behind: set[Place] = set()
        self._inputs, self._settle = inputs, settle
        self._loop: asyncio.AbstractEventLoop | None = None  # that waits in `fetch`
        self._revoked: list[Place] = []
        self._sent_before: dict[Place, int] = {}  # of spans: where a process before this one has committed
        self._wanted: dict[Place, int] = {}  # what is to be committed
        self._confirmed: dict[Place, int] = {}
        self._complained_s: dict[str, float] = {}
        self._log = logger(part="otlp")
        own = {
            "group.id": group,
            "session.timeout.ms": int(session_s * 1000),
            "heartbeat.interval.ms": int(beat_s * 1000),
            "error_cb": self._trouble,
            "on_commit": self._committed,
        }
        self._consumer = Consumer({**options, **_OPTIONS, **own}, logger=_LOGGER)
        self._consumer.subscribe(
            list(inputs), on_assign=self._given, on_revoke=self._taken_back, on_lost=self._taken_away
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="otlp")

    async def fetch(self) -> Fetched:
        """What lies ready; waits a moment for it where nothing does.

        Raises:
            KafkaException: reading cannot go on with this consumer.
        """
        self._loop = asyncio.get_running_loop()
        return await self._loop.run_in_executor(self._thread, self._fetch)

    def commit(self, offsets: Mapping[Place, int], *, wait: bool = False) -> None:
        """Commit these, and again those before whose commit was not confirmed."""
        self._wanted |= offsets
        due = [
            TopicPartition(*place, offset)
            for place, offset in self._wanted.items()
            if self._confirmed.get(place) != offset
        ]
        if not due:
            return
        try:
            if wait:
                self._consumer.commit(offsets=due, asynchronous=False)
            else:
                self._consumer.commit(offsets=due, asynchronous=True)
        except KafkaException as error:
            self._complain("commit_waits", cast(KafkaError, error.args[0]))

    def lags(self) -> dict[Place, int]:
        """How many batches each partition is behind its end, as far as that is known."""
        found = {}
        for place in self.assigned.copy():
            with suppress(KafkaException):
                (at,) = self._consumer.position([TopicPartition(*place)])
                _, end = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
                if at.offset >= 0 and end >= 0:
                    found[place] = max(0, end - at.offset)
                elif place not in self.behind:
                    found[place] = 0  # its end was reached, and nothing has come: there is no position yet
        return found

    async def close(self, offsets: Mapping[Place, int]) -> None:
        """Commit these and leave the group, so that a next start is given its partitions at once.

        A broker that is away is not waited for; what is not committed is read again.
        """
        self._thread.shutdown(wait=False)
        self._loop = None
        done, loop = asyncio.Event(), asyncio.get_running_loop()

        def leave() -> None:
            self.commit(offsets, wait=True)
            self._consumer.close()
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=leave, name="otlp-leave", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), _LEAVE_S)

    # In the thread.

    def _fetch(self) -> Fetched:
        first = self._consumer.poll(_POLL_S)
        messages = []
        if first is not None:
            before = len(self._revoked)
            messages = self._consumer.consume(_MOST, 0)
            # Partitions may be taken away in there. librdkafka drops what it has not returned yet of them;
            # what it has returned is ours to drop: whoever is given them, even we again, reads it.
            if first.error() is not None or _place(first) not in self._revoked[before:]:
                messages = [first, *messages]
        messages = [each for each in messages if each.error() is not None or _place(each) in self.assigned]
        received = []
        for message, headers in zip(messages, headers_of(messages), strict=True):
            if (error := message.error()) is None:
                received.append(self._received(message, headers))
            else:
                self._look_at(error, message)
        revoked, self._revoked = self._revoked, []
        return Fetched(revoked, received)

    def _received(self, message: Message, headers: Any) -> Received:
        place, offset = _place(message), cast(int, message.offset())
        topic, partition = place
        if message.timestamp()[1] / 1000 < time.time() - _LONG_S:
            self.behind.add(place)
        else:
            self.behind.discard(place)
        sent = offset < self._sent_before.get(place, 0)
        if not sent:
            self._sent_before.pop(place, None)
        return Received(
            SENT if sent else self._inputs[topic],
            topic,
            partition,
            offset,
            message.key(),
            message.value(),
            tuple(headers),
        )

    def _look_at(self, error: KafkaError, message: Message) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            place = _place(message)
            self.behind.discard(place)
            # If the topic is made anew, offsets begin again, too.
            self._sent_before.pop(place, None)
        elif error.fatal():
            raise KafkaException(error)
        elif error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:  # which `Surroundings` tells of
            self._complain("reading_waits", error)

    def _given(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        found = {(place.topic, place.partition) for place in places}
        self.assigned |= found
        self.behind |= found
        spans = [place for place in places if self._inputs[place.topic] == SPANS]
        try:
            starts, committed = recall(consumer, spans, time.time())
        except KafkaException as error:
            self._complain("calls_not_recalled", cast(KafkaError, error.args[0]))
            return
        self._sent_before |= committed
        for place in places:
            place.offset = starts.get((place.topic, place.partition), OFFSET_STORED)
        consumer.assign(places)

    def _taken_back(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """By the group, in good order: what is done is committed first, or whoever is next sends it again.

        The request is on its way before that of the new assignment; its answer is not waited for.
        """
        if self._loop is not None:
            settling = asyncio.run_coroutine_threadsafe(self._settle(), self._loop)
            try:
                self.commit(settling.result(_SETTLE_S))
            except (TimeoutError, CancelledError):
                settling.cancel()
        self._taken_away(consumer, places)

    def _taken_away(self, _: Consumer, places: list[TopicPartition]) -> None:
        gone = [(place.topic, place.partition) for place in places]
        self.assigned.difference_update(gone)
        self.behind.difference_update(gone)
        self._revoked += gone
        for place in gone:
            self._wanted.pop(place, None)
            self._confirmed.pop(place, None)
            self._sent_before.pop(place, None)

    def _committed(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        if error is not None:
            self._complain("commit_waits", error)
            return
        for place in places:
            if place.error is None:
                self._confirmed[place.topic, place.partition] = place.offset

    def _trouble(self, error: KafkaError) -> None:
        self._complain("reading_waits", error)

    def _complain(self, event: str, error: KafkaError) -> None:
        now = time.monotonic()
        if now - self._complained_s.get(event, -_COMPLAIN_EVERY_S) >= _COMPLAIN_EVERY_S:
            self._complained_s[event] = now
            self._log.warning(event, error=str(error))


def _place(message: Message) -> Place:
    return cast(str, message.topic()), cast(int, message.partition())
