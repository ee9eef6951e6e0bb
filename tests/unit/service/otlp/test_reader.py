"""What the reader hands on, and what it keeps of partitions that come and go."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, TopicPartition

from detector.service.otlp import reader as module
from detector.service.otlp.normalise import LOGS, SENT, SPANS
from detector.service.otlp.reader import Reader

TOPIC, OTHER = "otlp_spans", "otlp_logs"
OLD_MS = 1000  # of a message that lay there for long


class Group:
    """librdkafka's consumer, as far as it is asked; what `poll` and `consume` do is put into the lists."""

    def __init__(self, options: dict[str, Any], **_: Any) -> None:
        self.options = options
        self.polls: list[Callable[[], Message | None]] = []
        self.consumes: list[Callable[[], list[Message]]] = []
        self.commits: list[dict[tuple[str, int], int]] = []
        self.assigned: list[TopicPartition] = []
        self.committed_at = -1001
        self.positions: dict[str, int] = {}

    def subscribe(self, _: Sequence[str], *, on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self._given, self._taken, self._lost = on_assign, on_revoke, on_lost

    def poll(self, _: float) -> Message | None:
        return self.polls.pop(0)() if self.polls else None

    def consume(self, _: int, __: float) -> list[Message]:
        return self.consumes.pop(0)() if self.consumes else []

    def give(self, *places: tuple[str, int]) -> None:
        self._given(self, [TopicPartition(*place) for place in places])

    def take(self, *places: tuple[str, int]) -> None:
        self._taken(self, [TopicPartition(*place) for place in places])

    def lose(self, *places: tuple[str, int]) -> None:
        self._lost(self, [TopicPartition(*place) for place in places])

    def committed(self, places: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(each.topic, each.partition, self.committed_at) for each in places]

    def position(self, places: Sequence[TopicPartition]) -> list[TopicPartition]:
        return [
            TopicPartition(each.topic, each.partition, self.positions.get(each.topic, -1001))
            for each in places
        ]

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        return 0, 100

    def offsets_for_times(self, places: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(each.topic, each.partition, 0) for each in places]

    def assign(self, places: list[TopicPartition]) -> None:
        self.assigned = places

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        self.commits.append({(each.topic, each.partition): each.offset for each in offsets})


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.setattr(module, "Consumer", Group)

    async def settle() -> dict[tuple[str, int], int]:
        return {(TOPIC, 0): 8}

    inputs = {TOPIC: SPANS, OTHER: LOGS}
    made = Reader({}, group="g", inputs=inputs, settle=settle, session_s=6.0, beat_s=1.0)
    yield made
    made._thread.shutdown()


def group_of(reader: Reader) -> Group:
    found: Any = reader._consumer
    return found  # type: ignore[no-any-return]


def message(offset: int, *, topic: str = TOPIC, partition: int = 0, at_ms: int | None = None) -> Message:
    at_ms = int(time.time() * 1000) if at_ms is None else at_ms
    return Message(topic=topic, partition=partition, offset=offset, value=b"v", timestamp=(1, at_ms))


async def test_a_message_of_a_partition_that_is_taken_away_meanwhile_is_left_to_its_next_reader(
    reader: Reader,
) -> None:
    """It is not handed on, and its partition is not waited for."""
    group = group_of(reader)
    group.give((TOPIC, 0), (TOPIC, 1))
    group.polls = [lambda: message(5, at_ms=OLD_MS)]

    def consume() -> list[Message]:
        group.take((TOPIC, 0))
        return [message(6), message(7, partition=1)]  # one was there before it was taken away

    group.consumes = [consume]

    revoked, received = await reader.fetch()

    assert revoked == [(TOPIC, 0)]
    assert [(raw.partition, raw.offset) for raw in received] == [(1, 7)]
    assert reader.behind == set()


async def test_a_message_from_before_a_partition_came_back_is_read_again_and_not_twice(
    reader: Reader,
) -> None:
    """Taken away and given back within one look, the partition is read from its commit on."""
    group = group_of(reader)
    group.give((TOPIC, 0))
    group.polls = [lambda: message(5)]

    def consume() -> list[Message]:
        group.take((TOPIC, 0))
        group.give((TOPIC, 0))
        return [message(4)]

    group.consumes = [consume]

    _, received = await reader.fetch()

    assert [raw.offset for raw in received] == [4]


async def test_what_was_sent_before_is_forgotten_with_its_partition(reader: Reader) -> None:
    """Given again without an answer to what is committed, all that comes is to be sent."""
    group = group_of(reader)
    group.committed_at = 50
    group.give((TOPIC, 0))
    group.polls = [lambda: message(5), lambda: message(6)]
    assert [raw.signal for raw in (await reader.fetch()).messages] == [SENT]

    group.lose((TOPIC, 0))
    group.committed_at = -1001
    group.give((TOPIC, 0))

    assert [raw.signal for raw in (await reader.fetch()).messages] == [SPANS]


@pytest.mark.parametrize(("lost", "commits"), [(False, [{(TOPIC, 0): 8}]), (True, [])])
async def test_what_is_done_is_committed_before_a_partition_goes_to_another_member(
    reader: Reader, lost: bool, commits: list[Any]
) -> None:
    """So that nobody sends it again; of one that is lost already nothing can be."""
    group = group_of(reader)
    group.give((TOPIC, 0))

    def poll() -> None:
        (group.lose if lost else group.take)((TOPIC, 0))

    group.polls = [poll]

    assert await reader.fetch() == ([(TOPIC, 0)], [])
    assert group.commits == commits
    assert reader.assigned == set()


async def test_a_lag_is_told_where_it_is_known_and_nowhere_else(reader: Reader) -> None:
    """Before its end was looked for, a partition that has no position may be far behind."""
    group = group_of(reader)
    group.give((TOPIC, 0), (OTHER, 0))
    group.positions[TOPIC] = 60
    assert reader.lags() == {(TOPIC, 0): 40}

    group.polls = [
        lambda: Message(topic=OTHER, partition=0, offset=0, error=KafkaError(KafkaError._PARTITION_EOF))
    ]
    await reader.fetch()

    assert reader.lags() == {(TOPIC, 0): 40, (OTHER, 0): 0}
