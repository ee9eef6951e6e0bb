"""What a mirror shows of the control topic at one moment, and what it shows it in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from detector.gateway.view import ControlView
from topics.control import ControlRecord


@dataclass(frozen=True, slots=True)
class Picture:
    """The control topic, read to its end.

    Attributes:
        held: the record of each scope, in force or not.
        left_s: of the scopes that are active and in force, for how many seconds they stay so although no
            owner is heard any more: to the end of the lease, and of the time that `hold` adds.
        fence: the greatest epoch of each partition.
        heard_s: for how many seconds some owner's lease lasts; 0 when none does.
        at: Unix seconds.
    """

    held: Mapping[str, ControlRecord]
    left_s: Mapping[str, float]
    fence: Mapping[int, int]
    heard_s: float
    at: float

    @classmethod
    def of(cls, view: ControlView, *, now: float, at: float) -> "Picture":
        """Of a view; `now` is its monotonic clock, `at` the wall clock at the same moment."""
        active = (record for record in view.held.values() if record.state == "active")
        left = ((record.scope, view.obeyed_until(record) - now) for record in active)
        left_s = {scope: seconds for scope, seconds in left if seconds > 0}
        return cls(dict(view.held), left_s, dict(view.fence), max(0.0, view.heard_until - now), at)


class Target(Protocol):
    """Something that is kept like the control topic.

    Attributes:
        name: for logs and metrics.
        period_s: what is in force is written again so often, though nothing has changed.
        least_s: from the beginning of one write to that of the next; what changes meanwhile comes together.
    """

    name: str
    period_s: float
    least_s: float

    async def write(self, picture: Picture, changed: frozenset[str] | None) -> Mapping[str, int]:
        """Make it like the picture, at once or not at all for each scope; may be cut off anywhere.

        Args:
            picture: what is.
            changed: scopes that are to be written; those that the picture does not hold are gone. None: all,
                and whatever else was left behind there.

        Returns:
            How many scopes came out how: `written`, or `refused` as somebody has written a newer state.

        Raises:
            Exception: whatever goes wrong. All is asked for again, a little later.
        """

    async def close(self) -> None:
        """Give back what it holds, quickly."""
