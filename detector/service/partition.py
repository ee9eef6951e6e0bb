"""One partition of telemetry and evaluations: judging, catching up, covering.

The way of one record
---------------------
1. A fetch brings a list of records of one partition; the transport hands it to an agent as one event.
2. The agent calls `PartitionWorker.take`, which waits until the state is restored and the claim is read back.
3. `decode` sorts the list: records; what is none goes to the dead letters; what belongs to another partition
   is sent there once; what was sent here and has been seen is dropped.
4. `Pipeline.step` judges the records and returns decisions.
5. The partition's owner turns decisions into control records and transitions; the outbox sends them in order.
   While the partition catches up it holds them back.
6. Some turns later a snapshot of the record's route is taken. It leaves once every control record and
   transition issued before it is acknowledged.
7. Once it is acknowledged too, the partition's mark says how far everything is covered.
8. Once the mark is acknowledged, the offset may be committed. A worker that takes over reads on from the
   mark; what a route's own snapshot covers beyond that is skipped.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any

import msgspec
from msgspec import structs

from detector.modes.decision import Decision
from detector.pipeline import Pipeline
from detector.service.decode import Decoded, Homes, Kind, decode_batch
from detector.service.desk import Desk
from detector.service.logs import logger
from detector.service.marks import Covered, Mark, Origins, Snapshots
from detector.service.metrics import Metrics
from detector.service.outbox import Outbox
from detector.service.ownership import Phase
from detector.service.refused import Refused
from detector.service.snapshots import Pace, SnapshotWriter, Turn, breathe
from topics.telemetry import Evaluation, TelemetryRecord

TELEMETRY = "telemetry"
EVALUATIONS = "evaluations"
INPUTS = (TELEMETRY, EVALUATIONS)
_KINDS: dict[str, Kind[Any]] = {TELEMETRY: Kind(TelemetryRecord), EVALUATIONS: Kind(Evaluation)}
_CHUNK = 512  # records between two looks at the clock: a few milliseconds of work
_TURN_S = 0.005
_MARK_EVERY_S = 0.5
CUT_OFF_S = 5.0  # a fetch answers twice a second where the broker is there
_ORIGINS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class _Taken:
    """Snapshots of one turn, kept until the control message `after` is acknowledged."""

    after: int
    routes: list[tuple[str, bytes]]
    covers: dict[str, int]
    uncovered: dict[str, int]


class PartitionWorker:
    """State of one assignment of one partition; a new assignment makes a new one.

    Attributes:
        position: per input: next offset to be judged.
        committable: per input: offset that acknowledged snapshots and their mark cover.
        catching_up: decisions are held back until the end asked for is passed.
    """

    def __init__(
        self,
        partition: int,
        pipeline: Pipeline,
        *,
        desk: Desk,
        homes: Homes,
        refused: Refused,
        control: Outbox,
        bulk: Outbox,
        writer: SnapshotWriter,
        metrics: Metrics,
        period_s: float,
        clock: Callable[[], float],
        ask_ends: Callable[[int], Any],
    ) -> None:
        self.partition = partition
        self.pipeline = pipeline
        self.position: dict[str, int] = {}
        self.committable: dict[str, int] = {}
        self.catching_up = True
        self.closed = False
        self.cut_off = False
        self._desk = desk
        self._homes = homes
        self._refused = refused
        self._control = control
        self._bulk = bulk
        self._writer = writer
        self._metrics = metrics
        self._clock = clock
        self._ask_ends = ask_ends
        self._log = logger(partition=partition)
        self._open = asyncio.Event()
        self._restored = False
        self._ends: dict[str, int] = {}
        self._pace = Pace(period_s)
        self._covered = Covered({})
        self._held: deque[_Taken] = deque()
        self._origins = {name: Origins({}) for name in INPUTS}
        self._origin_of: dict[int, str] = {}
        self._since = 0
        self._mark: Mark | None = None
        self._marked_at = 0.0
        self._progress = False
        self._counts: dict[str, int] = {}

    # Restoring and opening.

    async def restore(self, found: Snapshots, starts: Mapping[str, int], ends: Mapping[str, int]) -> None:
        """Take over what the snapshots hold; `starts`: where to read on, `ends`: what to catch up with."""
        self.position = dict(starts)
        self._ends = dict(ends)
        self._since = found.end
        self._covered = Covered(starts)
        if found.mark is not None:
            self._counts = {
                name: found.mark.counts.get(name, 0)
                for name in ("malformed", "rekeyed", "repeats", "discarded")
            }
            for name in INPUTS:
                own = self._refused.topic(name) + "/"
                self._origins[name] = Origins(
                    {key: offset for key, offset in found.mark.origins.items() if key.startswith(own)}
                )
        turn = Turn(_TURN_S)
        for key, data in found.routes.items():
            try:
                usable = self.pipeline.restore(data) is not None
            except (ValueError, KeyError, TypeError, msgspec.MsgspecError):
                usable = False
            if not usable:
                self._count("discarded", 1)
                self._metrics.discarded.inc()
                self._log.error("snapshot_unusable", route=key.decode("utf-8", "replace"), bytes=len(data))
            if turn.over():
                await breathe()
                turn = Turn(_TURN_S)
        self._restored = True
        self._desk.restored(self.partition, self.pipeline.judged())
        self.look()

    def look(self) -> None:
        """See whether records may be judged: restored, claimed, not closed."""
        may = self._restored and not self.closed and self._desk.phase(self.partition) is Phase.OWNING
        if may and not self._open.is_set():
            self._open.set()
            self._send_mark(self._clock())
            self._see_whether_caught_up()
        elif not may and not self.closed:
            self._open.clear()

    @property
    def ready(self) -> bool:
        """Whether it judges and has caught up."""
        return self._open.is_set() and not self.closed and not self.catching_up

    def close(self) -> None:
        """Judge nothing more, and let go whoever waits."""
        self.closed = True
        self._open.set()

    # Judging.

    async def take(self, name: str, fetched: Sequence[Any]) -> None:
        """Judge a fetched list of one input; returns when it is judged, or when the partition is gone."""
        started = perf_counter()
        turn = Turn(_TURN_S)
        for first in range(0, len(fetched), _CHUNK):
            while not self._open.is_set():
                await self._open.wait()
            if self.cut_off and not self.closed:
                await self._connected_again()
            if self.closed:
                return
            self._judge(name, fetched[first : first + _CHUNK])
            if turn.over():
                await breathe()
                turn = Turn(_TURN_S)
        self._metrics.records.labels(name).inc(len(fetched))
        self._metrics.batch.observe(perf_counter() - started)
        await self._control.room()
        await self._bulk.room()

    def _judge(self, name: str, fetched: Sequence[Any]) -> None:
        expected = self.position.get(name, 0)
        if fetched[0].offset < expected:
            fetched = [raw for raw in fetched if raw.offset >= expected]
            if not fetched:
                return
        decoded: Decoded[Any] = decode_batch(
            fetched,
            _KINDS[name],
            partition=self.partition,
            homes=self._homes,
            origins=self._origins[name],
            now=self._clock(),
        )
        if decoded.bad or decoded.strays or decoded.repeats or decoded.origins:
            self._set_apart(name, decoded)
        step = self.pipeline.step if name == TELEMETRY else self.pipeline.step_evaluations
        decisions = step(decoded.records, decoded.offsets, decoded.arrivals)
        self.position[name] = fetched[-1].offset + 1
        self._progress = True
        if decisions:
            self._decided(decisions)
        if self.catching_up:
            self._see_whether_caught_up()

    def _set_apart(self, name: str, decoded: Decoded[Any]) -> None:
        for raw, error in decoded.bad:
            self._refused.dead_letter(self.partition, name, raw, error, self._clock())
        for raw, route, home in decoded.strays:
            self._refused.rekey(self.partition, name, raw, route, home)
        self._count("malformed", len(decoded.bad))
        self._count("rekeyed", len(decoded.strays))
        self._count("repeats", decoded.repeats)
        self._origin_of |= decoded.origins
        while len(self._origin_of) > _ORIGINS_KEPT:
            del self._origin_of[next(iter(self._origin_of))]

    def _decided(self, decisions: list[Decision]) -> None:
        named = [self._with_origin(decision) for decision in decisions]
        for decision in named:
            self._metrics.decisions.labels(decision.kind, decision.mode, decision.disposition).inc()
            self._log.info(
                "decision",
                kind=decision.kind,
                scope=decision.scope,
                mode=decision.mode,
                state=decision.state,
                transition=decision.transition,
                disposition=decision.disposition,
                catching_up=self.catching_up,
                reason=decision.reason,
            )
        self._desk.decided(self.partition, named)

    def _with_origin(self, decision: Decision) -> Decision:
        origin = self._origin_of.get(decision.evidence.offset)
        if not origin:
            return decision
        return replace(decision, evidence=structs.replace(decision.evidence, origin=origin))

    # Time.

    async def tick(self, seen: Mapping[str, tuple[int | None, float | None]], now: float) -> None:
        """Advance time while nothing is left to read, and renew the lease while this loop gets on.

        Args:
            seen: per input: end offset that the last fetch brought, and when (Unix s).
            now: wall clock, Unix s.
        """
        if self.closed:
            return
        polled = [at for _, at in seen.values() if at is not None]
        reached = min(polled) if len(polled) == len(INPUTS) else None
        fresh = reached is not None and now - reached < CUT_OFF_S
        drained = fresh and all(
            end is not None and self.position.get(name, 0) >= end for name, (end, _) in seen.items()
        )
        if drained:
            self.cut_off = False
        elif reached is not None and not fresh:
            self.cut_off = True
        if self._open.is_set() and drained and reached is not None:
            if self.catching_up:
                self._see_whether_caught_up()
            else:
                await self._advance(min(now, reached))
        if drained or self._progress or not self._open.is_set():
            self._progress = False
            self._desk.tick(self.partition)

    async def _advance(self, now: float) -> None:
        turn = Turn(_TURN_S)
        for decisions in self.pipeline.ticks(now):
            if decisions:
                self._decided(decisions)
            if turn.over():
                await breathe()
                if self.closed or not self._open.is_set():
                    return
                turn = Turn(_TURN_S)

    def _see_whether_caught_up(self) -> None:
        if self.catching_up and all(self.position.get(name, 0) >= end for name, end in self._ends.items()):
            self.catching_up = False
            self._log.info("caught_up", position=self.position)
            self._desk.reached_now(self.partition)

    async def _connected_again(self) -> None:
        """The broker was away: hold decisions back until what is there now has been read."""
        self._desk.fell_behind(self.partition)
        self.catching_up = True
        ends = await self._ask_ends(self.partition)
        if ends is not None:
            self._ends = ends
            self.cut_off = False
            self._log.warning("connected_again", position=self.position, ends=ends)

    # Covering.

    def snapshot_turn(self, elapsed_s: float, *, hurry: bool = False) -> None:
        """Take snapshots, send those whose turn has come, and the mark; 2 ms at most, unless in a hurry."""
        if not self._restored or self._desk.phase(self.partition) is not Phase.OWNING:
            return
        self._covered.acknowledge(self._bulk.acked_through)
        dirty = self.pipeline.dirty()
        self._pace.elapse(elapsed_s, len(dirty))
        turn = Turn()
        taken: list[tuple[str, bytes]] = []
        for route in dirty:
            if not hurry and (turn.over() or not self._pace.allowed()):
                break
            data = self.pipeline.snapshot(route)
            self._pace.took(len(data))
            taken.append((route, data))
        if taken:
            self._held.append(_Taken(self._control.last, taken, dict(self.position), self._uncovered()))
        epoch = self._desk.epoch(self.partition)
        while self._held and self._held[0].after <= self._control.acked_through:
            group = self._held.popleft()
            for route, data in group.routes:
                number = self._writer.send_route(self.partition, route, data, epoch, group.covers)
            self._covered.took(number, group.uncovered)
        if not self._held and not self._covered.waiting:
            self._covered.advance(self._uncovered())
        now = self._clock()
        if hurry or now - self._marked_at >= _MARK_EVERY_S:
            self._send_mark(now)

    def _uncovered(self) -> dict[str, int]:
        first = self.pipeline.first_uncovered()
        return {
            name: min(
                position,
                first.get(name, position),
                self._refused.first_pending(self.partition, name, position),
            )
            for name, position in self.position.items()
        }

    def _send_mark(self, now: float) -> None:
        complete = not self._held and not self._covered.waiting and self._covered.acked == self.position
        covered = dict(self._covered.acked)
        origins: dict[str, int] = {}
        for name in INPUTS:
            origins |= self._origins[name].as_of(covered.get(name, 0))
        mark = Mark(
            partition=self.partition,
            owner=self._desk.owner_id,
            epoch=self._desk.epoch(self.partition),
            issued_at=now,
            since=self._since,
            covered=covered,
            position=dict(self.position),
            complete=complete,
            counts=self.counts(),
            armed=self.pipeline.armed(),
            origins=origins,
        )
        self._marked_at = now
        if self._mark is not None and structs.replace(mark, issued_at=self._mark.issued_at) == self._mark:
            return
        self._mark = mark
        self._writer.send_mark(mark, on_ack=lambda: self.committable.update(covered))

    def counts(self) -> dict[str, int]:
        """The pipeline's counts and the shell's own, since the partition's beginning."""
        own = self.pipeline.counts
        return asdict(own) | self._counts

    def _count(self, name: str, number: int) -> None:
        if number:
            self._counts[name] = self._counts.get(name, 0) + number
            counter = {
                "malformed": self._metrics.malformed.labels("all"),
                "rekeyed": self._metrics.rekeyed,
                "repeats": self._metrics.repeats,
            }.get(name)
            if counter is not None:
                counter.inc(number)

    async def finish(self) -> None:
        """Hand over: everything judged is covered and marked before this returns."""
        self.close()
        if self._desk.phase(self.partition) is not Phase.OWNING or not self._restored:
            return
        self.snapshot_turn(0.0, hurry=True)
        await self._control.acked(self._control.last)
        self.snapshot_turn(0.0, hurry=True)
        await self._bulk.acked(self._bulk.last)
        self.snapshot_turn(0.0, hurry=True)
        await self._bulk.acked(self._bulk.last)
