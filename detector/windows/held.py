"""Calls that let panes close on routes where nothing is urgent: they are judged when there is time for it.

What a pane that closes brings can wait a moment; a call that may raise an alarm must not wait behind it.
"""

from detector.windows.columns import Calls


class Held:
    """By route, the one that has waited longest first.

    Attributes:
        count: calls that wait.
    """

    __slots__ = ("_calls", "count")

    def __init__(self) -> None:
        self._calls: dict[str, list[Calls]] = {}
        self.count = 0

    def __contains__(self, route: object) -> bool:
        return route in self._calls

    def add(self, route: str, calls: Calls) -> None:
        """Put calls behind those of the same route that wait already."""
        self._calls.setdefault(route, []).append(calls)
        self.count += len(calls.rows)

    def first(self) -> str:
        """The route that has waited longest.

        Raises:
            StopIteration: none waits.
        """
        return next(iter(self._calls))

    def take(self, route: str, more: Calls | None = None) -> Calls | None:
        """All calls of a route that wait, and those that have come now; None: there are none."""
        parts = self._calls.pop(route, [])
        self.count -= sum(len(part.rows) for part in parts)
        if more is not None:
            parts.append(more)
        if len(parts) < 2:
            return parts[0] if parts else None
        return Calls(
            [record for part in parts for record in part.records],
            [row for part in parts for row in part.rows],
            [offset for part in parts for offset in part.offsets],
        )
