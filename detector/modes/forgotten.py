"""What is remembered of routes that were forgotten: how far what their scopes say had been counted.

A name of a transition or notice is never given twice, not even after its route was forgotten.
"""

from detector.modes.route import RouteJudge
from detector.modes.status import Past

_KEPT = 100_000


class Forgotten:
    """Bounded; the oldest are let go first."""

    def __init__(self) -> None:
        self._past: dict[str, tuple[Past, dict[str, Past]]] = {}
        self._lately: dict[str, None] = {}

    def add(self, judge: RouteJudge) -> None:
        """A route is let go."""
        past, apart = judge.machine.status.past, judge.deployments.past
        if any(past) or apart:
            self._past[judge.route] = (past, apart)
        self._lately[judge.route] = None
        if len(self._past) > _KEPT:
            del self._past[next(iter(self._past))]
        if len(self._lately) > _KEPT:
            del self._lately[next(iter(self._lately))]

    def recall(self, judge: RouteJudge) -> None:
        """Let a route that is met again go on counting, if it was known."""
        past, apart = self._past.pop(judge.route, (Past(), {}))
        judge.machine.status.go_on_from(past)
        judge.deployments.recall(apart)

    def take(self) -> list[str]:
        """Routes forgotten since this was asked last."""
        lately, self._lately = list(self._lately), {}
        return lately
