"""What a gateway holds of the control topic, and what that means now: fence, leases, lapses, reading again.

Pure: messages and clock values in, state out. `now` is the reader's own monotonic clock throughout,
so a step of the wall clock neither lengthens nor ends a lease.
"""

from dataclasses import dataclass
from math import inf

from detector.gateway.fold import Change, Fold, FoldCounts, parse
from topics.cloudevents import Headers
from topics.control import ControlRecord, OwnerRecord
from topics.errors import DecodeError
from topics.types import MOST_HOLD_S, MOST_LEASE_S

_NEVER = (-1, 0.0)


@dataclass(frozen=True, slots=True)
class Effective:
    """What a reader does about one route.

    Attributes:
        record: the active record that is in force, or None: use the primary.
        avoid: active records of single deployments of the route, while the route itself is not active.
        stale: a lease that concerns this answer has lapsed.
        until: monotonic time at which the answer changes by itself; infinity when only a message changes it.
    """

    record: ControlRecord | None
    avoid: tuple[ControlRecord, ...]
    stale: bool
    until: float


class ControlView:
    """Folds the control topic by the reader's rules and answers what is in force.

    Args:
        hold_max_s: the most that scopes that say `hold` stay active after their lease has lapsed, whatever
            their records say.

    Attributes:
        generation: grows whenever an answer may have changed other than by time passing.
        counts: messages applied, refused by the fence, superseded and malformed.
        lapses: how many leases had lapsed when the next owner record came.
    """

    def __init__(self, *, hold_max_s: float = MOST_HOLD_S) -> None:
        self._hold_max_s = hold_max_s
        self.counts = FoldCounts()
        self._fold = Fold(self.counts)
        self._again: Fold | None = None
        # Per partition: when its lease ends, on our clock; epoch and time of issue of the record that set it.
        self._lease_end: dict[int, float] = {}
        self._heard: dict[int, tuple[int, float]] = {}
        self._routes: dict[str, dict[str, ControlRecord]] = {}
        self.generation = 0
        self.lapses = 0

    @property
    def held(self) -> dict[str, ControlRecord]:
        """The record held per scope, in force or lapsed."""
        return self._fold.held

    @property
    def fence(self) -> dict[int, int]:
        """The greatest epoch seen per partition."""
        return self._fold.fence

    @property
    def rereading(self) -> bool:
        """Whether messages go to a second reading while the first one stands."""
        return self._again is not None

    def apply(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | tuple[tuple[str, bytes], ...],
        *,
        now: float,
        age_s: float = 0.0,
        offset: int = 0,
    ) -> Change | None:
        """Take one message in topic order; whatever its bytes, nothing is raised.

        Args:
            now: monotonic clock, seconds.
            age_s: while catching up, how long ago the broker stamped the message; kept within 0 and
                the lease, for two wall clocks are compared here. 0 when following live.
            offset: of the message; without it, numbers that a topic reaches only after a mistake (beyond
                `topics.control.most_counted`) are refused where other readers take them.

        Returns:
            What was held of the scope and what is now, if that changed. None while reading again.
        """
        try:
            entry = parse(key, value, headers, offset)
        except DecodeError:
            self.counts.malformed += 1
            return None
        if isinstance(entry, OwnerRecord):
            self._hear(entry, now, age_s)
            return None
        fold = self._again or self._fold
        before = fold.held.get(entry.scope)
        applied = fold.apply(entry)
        if isinstance(entry, ControlRecord):
            # A partition that no owner has spoken for has no lease: it counts as lapsed from here on.
            self._lease_end.setdefault(entry.partition, now)
        if not applied or fold is self._again:
            return None
        after = entry if isinstance(entry, ControlRecord) else None
        self._index(before, after)
        return before, after

    def _hear(self, owner: OwnerRecord, now: float, age_s: float) -> None:
        """Renew the lease of an owner's partition, which the old view needs too while all is read again."""
        partition, said = owner.partition, (owner.epoch, owner.issued_at)
        if not (self._again or self._fold).apply(owner):
            return
        # A dead owner's last record lies there for good: it was heard when it was heard first.
        known = said <= self._heard.get(partition, _NEVER) or owner.epoch < self.fence.get(partition, -1)
        if self._again is not None and known:
            return
        lease_s = min(owner.lease_s, MOST_LEASE_S)
        end, ended = now + lease_s - min(max(age_s, 0.0), lease_s), self._lease_end.get(partition)
        if self._again is not None and ended is not None:
            end = max(end, ended)  # the age is by another clock, and may be too great
        self._lease_end[partition], self._heard[partition] = end, said
        if ended is None or ended <= now or end < ended:
            self.lapses += ended is not None and ended <= now
            self.generation += 1

    def _index(self, before: ControlRecord | None, after: ControlRecord | None) -> None:
        # Made anew, not changed: another thread may be walking through it.
        about = after or before
        if about is not None:
            deployments = {**self._routes.get(about.route, {})}
            if after is not None:
                deployments[about.deployment] = after
            else:
                del deployments[about.deployment]
            if deployments:
                self._routes[about.route] = deployments
            else:
                del self._routes[about.route]
        self.generation += 1

    def begin_reread(self) -> None:
        """Start reading from the beginning; the present view stands until `finish_reread`."""
        self._again = Fold(self.counts)

    def finish_reread(self) -> list[Change]:
        """The second reading has reached the end: it becomes the view. Returns what that changed."""
        again, self._again = self._again, None
        if again is None:
            return []
        changes = self._fold.replace(again)
        for before, after in changes:
            self._index(before, after)
        self.generation += 1
        return changes

    def obeyed_until(self, record: ControlRecord) -> float:
        """Until when, on our clock, an active record counts if its owner is heard no more."""
        end = self._lease_end.get(record.partition, -inf)
        hold_s = min(record.hold_max_s, self._hold_max_s) if record.on_expiry == "hold" else 0.0
        return end + max(0.0, hold_s)

    @property
    def heard_until(self) -> float:
        """Until when, on our clock, the last lease of any partition lasts; minus infinity without owners."""
        return max(self._lease_end.values(), default=-inf)

    def in_force(self, record: ControlRecord, now: float) -> tuple[bool, bool, float]:
        """Say whether a held record counts now, whether its lease has lapsed, and until when that is so."""
        end = self._lease_end.get(record.partition, -inf)
        if now < end:
            return True, False, end
        if now < (hold_until := self.obeyed_until(record)):
            return True, True, hold_until
        return False, True, inf

    def effective(self, route: str, deployment: str = "", now: float = 0.0) -> Effective:
        """Say what is in force for a route, or for one deployment of it.

        The route's own scope outranks those of its deployments. With `deployment`, an active scope
        of it is the record in force; either way `avoid` names every deployment to keep off.
        """
        scopes = self._routes.get(route)
        if scopes is None:
            return _PRIMARY
        until, stale = inf, False
        chosen: ControlRecord | None = None
        avoid: list[ControlRecord] = []
        for record in scopes.values():
            if record.state != "active":
                continue
            counts, lapsed, changes_at = self.in_force(record, now)
            until, stale = min(until, changes_at), stale or lapsed
            if not counts:
                continue
            if not record.deployment:
                chosen = record
            else:
                avoid.append(record)
        if chosen is not None:
            return Effective(chosen, (), stale, until)
        chosen = next((record for record in avoid if deployment and record.deployment == deployment), None)
        return Effective(chosen, tuple(avoid), stale, until)


_PRIMARY = Effective(None, (), False, inf)
