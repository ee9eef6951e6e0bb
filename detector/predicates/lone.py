"""Bad calls of one caller alone: `unless_alone: tenant`.

A caller whose own calls fail, for a key that is over its quota or a prompt that nothing can answer, is not
the primary's fault, and no reason to move all others. Of bad calls in a row that are all of one caller the
first three count. From the fourth on they are left out, neither good nor bad, if five calls of others have
been good since the first. Where a fault strikes everybody the row is soon broken; where one caller makes
most of the calls the alarm is raised before five others were good.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from detector.windows.segment import Positions
from detector.windows.shares import Flagged

COUNTED = 3  # they bring at most 64 ** 3: no alarm at any usual run length
OTHERS = 5


class Row(NamedTuple):
    """Bad calls that follow each other and are all of one caller.

    Attributes:
        caller: whose they are; `bad`: how many.
        others: good calls of others since the first of them, up to as many as count.
        whose: calls were left out last, and `left_out`: how many.
    """

    caller: str
    bad: int
    others: int
    whose: str
    left_out: int


NONE = Row("", 0, 0, "", 0)


class LoneCaller:
    """Leaves out what one caller alone makes bad.

    Attributes:
        row: the present one; replaced, never changed in place.
    """

    __slots__ = ("row",)

    def __init__(self) -> None:
        self.row = NONE

    def restart(self) -> None:
        """Forget the row."""
        self.row = NONE

    def leave_out(self, judged: Positions, bad: Sequence[int], caller_at: Callable[[int], str]) -> Flagged:
        """Walk calls in their order.

        Args:
            judged: positions of calls; `bad`: ascending indices into them of the bad ones.
            caller_at: who made the call at a position; an empty name is nobody known.

        Returns:
            the same without what is left out.
        """
        caller, row, others, whose, left_out = self.row
        if not bad and (not row or others >= OTHERS):
            return judged, bad
        out: set[int] = set()
        last = -1
        for index in (*bad, len(judged)):
            for good in range(last + 1, index) if row else ():
                if others >= OTHERS:
                    break
                others += caller_at(judged[good]) != caller
            last = index
            if index == len(judged):
                break
            who = caller_at(judged[index])
            if not who or who != caller:
                caller, row, others = who, 1, 0
                continue
            row = min(row + 1, COUNTED + 1)
            if row > COUNTED and others >= OTHERS:
                out.add(index)
                whose, left_out = who, left_out + 1 if whose == who else 1
        self.row = Row(caller, row, others, whose, left_out)
        if not out:
            return judged, bad
        kept = [index for index in range(len(judged)) if index not in out]
        wrong = set(bad)
        return [judged[index] for index in kept], [i for i, index in enumerate(kept) if index in wrong]
