"""What a scope remembers."""

from typing import NamedTuple

import msgspec

from detector.modes.damping import Damping
from detector.modes.state import State
from topics.control import Evidence

NO_EVIDENCE = Evidence()


class Past(NamedTuple):
    """What is kept of a scope that is let go: no name is given twice, no order carried out twice."""

    transition: int = 0
    notices: int = 0
    accepted_at: float = 0.0


class Status(msgspec.Struct):
    """All that a scope remembers; times are Unix seconds of event time.

    Attributes:
        last_bad: the last bad probe before everything that acts had recovered.
        attempt: probes and bad ones, by predicate, that the last attempt to revert had seen.
        overdue: attempts that were made too late.
        benign: input drifts that were shown to do no harm; they do not act until they end, or harm comes.
        accepted_at: when an operator last took a drift for the new normal.
        usual_share: share of the route's calls that a deployment gets when it is well; 1 for a route.
        probe_share: share of calls that goes to the primary while active.
    """

    state: State = State.INACTIVE
    since: float = 0.0
    activated_at: float = 0.0
    transition: int = 0
    notices: int = 0
    mode: str = ""
    modes: tuple[str, ...] = ()
    muted: tuple[str, ...] = ()
    held_since: dict[str, float] = {}
    noticed: dict[str, str] = {}
    next_revert_at: float | None = None
    step: int = 0
    evidence: Evidence = NO_EVIDENCE
    reason: str = ""
    last_bad: float = 0.0
    attempt: dict[str, tuple[int, int]] = {}
    overdue: int = 0
    benign: tuple[str, ...] = ()
    accepted_at: float = 0.0
    usual_share: float = 1.0
    probe_share: float = 1.0
    probes_per_s: float | None = None
    damping: Damping = msgspec.field(default_factory=Damping)

    @property
    def past(self) -> Past:
        """What goes on if the scope is let go and met again."""
        return Past(self.transition, self.notices, self.accepted_at)

    def go_on_from(self, past: Past) -> None:
        """Go on counting from there."""
        self.transition, self.notices, self.accepted_at = past
