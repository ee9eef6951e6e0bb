"""Calls that nobody has to look at yet: to walk a few at a time is dear.

While every judge of a route is calm, a call that lets no pane close cannot change a decision, unless it
raises a suspicion and a judge's patience is at its end. It waits here until one comes that may.
"""

import math
from typing import Any

MOST = 4096  # calls; a clock that stands still must not fill the memory
_FEW = 32  # calls: more are walked while the processor still has them close by


class Inbox:
    """Of one route.

    Attributes:
        rows, offsets: calls that wait, in arrival order; see `Columns.rows`.
        since, until: a call may wait if its event time, Unix seconds, is in [since, until).
        calm: nothing but suspicious calls can raise an alarm on the route before its next pane closes.
        patience: of each judge that walks, how many of them it bears; those that wait are taken off.
    """

    __slots__ = ("calm", "offsets", "patience", "rows", "since", "until")

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.offsets: list[int] = []
        self.since = math.inf
        self.until = -math.inf
        self.calm = False
        self.patience: list[int] = []

    def empty(self) -> tuple[list[tuple[Any, ...]], list[int]]:
        """Hand over what waits."""
        found = self.rows, self.offsets
        self.rows, self.offsets = [], []
        return found

    def bears(self, place: int) -> bool:
        """Whether one more suspicious call may wait: the judge at this place, counting it, cannot flip."""
        if not self.calm or len(self.rows) >= _FEW:
            return False
        self.patience[place] -= 1
        return self.patience[place] >= 0

    def shut(self) -> None:
        """No call may wait any more."""
        self.until = -math.inf
