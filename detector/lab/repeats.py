"""Calls that stand in a recording more than once, such as those of a file that was given twice.

An id alone makes no repeat: a fallback answers under the id of the call that the primary failed, and so does
a second attempt. A repeat ended at the same time in the same place too. Of the calls with an id an even
sample is remembered, all of them until they are too many; so memory is bounded, and repeats may lie as far
apart as they like.
"""

from zlib import crc32

from topics.telemetry import TelemetryRecord

_KEPT = 1 << 16  # calls: some ten megabytes


class Repeats:
    """Counts them as they go by.

    Args:
        kept: calls that are remembered at most.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._mask = 0  # bits of the hash of an id that are zero for those in the sample
        self._lots: dict[int, int] = {}  # call -> hash of its id
        self._again: dict[int, int] = {}  # call -> how often it came again

    def take(self, record: TelemetryRecord) -> None:
        """Take a call; one without an id is like no other."""
        name = record.request_id
        if not name or (lot := crc32(name.encode(errors="replace"))) & self._mask:
            return
        call = hash((name, record.event_time, record.route, record.deployment, record.served_by))
        if call in self._lots:
            self._again[call] = self._again.get(call, 0) + 1
            return
        self._lots[call] = lot
        while len(self._lots) > self._kept:
            self._mask = 2 * self._mask + 1
            self._lots = {each: lot for each, lot in self._lots.items() if not lot & self._mask}
            self._again = {each: number for each, number in self._again.items() if each in self._lots}

    def said(self) -> str:
        """How many came again, in one sentence; nothing if none did."""
        number = sum(self._again.values()) * (self._mask + 1)
        if not number:
            return ""
        about = "about " if self._mask else ""
        rows, are = ("row tells", "is") if number == 1 else ("rows tell", "are")
        return (
            f"{about}{number:,} {rows} of a call that a row before told of already (the same request_id, "
            f"event_time, route, deployment and served_by) and {are} counted again: leave out what is double"
        )
