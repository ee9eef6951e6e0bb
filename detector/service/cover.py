"""What of a partition is safe: snapshots taken, sent, acknowledged; the mark; what may be committed.

Nothing here judges. The order is kept here: control and transitions acknowledged, then the snapshot,
then the mark, then the commit.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from msgspec import structs

from detector.pipeline import Pipeline
from detector.service.decode import Decoded
from detector.service.desk import Desk
from detector.service.marks import Counted, Covered, Mark, Origins, Snapshots
from detector.service.outbox import Outbox
from detector.service.ownership import Phase
from detector.service.refused import Refused
from detector.service.snapshots import TURN_S, Pace, SnapshotWriter, Turn
from detector.service.survey import Survey

_MARK_EVERY_S = 0.5
_ARMED_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class _Taken:
    """Snapshots of one turn, kept until the control message `after` is acknowledged; None: to be removed."""

    after: int
    routes: list[tuple[str, bytes | None]]
    gone: dict[str, int]
    covers: dict[str, int]
    uncovered: dict[str, int]


class Cover:
    """Covers one assignment of one partition.

    Attributes:
        position: per input: next offset to be judged; the judging side moves it.
        committable: per input: offset that acknowledged snapshots and their mark cover.
        origins: re-keyed records seen, per input.
        survey: how each predicate stands on the routes.
        restored: all that snapshots hold is taken over. Before, a mark would say that there is nothing.
    """

    def __init__(
        self,
        partition: int,
        pipeline: Pipeline,
        *,
        desk: Desk,
        refused: Refused,
        control: Outbox,
        snapshots: Outbox,
        writer: SnapshotWriter,
        period_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.restored = False
        self.position: dict[str, int] = {}
        self.committable: dict[str, int] = {}
        self.origins: dict[str, Origins] = {}
        self._counted: dict[str, Counted] = {}
        self._partition = partition
        self._pipeline = pipeline
        self._desk = desk
        self._refused = refused
        self._control = control
        self._snapshots = snapshots
        self._writer = writer
        self._clock = clock
        self._pace = Pace(period_s)
        self._covered = Covered({})
        self._starts: dict[str, int] = {}
        self._held: deque[_Taken] = deque()
        self._taken = 0
        self._since = 0
        self._mark: Mark | None = None
        self._marked_at = 0.0
        self.survey = Survey(pipeline)
        self._armed: dict[str, float] = {}
        self._armed_at = 0.0
        self._dropped: list[bytes] = []
        self._gone: dict[str, int] = {}

    def restore(self, found: Snapshots, starts: Mapping[str, int]) -> None:
        """Begin where a mark ends; `starts`: where reading begins, per input."""
        self.position = dict(starts)
        self._starts = dict(starts)
        self._since = found.end
        self._covered = Covered(starts)
        self._dropped = list(found.dropped)
        self._gone = dict(found.mark.gone) if found.mark else {}
        self._pipeline.restore_gone(self._gone)
        seen = found.mark.origins if found.mark else {}
        refused = found.mark.refused if found.mark else {}
        for name in starts:
            own = self._refused.topic(name) + "/"
            self.origins[name] = Origins({key: at for key, at in seen.items() if key.startswith(own)})
            self._counted[name] = Counted(refused.get(name, {}))

    def count(self, name: str, decoded: Decoded[Any]) -> None:
        """Remember what of a list was not judged, by offset: a restart reads it again and counts it again."""
        counted = self._counted[name]
        for raw, _ in decoded.bad:
            counted.add("malformed", raw.offset)
        for raw, _, _ in decoded.strays:
            counted.add("rekeyed", raw.offset)
        for offset in decoded.repeats:
            counted.add("repeats", offset)

    @property
    def committed(self) -> dict[str, int]:
        """Per input: what may be committed even where nothing has come since; empty before the restore."""
        return self._starts | self.committable

    @property
    def kept_back(self) -> int:
        """How many routes keep the partition from being covered: their snapshots are refused."""
        return self._covered.kept_back

    def counts(self) -> dict[str, int]:
        """The pipeline's counts and those of what was not judged, since the partition's beginning."""
        found = asdict(self._pipeline.counts)
        for name in ("malformed", "rekeyed", "repeats"):
            found[name] = sum(counted.total.get(name, 0) for counted in self._counted.values())
        return found

    def turn(self, elapsed_s: float, budget_s: float = TURN_S, *, hurry: bool = False) -> None:
        """Take snapshots, send those whose time has come, and the mark.

        Args:
            elapsed_s: since the last turn.
            budget_s: what this one may take.
            hurry: take all that there are, whatever it takes.
        """
        if not self.restored or self._desk.phase(self._partition) is not Phase.OWNING:
            return
        self._covered.acknowledge(self._snapshots.acked_through)
        now = self._clock()
        self.survey.turn(now)
        if not hurry and now - self._marked_at >= _MARK_EVERY_S:
            # A turn of its own: counting over all routes takes as long as some snapshots.
            if now - self._armed_at >= _ARMED_EVERY_S:
                self._armed_at, self._armed = now, self._pipeline.armed()
            else:
                self._settle()
                self.send_mark()
            return
        self._take(elapsed_s, budget_s, hurry)
        while self._held and self._held[0].after <= self._control.acked_through:
            self._send(self._held.popleft())
        self._settle()
        if hurry:
            self.send_mark()

    def _send(self, group: _Taken) -> None:
        epoch, sent = self._desk.epoch(self._partition), None
        for route, data in group.routes:
            self._taken += 1
            if data is None:
                on_ack = partial(self._removed, route, self._taken, group.gone)
                sent = self._writer.remove(self._partition, route.encode(), epoch, on_ack=on_ack)
                continue
            number = self._writer.send_route(
                self._partition,
                route,
                data,
                epoch,
                group.covers,
                on_ack=partial(self._covered.let_go, route, self._taken),
                on_refused=partial(self._covered.keep_back, route, self._taken),
            )
            sent = number or sent
        if sent is not None:
            self._covered.took(sent, group.uncovered)

    def _removed(self, route: str, taken: int, gone: dict[str, int]) -> None:
        self._covered.let_go(route, taken)
        self._gone = gone

    def _take(self, elapsed_s: float, budget_s: float, hurry: bool) -> None:
        dirty = self._pipeline.dirty()
        self._pace.elapse(elapsed_s, len(dirty))
        turn = Turn(budget_s)
        taken: list[tuple[str, bytes | None]] = [(route, None) for route in self._pipeline.take_evicted()]
        gone = asdict(self._pipeline.gone) if taken else {}
        for route in dirty:
            if not hurry and (turn.over() or not self._pace.allowed()):
                break
            data = self._pipeline.snapshot(route)
            self._pace.took(len(data))
            taken.append((route, data))
        if taken:
            group = _Taken(self._control.last, taken, gone, dict(self.position), self._uncovered())
            self._held.append(group)

    def _settle(self) -> None:
        """With no snapshot under way, all that none is needed for is covered."""
        if not self._held and not self._covered.waiting:
            self._covered.advance(self._uncovered())

    def _uncovered(self) -> dict[str, int]:
        first = self._pipeline.first_uncovered()
        return {
            name: min(
                position,
                first.get(name, position),
                self._refused.first_pending(self._partition, name, position),
            )
            for name, position in self.position.items()
        }

    def send_mark(self) -> None:
        """Say how far everything is covered, if that is news."""
        now = self._clock()
        covered = dict(self._covered.acked)
        origins: dict[str, int] = {}
        for name, seen in self.origins.items():
            origins |= seen.as_of(covered.get(name, 0))
        mark = Mark(
            partition=self._partition,
            owner=self._desk.owner_id,
            epoch=self._desk.epoch(self._partition),
            issued_at=now,
            since=self._since,
            covered=covered,
            position=dict(self.position),
            complete=not self._held and not self._covered.waiting and covered == self.position,
            counts=self.counts(),
            gone=self._gone,
            refused={name: counted.as_of(covered.get(name, 0)) for name, counted in self._counted.items()},
            armed=self._armed,
            predicates=self.survey.found,
            withheld=self.survey.withheld,
            calibrated=self._pipeline.contract.calibration.made_at,
            origins=origins,
        )
        self._marked_at = now
        if self._mark is None or structs.replace(mark, issued_at=self._mark.issued_at) != self._mark:
            self._mark = mark
            # Before the first mark: from then on nothing tells that they are not of this topic.
            for route in self._dropped:
                self._writer.remove(self._partition, route, mark.epoch)
            self._dropped.clear()
            self._writer.send_mark(mark, on_ack=lambda: self.committable.update(covered))

    async def finish(self) -> None:
        """Everything judged is covered and marked before this returns."""
        for outbox in (self._control, self._snapshots, self._snapshots):
            self.turn(0.0, hurry=True)
            await outbox.acked(outbox.last)
