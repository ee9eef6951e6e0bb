"""What a pipeline counts."""

from collections.abc import Collection, Iterable
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


def armed_shares(predicates: Iterable[str], judges: "Collection[RouteJudge]") -> dict[str, float]:
    """Per predicate, the share of records judged while it was armed, 0..1."""
    judged = sum(judge.judged for judge in judges)
    return {
        name: sum(judge.armed[name] for judge in judges) / judged if judged else 0.0 for name in predicates
    }
