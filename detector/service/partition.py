"""One partition of telemetry and evaluations: judging, catching up, covering.

The way of one record
---------------------
1. Threads of librdkafka's fetch; what has come of one input goes to its agent as one event, with a list of
   records for each partition.
2. For each list the agent calls `PartitionWorker.take`, which waits until the state is restored and the
   claim is read back.
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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import msgspec
from msgspec import structs

from detector.modes.decision import Decision
from detector.pipeline import Pipeline
from detector.service.cover import Cover
from detector.service.decode import Decoded, Homes, Kind, decode_batch
from detector.service.desk import Desk
from detector.service.logs import logger
from detector.service.marks import Snapshots
from detector.service.metrics import Metrics
from detector.service.outbox import Outbox
from detector.service.ownership import Phase
from detector.service.portion import Portion
from detector.service.refused import Refused
from detector.service.snapshots import Turn, breathe
from topics.telemetry import Evaluation, TelemetryRecord

TELEMETRY = "telemetry"
EVALUATIONS = "evaluations"
INPUTS = (TELEMETRY, EVALUATIONS)
_KINDS: dict[str, Kind[Any]] = {TELEMETRY: Kind(TelemetryRecord), EVALUATIONS: Kind(Evaluation)}
_JUDGE_S = 0.005
CUT_OFF_S = 5.0  # a fetch answers twice a second where the broker is there
_ORIGINS_KEPT = 10_000
_PASSED_S = 0.5
_HELD_MOST = 2000  # calls that can wait, and for how long, seconds
_HELD_S = 0.25
_ADVANCE_S = 0.5  # the heartbeat comes behind it
_OPENS_WITHIN_S = 60.0  # a restore is meant to take five
_SETTLE_S = 0.001  # for them at a time, where records wait too; as long as a spare turn of `Shell`


class TopicMadeAnewError(RuntimeError):
    """An input ends before what was read of it: it is another topic. All starts again, without its state."""


class PartitionWorker:
    """State of one assignment of one partition; a new assignment makes a new one.

    Attributes:
        cover: what is safe of it, and what may be committed.
        catching_up: decisions are held back until the end asked for is passed.
    """

    def __init__(
        self,
        partition: int,
        pipeline: Pipeline,
        cover: Cover,
        *,
        desk: Desk,
        homes: Homes,
        refused: Refused,
        outboxes: Sequence[Outbox],
        metrics: Metrics,
        clock: Callable[[], float],
        ask_ends: Callable[[int], Awaitable[dict[str, int] | None]],
    ) -> None:
        """Args: `outboxes`: judging waits for room in them; `ask_ends`: ends per input, None if not now."""
        self.partition = partition
        self.pipeline = pipeline
        self.cover = cover
        self.catching_up = True
        self.closed = False
        self.cut_off = False
        self._desk = desk
        self._homes = homes
        self._refused = refused
        self._outboxes = outboxes
        self._metrics = metrics
        self._clock = clock
        self._ask_ends = ask_ends
        self._log = logger(partition=partition)
        self._portion = Portion(_JUDGE_S)
        self._taken = {name: metrics.records.labels(name) for name in INPUTS}
        self._open = asyncio.Event()
        self._shut_at: float | None = None
        self._ends: dict[str, int] = {}
        self._origin_of: dict[tuple[str, int], str] = {}  # by topic and own offset
        self._progress = False
        self._moved_at: dict[str, float] = {}  # when the position was last moved, Unix s
        self._passed_at: float | None = None
        self._held_since: float | None = None
        self._accepts_done = 0

    @property
    def position(self) -> dict[str, int]:
        """Per input: next offset to be judged."""
        return self.cover.position

    # Restoring and opening.

    async def restore(self, found: Snapshots, starts: Mapping[str, int], ends: Mapping[str, int]) -> None:
        """Take over what the snapshots hold; `starts`: where to read on, `ends`: what to catch up with."""
        self.cover.restore(found, starts)
        # Ends that were asked for before lie before what is judged by now.
        self._moved_at = dict.fromkeys(starts, self._clock())
        self._ends = dict(ends)
        turn = Turn(_JUDGE_S)
        for key, data in found.routes.items():
            try:
                usable = self.pipeline.restore(data) is not None
            except (ValueError, KeyError, TypeError, msgspec.MsgspecError):
                usable = False
            if not usable:
                self._metrics.discarded.inc()
                self._log.error("snapshot_unusable", route=key.decode("utf-8", "replace"), bytes=len(data))
            if turn.over():
                await breathe()
                turn = Turn(_JUDGE_S)
        self.cover.restored = True
        self._desk.restored(self.partition, self.pipeline.judged())
        self.look()

    def look(self) -> None:
        """See whether records may be judged: restored, claimed, not closed."""
        may = self.cover.restored and not self.closed and self._desk.phase(self.partition) is Phase.OWNING
        if may and not self._open.is_set():
            self._open.set()
            self.cover.send_mark()
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
        turn = Turn(_JUDGE_S)
        done = 0
        while done < len(fetched):
            while not self._open.is_set():
                await self._open.wait()
            while self.cut_off and not self.closed:
                await self._connected_again()
            if self.closed:
                return
            some = fetched[done : done + self._portion.size]
            done += len(some)
            began = perf_counter()
            self._judge(name, some)
            self._portion.took(len(some), perf_counter() - began)
            # What can wait does not wait for ever, where there is never time to spare.
            if self._held_too_long():
                self.spare(Turn(_SETTLE_S))
            while self.pipeline.held > _HELD_MOST and self.spare(turn) and turn.over():
                await breathe()
                turn = Turn(_JUDGE_S)
            if turn.over():
                await breathe()
                turn = Turn(_JUDGE_S)
        self._taken[name].inc(len(fetched))
        self._metrics.batch.observe(perf_counter() - started)
        for outbox in self._outboxes:
            await outbox.room()

    def spare(self, turn: Turn) -> bool:
        """Judge some of what can wait, for a turn's time; whether there is more."""
        while self.pipeline.held and self._open.is_set() and not self.closed:
            decisions = self.pipeline.settle()
            if decisions:
                self._decided(decisions)
            if turn.over():
                break
        if not self.pipeline.held:
            self._held_since = None
        return bool(self.pipeline.held)

    def _held_too_long(self) -> bool:
        if not self.pipeline.held or self.closed or not self._open.is_set():
            self._held_since = None
            return False
        if self._held_since is None:
            self._held_since = perf_counter()
        return perf_counter() - self._held_since > _HELD_S

    def _judge(self, name: str, fetched: Sequence[Any]) -> None:
        expected = self.position.get(name, 0)
        if fetched[0].offset < expected:
            fetched = [raw for raw in fetched if raw.offset >= expected]
            if not fetched:
                return
        now = self._clock()
        decoded: Decoded[Any] = decode_batch(
            fetched,
            _KINDS[name],
            partition=self.partition,
            homes=self._homes,
            origins=self.cover.origins[name],
            now=now,
        )
        if decoded.bad or decoded.strays or decoded.repeats or decoded.origins:
            self._set_apart(name, decoded)
        step = self.pipeline.take if name == TELEMETRY else self.pipeline.step_evaluations
        decisions = step(decoded.records, decoded.offsets, decoded.arrivals)
        self._move(name, fetched[-1].offset + 1, now, len(fetched))
        self._progress = True
        if decisions:
            self._decided(decisions)
        if self.catching_up and self._passed_at is None and self._at_the_end():
            self._passed_at = self._clock()

    def _move(self, name: str, position: int, now: float, records: int) -> None:
        over = position - self.position.get(name, 0) - records
        self.position[name] = position
        self._moved_at[name] = now
        if over > 0:
            self._metrics.passed_over.labels(name).inc(over)

    def reached(self, name: str, end: int) -> None:
        """All before `end` is judged: what lies there and is no record of ours will never come."""
        if not self.closed and end > self.position.get(name, 0):
            self._move(name, end, self._clock(), 0)
            self._progress = True

    def _set_apart(self, name: str, decoded: Decoded[Any]) -> None:
        for raw, error in decoded.bad:
            self._refused.dead_letter(self.partition, name, raw, error, self._clock())
        for raw, route, home in decoded.strays:
            self._refused.rekey(self.partition, name, raw, route, home)
        self.cover.count(name, decoded)
        self._metrics.malformed.labels(name).inc(len(decoded.bad))
        self._metrics.rekeyed.inc(len(decoded.strays))
        self._metrics.repeats.inc(len(decoded.repeats))
        topic = self._refused.topic(name)
        self._origin_of |= {(topic, offset): origin for offset, origin in decoded.origins.items()}
        while len(self._origin_of) > _ORIGINS_KEPT:
            del self._origin_of[next(iter(self._origin_of))]

    def _decided(self, decisions: Sequence[Decision]) -> None:
        named = [self._with_origin(decision) for decision in decisions]
        self._desk.decided(self.partition, named)  # gateways first, our own log behind it
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

    def _with_origin(self, decision: Decision) -> Decision:
        origin = self._origin_of.get((decision.evidence.topic, decision.evidence.offset))
        if not origin:
            return decision
        return replace(decision, evidence=structs.replace(decision.evidence, origin=origin))

    # Time.

    async def tick(
        self,
        seen: Mapping[str, tuple[int | None, float | None]],
        now: float,
        lull: Callable[[], Awaitable[None]],
    ) -> None:
        """Advance time while nothing is left to read, and renew the lease while this loop gets on.

        Args:
            seen: per input: end offset that the last fetch brought, and when (Unix s).
            now: wall clock, Unix s.
            lull: waits until there is time for what is not urgent.
        """
        if self.closed:
            return
        polled = [at for _, at in seen.values() if at is not None]
        reached = min(polled) if len(polled) == len(INPUTS) else None
        fresh = reached is not None and now - reached < CUT_OFF_S
        drained = fresh and all(
            end is not None and self.position.get(name, 0) >= end for name, (end, _) in seen.items()
        )
        # An answer may name an end that lies before its own last records: the broker looks it up, then reads.
        # So only an answer from after they were judged tells of a topic that was made anew.
        if fresh and any(
            end is not None
            and at is not None
            and end < self.position.get(name, 0)
            and at > self._moved_at.get(name, 0.0)
            for name, (end, at) in seen.items()
        ):
            raise TopicMadeAnewError(f"partition {self.partition}: ends {seen} lie before {self.position}")
        if drained:
            self.cut_off = False
        elif reached is not None and not fresh:
            self.cut_off = True
        if self._open.is_set():
            if self._desk.log.accepts_read != self._accepts_done:
                self._accepts_done = self._desk.log.accepts_read
                for order in self._desk.accepted(self.partition):
                    self._decided(self.pipeline.accept(order))
            if drained and reached is not None:
                await self._advance(min(now, reached), lull)
        self._see_whether_caught_up(now, drained=drained)
        if drained or self._progress or self._opens_soon(now):
            self._progress = False
            self._desk.tick(self.partition)

    def _opens_soon(self, now: float) -> bool:
        """Whether it is restoring or reading its claim back; one that hangs renews nothing."""
        if self._open.is_set():
            self._shut_at = None
            return False
        self._shut_at = now if self._shut_at is None else self._shut_at
        return 0 <= now - self._shut_at < _OPENS_WITHIN_S

    async def _advance(self, now: float, lull: Callable[[], Awaitable[None]]) -> None:
        turn, whole = Turn(_SETTLE_S), Turn(_ADVANCE_S)
        for decisions in self.pipeline.ticks(now):
            if decisions:
                self._decided(decisions)
            if turn.over():
                await lull()
                if self.closed or not self._open.is_set():
                    return
                # Where records come faster than they are judged, what is left has time until the next tick.
                # But nothing is published before time has come to its end on all routes.
                if whole.over() and not self.catching_up:
                    return
                turn = Turn(_SETTLE_S)

    def _at_the_end(self) -> bool:
        return all(self.position.get(name, 0) >= end for name, end in self._ends.items())

    def _see_whether_caught_up(self, now: float, *, drained: bool) -> None:
        """Publish what holds at the end, with time brought up to now: a fault that only waits for it is over.

        Where records keep coming time comes with them, and half a second is long enough to wait.
        """
        if not (self.catching_up and self._open.is_set() and self._at_the_end()):
            return
        if drained or (self._passed_at is not None and now - self._passed_at > _PASSED_S):
            self._passed_at = None
            self.catching_up = False
            self._log.info("caught_up", position=self.position)
            self._desk.reached_now(self.partition)

    async def _connected_again(self) -> None:
        """The broker was away: hold decisions back until what is there now has been read."""
        self._desk.fell_behind(self.partition)
        self.catching_up = True
        self._passed_at = None
        ends = await self._ask_ends(self.partition)
        if ends is not None:
            self._ends = ends
            self.cut_off = False
            self._log.warning("connected_again", position=self.position, ends=ends)

    async def finish(self) -> None:
        """Hand over: everything judged is covered and marked before this returns."""
        while self.spare(Turn(_JUDGE_S)) and self._open.is_set() and not self.closed:
            await breathe()
        self.close()
        if self.cover.restored:
            await self.cover.finish()
