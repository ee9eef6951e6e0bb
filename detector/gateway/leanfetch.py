"""What a fetch brought, handed over as it lies there: a third of what a bare client pays for each record.

aiokafka wraps every record in an object of eleven fields, one at a time. Nobody here looks at most of
them, so a partition's records are handed over as the list that its decoder in C made. Each has `offset`,
`timestamp`, `timestamp_type`, `key`, `value` and `headers`; topic and partition are the list's own.

The consumer that this is done to must read uncommitted records and set no `max_poll_records`.
"""

from collections import OrderedDict
from functools import partial
from typing import Any

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CorruptRecordException

TRIED_WITH = "0.14."  # versions of aiokafka


def hand_over_whole(fetcher: Any) -> None:
    """Make a consumer's fetcher do so; again and again does no harm."""
    if type(fetcher._records) is not _Results:
        found = list(fetcher._records.items())
        fetcher._records = _Results()
        for place, result in found:
            fetcher._records[place] = result


class _Results(OrderedDict[Any, Any]):
    """Results of fetches by partition, each changed as it comes in."""

    def __setitem__(self, place: Any, result: Any) -> None:
        if type(result) is FetchResult:
            result.getall = partial(_take_all, result)
        super().__setitem__(place, result)


def _take_all(result: Any, max_records: int | None = None) -> list[Any]:
    """All records of a partition's result, in place of `FetchResult.getall`."""
    # It is asked once. What refers to itself would be left to the collector of cycles, thousands a second.
    vars(result).pop("getall", None)
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        return []
    source = result._partition_records
    source._records_iterator = iter(())  # behind what raises here nobody reads on: it is fetched again
    found = _unpack(source)
    result._update_position()
    source._records_iterator = None  # aiokafka's own way through them refers back to them
    result._partition_records = None
    return found


def _unpack(source: Any) -> list[Any]:
    """Records of all batches before the first corrupt one; that one raises where it comes first."""
    batches = source._records
    first = source.next_fetch_offset
    found: list[Any] = []
    while batches.has_next():
        batch = batches.next_batch()
        if source._check_crcs and not batch.validate_crc():
            if found:
                break  # what came before it is read and left behind; the next fetch begins with it
            raise CorruptRecordException(f"Invalid CRC - {source._tp}")
        if not batch.is_control_batch:
            records = list(batch)
            # A fetch brings whole batches, also where it asked for the middle of one.
            found += (
                records
                if records and records[0].offset >= first
                else [record for record in records if record.offset >= first]
            )
        source.next_fetch_offset = batch.next_offset
    return found
