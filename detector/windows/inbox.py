"""Calls that nobody has to look at yet: to walk a few at a time is dear.

While every judge of a route is calm, a call that raises no suspicion and lets no pane close cannot
change a decision. It waits here until one comes that may.
"""

import math
from typing import Any

MOST = 4096  # calls; a clock that stands still must not fill the memory


class Inbox:
    """Of one route.

    Attributes:
        rows, offsets: calls that wait, in arrival order; see `Columns.rows`.
        since, until: a call may wait if its event time, Unix seconds, is in [since, until).
        calm: nothing but a suspicious call can raise an alarm on the route before its next pane closes.
    """

    __slots__ = ("calm", "offsets", "rows", "since", "until")

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.offsets: list[int] = []
        self.since = math.inf
        self.until = -math.inf
        self.calm = False

    def empty(self) -> tuple[list[tuple[Any, ...]], list[int]]:
        """Hand over what waits."""
        found = self.rows, self.offsets
        self.rows, self.offsets = [], []
        return found

    def shut(self) -> None:
        """No call may wait any more."""
        self.until = -math.inf
