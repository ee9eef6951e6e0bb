"""How many records are judged before others get their turn: as many as a turn has time for.

What one takes is a mean over thousands: a batch during which the machine did something else for a moment says
little, and is soon forgotten. Fewer at a time make each one dearer, and would keep a busy machine busier.
"""

MOST = 512  # records: what a processor keeps close by
LEAST = 32
_REMEMBERED = 4096  # records


class Portion:
    """Of one partition.

    Args:
        turn_s: what judging a portion may take.

    Attributes:
        size: records to be judged next.
    """

    __slots__ = ("_records", "_seconds", "_turn_s", "size")

    def __init__(self, turn_s: float) -> None:
        self._turn_s = turn_s
        self._records = self._seconds = 0.0
        self.size = MOST

    def took(self, records: int, seconds: float) -> None:
        """So many records, at least one and at most MOST, took so long."""
        kept = 1.0 - records / _REMEMBERED
        self._records = kept * self._records + records
        self._seconds = kept * self._seconds + seconds
        fitting = self._turn_s * self._records / max(self._seconds, 1e-9)
        self.size = int(min(MOST, max(LEAST, fitting)))
