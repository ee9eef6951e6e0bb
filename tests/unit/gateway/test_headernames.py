"""Header names that are not UTF-8: the record is read, and so are those around it."""

from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import TopicPartition

from detector.gateway.headernames import TolerantRecords, tolerate_header_names

GZIP = 1


class Raw(str):
    """A header name that is written as the byte 0xff."""

    def encode(self, *_: Any) -> bytes:  # type: ignore[override]
        return b"\xff"


def batch(records: int, bad: set[int], *, codec: int = 0, base: int = 0) -> bytes:
    """Bytes of one batch; the records numbered in `bad` have such a header."""
    made = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, 0, 1_000_000)
    for number in range(records):
        headers = [(Raw("x"), b"v"), ("plain", None)] if number in bad else [("plain", b"v")]
        made.append(number, 1000 + number, b"k", b"%d" % number, headers)
    return base.to_bytes(8, "big") + bytes(made.build())[8:]


def read(data: bytes, begin: int = 0) -> list[Any]:
    """All records as a fetch that asked for `begin` gives them."""
    place = TopicPartition("t", 0)
    return list(PartitionRecords(place, TolerantRecords(data), [], begin, None, None, True, 0))


@pytest.mark.parametrize("codec", [0, GZIP])
@pytest.mark.parametrize("bad", [{0}, {3}, {9}, {2, 3, 7}, set(range(10))])
def test_a_bad_header_name_loses_no_record(bad: set[int], codec: int) -> None:
    """Every record of a fetch is read once and in order, whichever of them have such a header."""
    found = read(batch(10, bad, codec=codec) + batch(5, {1}, codec=codec, base=10))

    assert [record.offset for record in found] == list(range(15))
    assert [record.value for record in found] == [b"%d" % n for n in [*range(10), *range(5)]]
    assert [record.timestamp for record in found[:10]] == [1000 + n for n in range(10)]
    assert {record.offset for record in found if record.headers[0][0] == "\\xff"} == bad | {11}


def test_reading_can_begin_within_such_a_batch() -> None:
    """A fetch that begins behind the bad record gives what follows, and nothing twice."""
    assert [record.offset for record in read(batch(10, {2, 6}), begin=5)] == [5, 6, 7, 8, 9]


def test_another_fault_is_still_a_fault() -> None:
    """A batch that ends in the middle of a record is not made readable."""
    data = bytearray(batch(3, {1}))
    data[-8] ^= 0x7F
    with pytest.raises(CorruptRecordException):
        list(
            PartitionRecords(
                TopicPartition("t", 0), TolerantRecords(bytes(data)), [], 0, None, None, False, 0
            )
        )


def test_consumers_read_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka's fetcher takes the class from its module at each fetch."""
    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)
    tolerate_header_names()

    assert fetcher.MemoryRecords is TolerantRecords
    assert "MemoryRecords" in fetcher.Fetcher._proc_fetch_request.__code__.co_names
