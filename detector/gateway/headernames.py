r"""Records whose header names are not UTF-8, which producers in C or Go can write, are read like all others.

aiokafka raises UnicodeDecodeError for such a record, out of the fetch of all partitions, and again at each
attempt. The name is nothing that anything here depends on, so it is read with its bad bytes written out
(`\xff`) and the record goes its usual way. Batches without such a name are read as fast as before.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

_LENGTH_AT = 8  # of a batch: after its base offset
_LENGTH_BEFORE = 12  # base offset and length itself are not counted in it
_MAGIC_AT = 16


def tolerate_header_names() -> None:
    """Make every aiokafka consumer of this process read such records."""
    fetcher.MemoryRecords = TolerantRecords


class TolerantRecords:
    """What a fetch brought of one partition; in place of aiokafka's `MemoryRecords`."""

    def __init__(self, data: bytes) -> None:
        """Args: `data`: batches one behind another, the last one perhaps cut off."""
        self._records = MemoryRecords(data)
        self._data = data
        self._at = 0

    def size_in_bytes(self) -> int:
        """Bytes in all."""
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        """Whether a whole batch is left."""
        return bool(self._records.has_next())

    def next_batch(self) -> Any:
        """The next batch; None where none is left."""
        batch = self._records.next_batch()
        if batch is None:
            return None
        begin = self._at
        length = int.from_bytes(self._data[begin + _LENGTH_AT : begin + _LENGTH_BEFORE], "big")
        self._at = begin + _LENGTH_BEFORE + length
        if self._data[begin + _MAGIC_AT] < 2:
            return batch  # older formats have no headers
        return _Batch(batch, self._data, begin, self._at)


class _Batch:
    """A batch that is read a second time, slowly, where the quick way meets a name it cannot take."""

    def __init__(self, batch: Any, data: bytes, begin: int, end: int) -> None:
        self._batch = batch
        self._data = data
        self._begin = begin
        self._end = end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except (UnicodeDecodeError, CorruptRecordException):
            # From its first record again. What is corrupt in another way raises again here.
            return iter(_PatientBatch(self._data[self._begin : self._end]))


class _PatientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka closes it to type checkers
    """aiokafka's batch in Python, but for the names of headers."""

    def _read_msg(self, decode_varint: Any = decode_varint) -> Any:
        """Read one record as the Kafka protocol lays it out (record format 2)."""
        buffer = self._buffer
        size, begin = decode_varint(buffer, self._pos)
        _, at = decode_varint(buffer, begin)  # attributes: none are in use
        later_ms, at = decode_varint(buffer, at)
        delta, at = decode_varint(buffer, at)
        key, at = _read_bytes(buffer, at)
        value, at = _read_bytes(buffer, at)
        count, at = decode_varint(buffer, at)
        headers = []
        for _ in range(count):
            name, at = _read_bytes(buffer, at)
            if name is None:
                raise CorruptRecordException("a header without a name")
            content, at = _read_bytes(buffer, at)
            headers.append((name.decode("utf-8", "backslashreplace"), content))
        if count < 0 or at - begin != size:
            raise CorruptRecordException(f"a record of {size} bytes has {at - begin}, and {count} headers")
        self._pos: int = at
        stamped_by_broker = self.timestamp_type == self.LOG_APPEND_TIME
        timestamp = self.max_timestamp if stamped_by_broker else self.first_timestamp + later_ms
        return _DefaultRecordPy(self.base_offset + delta, timestamp, self.timestamp_type, key, value, headers)


def _read_bytes(buffer: bytearray, at: int) -> tuple[bytes | None, int]:
    size, at = decode_varint(buffer, at)
    return (None, at) if size < 0 else (bytes(buffer[at : at + size]), at + size)
