"""One alarm instead of many: when most routes fall silent together, it is the telemetry that is gone.

A route's own notice of silence is held back for a few seconds. If by then most of the partition's
routes are silent, a single notice with scope `*` takes the place of all of them, and one more
says when it is over. Decisions of any other kind pass untouched.
"""

from collections.abc import Iterable
from dataclasses import replace

from detector.contract.model import Contract
from detector.modes.decision import Decision, event_id

EVERYTHING = "*"
HOLD_S = 5.0
_LEAST_ROUTES = 4


class SilenceDigest:
    """Folds the silence notices of one partition; time is event time, Unix seconds."""

    def __init__(self, contract: Contract) -> None:
        absences = {name for name, spec in contract.predicates.items() if spec.type == "absence"}
        self._modes = {
            mode.name
            for mode in contract.modes.values()
            if mode.when in absences and mode.severity == "notice"
        }
        self._silent: set[str] = set()
        self._held: dict[str, Decision] = {}
        self._said: set[str] = set()
        self._open: Decision | None = None
        self._transition = 0

    def fold(self, decisions: Iterable[Decision], now: float, routes: int) -> list[Decision]:
        """Return what should be said of `decisions` made by `now`, among `routes` routes known."""
        out = []
        for decision in decisions:
            if decision.mode not in self._modes or decision.disposition != "notice":
                out.append(decision)
            elif decision.kind == "activated":
                self._silent.add(decision.scope)
                self._held[decision.scope] = decision
            elif decision.kind == "deactivated":
                self._silent.discard(decision.scope)
                self._held.pop(decision.scope, None)
                if decision.scope in self._said:
                    self._said.discard(decision.scope)
                    out.append(decision)
            else:
                out.append(decision)
        return out + self._digest(now, routes)

    def _digest(self, now: float, routes: int) -> list[Decision]:
        most = routes >= _LEAST_ROUTES and 2 * len(self._silent) > routes
        if most and self._held:
            last = next(reversed(self._held.values()))
            self._held.clear()
            if self._open is None:
                reason = f"{len(self._silent)} of {routes} routes fell silent together: the telemetry is gone"
                self._open = self._everything(last, now, "activated", reason)
                return [self._open]
            return []
        if not most and self._open is not None:
            over = self._everything(self._open, now, "deactivated", "telemetry is back")
            self._open = None
            return [over]
        due = [scope for scope, decision in self._held.items() if now - decision.at >= HOLD_S]
        self._said.update(due)
        return [self._held.pop(scope) for scope in due]

    def _everything(self, like: Decision, now: float, kind: str, reason: str) -> Decision:
        self._transition += 1
        return replace(
            like,
            kind="activated" if kind == "activated" else "deactivated",
            state="active" if kind == "activated" else "inactive",
            scope=EVERYTHING,
            route=EVERYTHING,
            deployment="",
            at=now,
            transition=self._transition,
            event_id=event_id(f"{EVERYTHING}/{like.partition}/{now}", self._transition),
            reason=reason,
        )
