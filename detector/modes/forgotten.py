"""What is remembered of routes that were forgotten: how far their transitions had been counted.

A name of a transition is never given twice, not even after its route was forgotten.
"""

_KEPT = 100_000


class Forgotten:
    """Bounded; the oldest are let go first."""

    def __init__(self) -> None:
        self._transitions: dict[str, int] = {}
        self._lately: dict[str, None] = {}

    def add(self, route: str, transition: int) -> None:
        """A route was forgotten after so many transitions."""
        if transition:
            self._transitions[route] = transition
        self._lately[route] = None
        for kept in (self._transitions, self._lately):
            if len(kept) > _KEPT:
                del kept[next(iter(kept))]

    def recall(self, route: str) -> int:
        """Transitions of a route that is met again; 0 where nothing is known."""
        return self._transitions.pop(route, 0)

    def take(self) -> list[str]:
        """Routes forgotten since this was asked last."""
        lately, self._lately = list(self._lately), {}
        return lately
