"""What a pipeline counts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detector.modes.route import RouteJudge


@dataclass(slots=True)
class Counts:
    """Totals over all routes, those restored from snapshots included.

    Attributes:
        judged: records judged, each exactly once.
        late: records older than every window; not judged.
        clamped: records and verdicts whose event time lay too far ahead of their arrival.
        verdicts: late verdicts judged; `verdicts_skipped` those that say nothing of the primary.
        verdicts_unjoined: late verdicts whose call was not found where it had to be; not judged.
        skipped: records that a snapshot had covered already.
        evicted: routes forgotten because there were too many.
        overdue: attempts to revert that were made too late; stays 0.
    """

    judged: int = 0
    late: int = 0
    clamped: int = 0
    verdicts: int = 0
    verdicts_skipped: int = 0
    verdicts_unjoined: int = 0
    skipped: int = 0
    evicted: int = 0
    overdue: int = 0

    def add(self, judge: "RouteJudge") -> None:
        """Add what a route has counted."""
        self.judged += judge.judged
        self.late += judge.late
        self.clamped += judge.clamped
        self.verdicts += judge.late_verdicts.judged
        self.verdicts_skipped += judge.late_verdicts.skipped
        self.verdicts_unjoined += judge.late_verdicts.unjoined
        self.overdue += judge.machine.status.overdue + judge.deployments.overdue


def armed_shares(predicates: Iterable[str], judges: "Iterable[RouteJudge]") -> dict[str, float]:
    """Per predicate, of the records of routes that have it the share judged while it was armed, 0..1."""
    found = [(judge.armed, judge.judged) for judge in judges]
    shares = {}
    for name in predicates:
        mine = [(armed[name], judged) for armed, judged in found if name in armed]
        judged = sum(each for _, each in mine)
        shares[name] = sum(each for each, _ in mine) / judged if judged else 0.0
    return shares
