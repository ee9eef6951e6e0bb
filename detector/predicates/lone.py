"""Bad calls of one caller alone: `unless_alone: tenant`.

A caller whose own calls fail, for a key that is over its quota or a prompt that nothing can answer, is not
the primary's fault, and no reason to move all others. Of bad calls in a row that are all of one caller the
first three count. From the fourth on they are left out, neither good nor bad, where calls of others have
been good meanwhile and so long a row is no chance: a fault that strikes everybody makes a row of n
once in s ** (1 - n), s being the caller's share of the calls since the first. So whoever makes most of the
calls is heard as before: where everybody's calls fail at 5 to 100 %, an alarm takes as many calls as without,
whether one caller makes three calls in ten or nine (simulated; without that condition 5.6 times as many).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from detector.windows.segment import Positions
from detector.windows.shares import Flagged

COUNTED = 3  # they bring at most 64 ** 3: no alarm at any usual run length
_BY_CHANCE = 0.05
_LOOKED_AT = 64  # calls since the first bad one: they tell the caller's share


class Row(NamedTuple):
    """Bad calls that follow each other and are all of one caller.

    Attributes:
        caller: whose they are; `bad`: how many.
        others: good calls of others among the first 64 since the first of them; `seen`: how many those are.
        whose: calls were left out last, and `left_out`: how many.
    """

    caller: str
    bad: int
    others: int
    seen: int
    whose: str
    left_out: int


NONE = Row("", 0, 0, 0, "", 0)


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
        caller, length, others, seen, whose, left_out = self.row
        if not bad and (not length or seen == _LOOKED_AT):
            return judged, bad
        out: set[int] = set()
        last = -1
        for index in (*bad, len(judged)):
            if length:
                for good in range(last + 1, min(index, last + 1 + _LOOKED_AT - seen)):
                    seen += 1
                    others += caller_at(judged[good]) != caller
            last = index
            if index == len(judged):
                break
            who = caller_at(judged[index])
            if not who or who != caller:
                caller, length, others, seen = who, 1, 0, 1
                continue
            length, seen = length + 1, min(seen + 1, _LOOKED_AT)
            if length > COUNTED and (1.0 - others / seen) ** (length - 1) <= _BY_CHANCE:
                out.add(index)
                whose, left_out = who, left_out + 1 if whose == who else 1
        self.row = Row(caller, length, others, seen, whose, left_out)
        if not out:
            return judged, bad
        kept = [index for index in range(len(judged)) if index not in out]
        wrong = set(bad)
        return [judged[index] for index in kept], [i for i, index in enumerate(kept) if index in wrong]
