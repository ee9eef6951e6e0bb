"""One alarm instead of many: when most routes fall silent together, it is the telemetry that is gone.

Looked at by each tick of a partition. A route's own notice waits some seconds past its bound; if by
then more than half of the partition's routes are silent, one notice with scope `*` is made and their
own ones are not. It is numbered by the time of the last record, so that after a restore the same
silence has the same name.
"""

import math
from collections.abc import Collection

from detector.contract.model import Contract
from detector.modes.decision import Decision, Kind, event_id
from detector.modes.route import RouteJudge
from topics.control import Evidence

EVERYTHING = "*"
_LEAST_ROUTES = 4
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
        self._open: Decision | None = None
        self._looked = -math.inf

    @property
    def open(self) -> bool:
        """Whether the telemetry is gone now."""
        return self._open is not None

    def look(self, now: float, routes: Collection[RouteJudge]) -> list[Decision]:
        """Compare the routes' silence with their habits; `now` is event time, Unix seconds."""
        if self._mode is None or len(routes) < _LEAST_ROUTES or 0 <= now - self._looked < _LOOK_S:
            return []
        self._looked = now
        silent = sum(route.silent(now) for route in routes)
        gone = 2 * silent > len(routes)
        if gone == self.open:
            return []
        if not gone:
            over = self._say("deactivated", now, silent, len(routes), "telemetry is back")
            self._open = None
            return [over]
        last = math.floor(max(route.newest for route in routes))
        reason = f"{silent} of {len(routes)} routes fell silent together: the telemetry is gone"
        self._open = self._say("activated", now, silent, len(routes), reason, 2 * last)
        return [self._open]

    def _say(
        self, kind: Kind, now: float, silent: int, routes: int, reason: str, number: int | None = None
    ) -> Decision:
        mode = self._mode.name if self._mode else ""
        # Even numbers begin a silence, odd ones end it.
        transition = number if number is not None else (self._open.transition if self._open else 0) + 1
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
            transition=transition,
            event_id=event_id(f"{EVERYTHING}{self._partition}", transition),
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
