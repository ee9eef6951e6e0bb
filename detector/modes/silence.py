"""One alarm instead of many: when most routes fall silent together, it is the telemetry that is gone.

Looked at by each tick of a partition. A route's own notice waits some seconds past its bound; if by
then more than half of the partition's routes are silent, one notice with scope `*` is made and their
own ones are not. It is numbered by the time of the last record, so that after a restore the same
silence has the same name. The number goes into each route's own state; the greatest of them tells
whoever takes the partition over whether a silence is open whose end is still to be said.
"""

import math
from collections.abc import Collection

from detector.contract.model import Contract
from detector.modes.decision import Decision, Kind, event_id
from detector.modes.route import NONE_YET, RouteJudge
from topics.control import Evidence

EVERYTHING = "*"
_LEAST_ROUTES = 2  # of one nobody can say whether it is the telemetry
_LOOK_S = 0.25  # to ask every route takes a while where there are thousands


class CommonSilence:
    """Whether most routes of a partition are silent."""

    def __init__(self, contract: Contract, partition: int) -> None:
        absences = {name for name, spec in contract.predicates.items() if spec.type == "absence"}
        self._mode = next(
            (m for m in contract.modes.values() if absences.issuperset(m.predicates) and not m.shadow), None
        )
        self._digest = contract.digest
        self._partition = partition
        self._number = NONE_YET
        self._looked = -math.inf

    @property
    def open(self) -> bool:
        """Whether the telemetry is gone now."""
        return self._number % 2 == 0

    def recall(self, number: int) -> None:
        """A restored route has been told of this number."""
        if self._mode is not None:
            self._number = max(self._number, number)

    def look(self, now: float, routes: Collection[RouteJudge]) -> list[Decision]:
        """Compare the routes' silence with their habits; `now` is event time, Unix seconds."""
        few = len(routes) < _LEAST_ROUTES and not self.open
        if self._mode is None or few or 0 <= now - self._looked < _LOOK_S:
            return []
        self._looked = now
        silent = sum(route.silent(now) for route in routes)
        gone = 2 * silent > len(routes)
        if gone == self.open:
            return []
        # Even numbers begin a silence, odd ones end it.
        self._number = 2 * math.floor(max(route.newest for route in routes)) if gone else self._number + 1
        for route in routes:
            route.common = self._number
        lost = f"{silent} of {len(routes)} routes fell silent together: the telemetry is gone"
        kind: Kind = "activated" if gone else "deactivated"
        return [self._say(kind, now, silent, len(routes), lost if gone else "telemetry is back")]

    def _say(self, kind: Kind, now: float, silent: int, routes: int, reason: str) -> Decision:
        mode = self._mode.name if self._mode else ""
        return Decision(
            kind=kind,
            scope=EVERYTHING,
            route=EVERYTHING,
            deployment="",
            partition=self._partition,
            state="active" if kind == "activated" else "inactive",
            mode=mode,
            modes=(mode,),
            muted=(),
            fallbacks={},
            primary_share=1.0,
            probes_per_s=None,
            transition=self._number,
            event_id=event_id(f"{EVERYTHING}{self._partition}", self._number),
            at=now,
            on_expiry="revert",
            hold_max_s=0.0,
            next_revert_at=None,
            damped_until=None,
            evidence=Evidence(
                predicate=self._mode.predicates[0] if self._mode else "",
                value=silent / routes,
                threshold=0.5,
                samples=routes,
                event_time=now,
                partition=self._partition,
            ),
            disposition="notice",
            reason=reason,
            contract=self._digest,
        )
