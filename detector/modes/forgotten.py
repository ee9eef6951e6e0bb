"""What is remembered of routes that were forgotten: how far their scopes' transitions had been counted.

A name of a transition is never given twice, not even after its route was forgotten.
"""

from detector.modes.route import RouteJudge

_KEPT = 100_000


class Forgotten:
    """Bounded; the oldest are let go first."""

    def __init__(self) -> None:
        self._transitions: dict[str, tuple[int, dict[str, int]]] = {}
        self._lately: dict[str, None] = {}

    def add(self, judge: RouteJudge) -> None:
        """A route is let go."""
        transition, apart = judge.machine.status.transition, judge.deployments.transitions
        if transition or apart:
            self._transitions[judge.route] = (transition, apart)
        self._lately[judge.route] = None
        if len(self._transitions) > _KEPT:
            del self._transitions[next(iter(self._transitions))]
        if len(self._lately) > _KEPT:
            del self._lately[next(iter(self._lately))]

    def recall(self, judge: RouteJudge) -> None:
        """Let a route that is met again go on counting, if it was known."""
        transition, apart = self._transitions.pop(judge.route, (0, {}))
        judge.machine.status.transition = transition
        judge.deployments.recall(apart)

    def take(self) -> list[str]:
        """Routes forgotten since this was asked last."""
        lately, self._lately = list(self._lately), {}
        return lately
