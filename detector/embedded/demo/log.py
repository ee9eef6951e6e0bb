"""What the detector said during the demo, folded from its own topics; pure.

Everything is read from the surface that any outsider has: `detector.transitions` for what was
decided and on which evidence, `detector.acks` for when each gateway had applied it,
`detector.deadletter` for what was no record.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

from topics.control import Ack, ControlRecord


@dataclass(slots=True)
class Episode:
    """One scope away from its primary.

    Attributes:
        opened: the transition that began it; `latest` the newest.
        closed: the transition that ended it, None if none has.
        modes: (when, Unix seconds; mode acted on from then), in order.
        applied: gateway -> when it had applied the activation, Unix seconds.
    """

    opened: ControlRecord
    latest: ControlRecord
    closed: ControlRecord | None = None
    modes: list[tuple[float, str]] = field(default_factory=list)
    applied: dict[str, float] = field(default_factory=dict)

    @property
    def mode(self) -> str:
        """The mode acted on for the longest time: the one to come back from may change at the very end."""
        end = self.closed.issued_at if self.closed is not None else inf
        spans: dict[str, float] = {}
        for (start, mode), (until, _) in pairwise([*self.modes, (end, "")]):
            spans[mode] = spans.get(mode, 0.0) + until - start
        return max(spans, key=spans.__getitem__)


@dataclass(slots=True)
class Log:
    """All that was heard, in order; `acted` holds the transitions that gateways were told of."""

    episodes: list[Episode] = field(default_factory=list)
    acted: list[ControlRecord] = field(default_factory=list)
    notices: list[ControlRecord] = field(default_factory=list)
    deadletters: int = 0
    _early_acks: dict[str, list[Ack]] = field(default_factory=dict)

    def of_route(self, route: str) -> list[Episode]:
        """Episodes of the route and of its deployments."""
        return [episode for episode in self.episodes if episode.opened.route == route]

    def open_scopes(self) -> list[str]:
        """Scopes that are away from their primary now."""
        return [episode.opened.scope for episode in self.episodes if episode.closed is None]

    def transition(self, record: ControlRecord) -> None:
        """Take a message of `detector.transitions`."""
        if record.disposition != "act":
            self.notices.append(record)
            return
        scope = record.scope
        current = next((e for e in self.episodes if e.opened.scope == scope and e.closed is None), None)
        self.acted.append(record)
        if current is not None:
            current.latest = record
        if record.state == "active":
            if current is None:
                current = Episode(record, record)
                self.episodes.append(current)
                for ack in self._early_acks.pop(record.event_id, ()):
                    self.ack(ack)
            if not current.modes or current.modes[-1][1] != record.mode:
                current.modes.append((record.issued_at, record.mode))
        elif current is not None:
            current.closed = record

    def ack(self, ack: Ack) -> None:
        """Take a message of `detector.acks`; it may overtake the transition that it is about."""
        for episode in self.episodes:
            if episode.opened.event_id == ack.event_id:
                episode.applied.setdefault(ack.gateway, ack.applied_at)
                return
        self._early_acks.setdefault(ack.event_id, []).append(ack)
