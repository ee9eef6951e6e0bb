"""Calls that nobody has to look at yet: to walk a few at a time is dear.

While every judge of a route is calm, a call that lets no pane close cannot change a decision, unless it
raises a suspicion and a judge's patience is at its end. It waits here until one comes that may.
"""

import math
from collections.abc import Sequence

from detector.windows.array_segment import Part
from detector.windows.columns import Row

MOST = 4096  # calls; a clock that stands still must not fill the memory
_FEW = 128  # calls: of more the next suspicious one makes a walk, while the processor still has them close by


class Inbox:
    """Of one route.

    Attributes:
        parts: calls that have waited longest, as arrays, in arrival order; `laid`: how many they are.
        rows, offsets: those that came after them; see `Table.rows`.
        since, until: a call may wait if its event time, Unix seconds, is in [since, until).
        calm: nothing but suspicious calls can raise an alarm on the route before its next pane closes.
        patience: by predicate whose judge walks, how many of them it bears; those that wait are taken off.
    """

    __slots__ = ("calm", "laid", "offsets", "parts", "patience", "rows", "since", "until")

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.laid = 0
        self.rows: list[Row] = []
        self.offsets: list[int] = []
        self.since = math.inf
        self.until = -math.inf
        self.calm = False
        self.patience: dict[str, int] = {}

    def __len__(self) -> int:
        return self.laid + len(self.rows)

    @property
    def newest(self) -> float:
        """Greatest event time of what waits, Unix seconds; -inf: nothing does."""
        laid = max((float(part.times.max()) for part in self.parts), default=-math.inf)
        return max(laid, max((row[1] for row in self.rows), default=-math.inf))

    def takes(self, oldest: float, newest: float) -> bool:
        """Whether calls from `oldest` to `newest` may be laid here; not behind rows."""
        return self.since <= oldest and newest < self.until and not self.rows

    def lay(self, part: Part) -> None:
        """Put calls behind those that wait."""
        self.parts.append(part)
        self.laid += len(part)

    def add(self, rows: Sequence[Row], offsets: Sequence[int]) -> None:
        """Put calls behind all others."""
        self.rows += rows
        self.offsets += offsets

    def empty(self) -> tuple[list[Row], list[int]]:
        """Hand over the rows that wait."""
        found = self.rows, self.offsets
        self.rows, self.offsets = [], []
        return found

    def empty_parts(self) -> list[Part]:
        """Hand over what came before the rows."""
        found, self.parts, self.laid = self.parts, [], 0
        return found

    def bears(self, predicate: str) -> bool:
        """Whether one more suspicious call may wait: the predicate's judge, counting it, cannot flip."""
        if not self.calm or len(self.rows) >= _FEW:
            return False
        self.patience[predicate] -= 1
        return self.patience[predicate] >= 0

    def shut(self) -> None:
        """No call may wait any more."""
        self.until = -math.inf
