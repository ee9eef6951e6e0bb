"""A fetched partition handed over whole holds what aiokafka would have read out of it record by record."""

import gc
import weakref
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import aiokafka
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from detector.gateway.leanfetch import hand_over_whole
from detector.gateway.transport import KafkaTransport

PLACE = TopicPartition("t", 3)


def batch(base: int, count: int, headers: list[tuple[str, bytes]] | None = None) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for i in range(count):
        builder.append(i, 1_700_000_000_000 + base + i, b"k", b"v%d" % (base + i), headers or [])
    data = bytearray(builder.build())
    data[0:8] = base.to_bytes(8, "big")  # the base offset is not under the checksum
    return data


def fetched(data: bytes, begin: int) -> tuple[Any, Any, Any]:
    """A fetcher with one result in it, the result, and the subscription's state of the partition."""
    state = SimpleNamespace(position=begin)
    state.consumed_to = lambda offset: setattr(state, "position", offset)
    assignment = SimpleNamespace(active=True, state_value=lambda place: state)
    state.is_fetchable = lambda: True
    state.has_valid_position = True
    state.paused = False
    source = PartitionRecords(
        PLACE, MemoryRecords(bytes(data)), [], begin, None, None, True, READ_UNCOMMITTED
    )
    result = FetchResult(PLACE, assignment=assignment, partition_records=source, backoff=0.0)
    return SimpleNamespace(_records=OrderedDict({PLACE: result})), result, state


@pytest.mark.parametrize("begin", [10, 12, 13])
def test_the_same_records_as_one_by_one(begin: int) -> None:
    """From the middle of a batch too; headers, stamps and positions are the same."""
    data = batch(10, 4) + batch(14, 3, [("h", b"x")])
    fetcher, result, state = fetched(data, begin)
    hand_over_whole(fetcher)
    whole = result.getall()
    _, plain, expected = fetched(data, begin)
    singly = plain.getall()

    seen = [(r.offset, r.timestamp, r.timestamp_type, r.key, r.value, tuple(r.headers)) for r in whole]
    assert seen == [(r.offset, r.timestamp, r.timestamp_type, r.key, r.value, r.headers) for r in singly]
    assert seen[0][0] == begin
    assert state.position == expected.position == 17
    assert not result.has_more()


def test_what_was_taken_needs_no_collector_of_cycles() -> None:
    """There are thousands of them a second."""
    fetcher, result, _ = fetched(batch(10, 4), 10)
    hand_over_whole(fetcher)
    assert len(result.getall()) == 4

    gone = weakref.ref(result)
    gc.disable()
    try:
        fetcher._records.clear()
        del result
        assert gone() is None
    finally:
        gc.enable()


def test_what_comes_in_later_is_handed_over_whole_too() -> None:
    """A fetcher is changed once; its later results are, as they come in."""
    fetcher, _, _ = fetched(batch(0, 2), 0)
    hand_over_whole(fetcher)
    changed = fetcher._records
    hand_over_whole(fetcher)
    _, later, _ = fetched(batch(0, 2), 0)
    fetcher._records[PLACE] = later

    assert fetcher._records is changed
    assert type(fetcher._records[PLACE].getall()[0]).__name__ != "ConsumerRecord"


def test_a_corrupt_batch_loses_nothing_that_came_before_it() -> None:
    """What is good is read and the position goes there; the corrupt one raises once it is the first."""
    bad = batch(14, 3)
    bad[-1] ^= 1
    fetcher, result, state = fetched(batch(10, 4) + bad, 10)
    hand_over_whole(fetcher)

    assert [record.offset for record in result.getall()] == [10, 11, 12, 13]
    assert state.position == 14
    fetcher, result, state = fetched(bad, 14)
    hand_over_whole(fetcher)
    with pytest.raises(CorruptRecordException):
        result.getall()
    assert state.position == 14


def test_what_lies_behind_a_corrupt_batch_is_not_read_past_it() -> None:
    """Asked again after it has raised, a result has nothing more: all of it is fetched again."""
    bad = batch(14, 3)
    bad[-1] ^= 1
    fetcher, result, state = fetched(bad + batch(17, 3), 14)
    hand_over_whole(fetcher)
    with pytest.raises(CorruptRecordException):
        result.getall()

    assert result.getall() == []
    assert not result.has_more()
    assert state.position == 14


def test_a_client_that_it_was_not_tried_with_reads_the_usual_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one whose options ask for something else."""
    assert KafkaTransport("kafka:9092").whole_fetches
    assert not KafkaTransport("kafka:9092", options={"max_poll_records": 10}).whole_fetches
    assert not KafkaTransport("kafka:9092", options={"isolation_level": "read_committed"}).whole_fetches
    monkeypatch.setattr(aiokafka, "__version__", "0.13.0")
    assert not KafkaTransport("kafka:9092").whole_fetches
