"""The whole judgement of one partition: records in, decisions out. Pure: time comes with the data.

    step:  group by route -> skip what a snapshot covers -> clamp the future -> segments
           -> sequential judges, windows -> state machine -> decisions
    tick:  the same without records, once everything that came before `now` is in

Everything is kept per route, so that a replay of a file, eight partitions and one worker or three
come to the same decisions.
"""

import dataclasses
from collections.abc import Callable, Container, Iterable, Iterator, KeysView, Mapping, Sequence
from functools import partial
from operator import sub
from typing import Any

import msgspec

from detector.contract.model import Contract
from detector.modes.counts import Counts, armed_shares
from detector.modes.decision import Decision
from detector.modes.forgotten import Forgotten
from detector.modes.plan import Caps, Plan
from detector.modes.route import RouteJudge
from detector.modes.silence import CommonSilence
from detector.modes.verdicts import believed
from detector.windows.columns import Calls, Table
from detector.windows.held import Held
from detector.windows.inbox import MOST
from detector.windows.put_off import put_off
from detector.windows.watermark import FUTURE_S
from topics.control import Override
from topics.scope import split_scope
from topics.telemetry import Evaluation, TelemetryRecord

__all__ = ["Caps", "Counts", "Decision", "Pipeline"]

_VERSION = 9


class Pipeline:
    """Judge of one partition.

    Args:
        contract: what to watch and what to do.
        partition: which partition's records these are; goes into decisions and evidence.
        topic: where telemetry comes from, for the evidence; `evaluations_topic` likewise.
        caps: on state.
        on_failure: told of a route whose judgement failed, by an error of ours, and by what; that route then
            begins anew, and its neighbours are judged on. `*`: a batch as a whole. None: it is raised.
    """

    def __init__(
        self,
        contract: Contract,
        *,
        partition: int = 0,
        topic: str = "llm.telemetry",
        evaluations_topic: str = "llm.evaluations",
        caps: Caps | None = None,
        on_failure: Callable[[str, Exception], None] | None = None,
    ) -> None:
        self._plan = Plan(contract, partition, (topic, evaluations_topic))
        self._caps = caps or Caps()
        self._routes: dict[str, RouteJudge] = {}
        # First offset of each route and topic that no snapshot covers yet; None: changed by time alone.
        self._dirty: dict[str, list[int | None]] = {}
        self._skipped = self._evicted = 0
        self._restored_to = 0  # routes that were restored may hold records before this offset
        self._gone = Counts()
        self._forgotten = Forgotten()
        self._on_failure = on_failure
        self._owed: list[Decision] = []  # what came of taking snapshots; only of failures
        self._silence = CommonSilence(contract, partition)
        self._held = Held()

    def step(
        self, records: Sequence[TelemetryRecord], offsets: Sequence[int], arrivals: Sequence[float]
    ) -> list[Decision]:
        """Judge telemetry in log order; all of it, see `take`.

        Args:
            records: decoded records.
            offsets: their offsets (row indices in files), ascending.
            arrivals: when each arrived, Unix seconds; an event time is believed up to 5 s past it.
        """
        decisions = self.take(records, offsets, arrivals)
        while self.held:
            decisions += self.settle()
        return decisions

    def take(
        self, records: Sequence[TelemetryRecord], offsets: Sequence[int], arrivals: Sequence[float]
    ) -> list[Decision]:
        """Judge what may raise an alarm at once, and hold what only lets panes close; as for `step`."""
        if not records:
            return []
        if offsets[0] < self._restored_to:
            records, offsets, arrivals = self._uncovered(records, offsets, arrivals)
            if not records:
                return []
        table = self._plan.columns.read(records)
        judges = self._present(table.grouped()[0], offsets[0])
        if judges is None:
            half = len(records) // 2
            first = self.take(records[:half], offsets[:half], arrivals[:half])
            return first + self.take(records[half:], offsets[half:], arrivals[half:])
        # Seldom: so it is asked of the whole batch first.
        if table.newest() > min(arrivals) + FUTURE_S and max(map(sub, table.times, arrivals)) > FUTURE_S:
            self._clamp(table, arrivals)
        inboxes = {route: judge.inbox for route, judge in judges.items()}
        suspected = self._suspected(table, judges)
        left = put_off(table, offsets, inboxes, self._plan.columns.layout)
        if self._plan.joins_verdicts:
            fed = {position for positions, _ in left.values() for position in positions}
            for position, record in enumerate(records):
                if position not in fed:
                    judges[record.route].remember((record,))
        decisions: list[Decision] = []
        for route, (positions, rows) in left.items():
            mine = Calls([records[i] for i in positions], rows, [offsets[i] for i in positions])
            if route in suspected or not inboxes[route].calm:
                mine = self._held.take(route, mine) or mine
                decisions += self._safely(judges[route], partial(judges[route].feed, mine))
            else:
                self._held.add(route, mine)
        return decisions

    def _suspected(self, table: Table, judges: Mapping[str, RouteJudge]) -> set[str]:
        try:
            return self._plan.suspected(table, judges)
        except Exception as error:
            if self._on_failure is None:
                raise
            self._on_failure("*", error)
        for judge in judges.values():  # each by itself then, and the one that fails begins anew
            judge.inbox.shut()
        return set(judges)

    @property
    def held(self) -> int:
        """Calls that wait for `settle`."""
        return self._held.count

    def settle(self, route: str = "") -> list[Decision]:
        """Judge the calls held on a route, by default the one that has waited longest."""
        name = route or self._held.first()
        calls = self._held.take(name)
        if calls is None:
            return []
        judge = self._routes[name]
        return self._safely(judge, partial(judge.feed, calls))

    def _safely(self, judge: RouteJudge, work: Callable[[], list[Decision]]) -> list[Decision]:
        try:
            return work()
        except Exception as error:
            return self._begin_anew(judge, error)

    def _begin_anew(self, judge: RouteJudge, error: Exception) -> list[Decision]:
        """Let go of a route's state after an error of ours, which must not stop all others for ever."""
        if self._on_failure is None:
            raise error
        self._on_failure(judge.route, error)
        fresh = self._routes[judge.route] = RouteJudge(self._plan, judge.route)
        self._dirty.setdefault(judge.route, [None, None])
        return fresh.instead_of(judge)

    def step_evaluations(
        self, evaluations: Sequence[Evaluation], offsets: Sequence[int], arrivals: Sequence[float]
    ) -> list[Decision]:
        """Judge verdicts that came later than their calls; arguments as for `step`."""
        groups: dict[str, list[int]] = {}
        for position, evaluation in enumerate(evaluations):
            groups.setdefault(evaluation.route, []).append(position)
        timely = [believed(each, arrival) for each, arrival in zip(evaluations, arrivals, strict=True)]
        decisions: list[Decision] = []
        for route, positions in groups.items():
            decisions += self.settle(route)
            judge = self._routes.pop(route, None) or self._meet(route)
            self._routes[route] = judge
            places = [offsets[i] for i in positions]
            fresh = sum(offset < judge.covers[1] for offset in places)
            self._skipped += fresh
            if fresh == len(places):
                continue
            self._touch(judge, 1, places[fresh])
            mine = [timely[i] for i in positions[fresh:]]
            judge.clamped += sum(timely[i] is not evaluations[i] for i in positions[fresh:])
            decisions += self._safely(judge, partial(judge.feed_evaluations, mine, places[fresh:]))
        return decisions

    def tick(self, now: float, *, ended: bool = False) -> list[Decision]:
        """Advance every route's time to `now`, Unix seconds; only while the partition is drained.

        `ended`: there is no more telemetry, so that its absence tells nothing.
        """
        return [decision for decisions in self.ticks(now, ended=ended) for decision in decisions]

    def ticks(self, now: float, *, ended: bool = False) -> Iterator[list[Decision]]:
        """`tick` route by route, so that a caller can let others work in between."""
        owed, self._owed = self._owed, []
        yield owed
        while self.held:
            yield self.settle()
        if not ended and (said := self._silence.look(now, self._routes.values())):
            self._dirty.setdefault(next(reversed(self._routes)), [None, None])  # one snapshot will tell of it
            yield said
        hushed = ended or self._silence.open
        for route, judge in list(self._routes.items()):
            # The caller may have let it go, or given it to another judge, since.
            due = judge.overdue(now, together=hushed)
            if self._routes.get(route) is not judge or not due:
                continue
            if route in self._held:  # taken between two turns of ours
                yield self.settle(route)
                judge = self._routes[route]
            decisions = self._safely(judge, partial(judge.tick, now, together=hushed))
            if decisions:
                self._dirty.setdefault(route, [None, None])
            yield decisions

    def accept(self, order: Override) -> list[Decision]:
        """Take the drifts that a scope shows for its new normal; done once per order, however often told."""
        judge = self._routes.get(split_scope(order.scope)[0])
        if judge is None or order.issued_at <= judge.machine.status.accepted_at:
            return []
        self._dirty.setdefault(judge.route, [None, None])
        held = self.settle(judge.route)
        judge = self._routes[judge.route]
        return held + self._safely(judge, partial(judge.accept, order))

    def _present(self, names: Sequence[str], offset: int) -> dict[str, RouteJudge] | None:
        """The judges of the routes of a batch from `offset` on, now those seen last; None: too many."""
        found: dict[str, RouteJudge] = {}
        new: list[str] = []
        routes, dirty = self._routes, self._dirty
        for name in names:
            judge = routes.pop(name, None)
            if judge is None:
                new.append(name)
                continue
            routes[name] = found[name] = judge
            first = dirty.get(name)
            if first is None:
                dirty[name] = [offset, None]
            elif first[0] is None:
                first[0] = offset
            inbox = judge.inbox
            if inbox.laid + len(inbox.rows) > MOST:
                inbox.shut()  # what comes is held with what waits, and judged with it soon
        if new:
            if len(found) + len(new) > self._caps.routes and len(names) > 1:
                return None
            for name in new:
                found[name] = self._meet(name, found)
                self._touch(found[name], 0, offset)
        return found

    def _meet(self, route: str, here: Container[str] = ()) -> RouteJudge:
        """A judge for a route that has none, made room for; those of `here` are not forgotten."""
        if len(self._routes) >= self._caps.routes:
            self._evict(here)
        judge = self._routes[route] = RouteJudge(self._plan, route)
        self._forgotten.recall(judge)
        return judge

    def _evict(self, here: Container[str] = ()) -> None:
        """Forget the least recently seen route that has nothing open and is not among `here`."""
        for route, judge in self._routes.items():
            if not judge.open and route not in here and route not in self._held:
                self._gone.add(judge)
                self._evicted += 1
                self._forgotten.add(judge)
                del self._routes[route]
                self._plan.panic.forget(judge.machine.scope)
                self._dirty.pop(route, None)
                return

    def _uncovered(
        self, records: Sequence[TelemetryRecord], offsets: Sequence[int], arrivals: Sequence[float]
    ) -> tuple[Sequence[TelemetryRecord], Sequence[int], Sequence[float]]:
        """Leave out the records that their route's restored state holds already."""
        kept = [
            i
            for i, (record, offset) in enumerate(zip(records, offsets, strict=True))
            if record.route not in self._routes or offset >= self._routes[record.route].covers[0]
        ]
        self._skipped += len(records) - len(kept)
        return [records[i] for i in kept], [offsets[i] for i in kept], [arrivals[i] for i in kept]

    def _clamp(self, table: Table, arrivals: Sequence[float]) -> None:
        """Believe event times only so far ahead of their arrival."""
        for route, time, arrival in zip(table.routes, table.times, arrivals, strict=True):
            self._routes[route].clamped += time > arrival + FUTURE_S
        table.clamp(arrival + FUTURE_S for arrival in arrivals)

    def _touch(self, judge: RouteJudge, kind: int, offset: int) -> None:
        first = self._dirty.setdefault(judge.route, [None, None])
        if first[kind] is None:
            first[kind] = offset

    def judged(self) -> Iterable[Decision]:
        """Judged state of every scope that ever changed, as decisions of kind `revised`."""
        for judge in self._routes.values():
            for machine in (judge.machine, *(each.machine for each in judge.deployments)):
                if machine.status.transition:
                    yield machine.present(machine.status.since)

    def dirty(self) -> list[str]:
        """Routes that have changed since their last snapshot, the longest waiting first."""
        # One on which calls are held is left out: a snapshot would say that it covers them.
        return [route for route in self._dirty if route not in self._held] if self.held else list(self._dirty)

    def first_uncovered(self) -> dict[str, int]:
        """Least offset that no snapshot covers, for `telemetry` and `evaluations`; absent: none."""
        found: dict[str, int] = {}
        for kind, name in enumerate(("telemetry", "evaluations")):
            offsets = [first[kind] for first in self._dirty.values() if first[kind] is not None]
            if offsets:
                found[name] = min(offset for offset in offsets if offset is not None)
        return found

    def snapshot(self, route: str) -> bytes:
        """Whole state of a route (msgpack, well under 512 KiB); the route is clean from now on."""
        judge = self._routes[route]
        try:
            state = judge.state()
        except Exception as error:
            self._owed += self._begin_anew(judge, error)
            state = self._routes[route].state()
        self._dirty.pop(route, None)
        return msgspec.msgpack.encode({"version": _VERSION} | state)

    def take_evicted(self) -> list[str]:
        """Routes evicted since this was asked last: a snapshot of theirs is not to be restored any more."""
        return self._forgotten.take()

    @property
    def gone(self) -> Counts:
        """What evicted routes had counted, and how many they are: no snapshot tells it."""
        return dataclasses.replace(self._gone, evicted=self._evicted)

    def restore_gone(self, gone: Mapping[str, int]) -> None:
        """Take over what `gone` told, as a mapping; names that are missing count nothing."""
        self._gone = Counts(**{name: gone.get(name, 0) for name in Counts.__slots__})
        self._evicted = self._gone.evicted

    def restore(self, data: bytes) -> str | None:
        """Take over a route's snapshot; return its name, None if it is of another version and was left out.

        Of more routes than there is room for, those restored last stay.

        Raises:
            msgspec.DecodeError: not a snapshot.
        """
        state: dict[str, Any] = msgspec.msgpack.decode(data, strict=False)
        if state.get("version") != _VERSION:
            return None
        judge = RouteJudge(self._plan, state["route"])
        judge.load(state)
        if judge.route not in self._routes and len(self._routes) >= self._caps.routes:
            self._evict()
        self._routes[judge.route] = judge
        self._silence.recall(judge.common)
        self._restored_to = max(self._restored_to, judge.covers[0])
        return judge.route

    @property
    def routes(self) -> KeysView[str]:
        """Names of the routes held, least recently seen first."""
        return self._routes.keys()

    @property
    def contract(self) -> Contract:
        """What is judged by."""
        return self._plan.contract

    def route(self, name: str) -> RouteJudge:
        """The judge of a route that is held.

        Raises:
            KeyError: it is not.
        """
        return self._routes[name]

    @property
    def counts(self) -> Counts:
        """Totals so far."""
        total = dataclasses.replace(self._gone, skipped=self._skipped, evicted=self._evicted)
        for judge in self._routes.values():
            total.add(judge)
        return total

    def armed(self) -> dict[str, float]:
        """See `armed_shares`; a predicate for routes none of which is held is left out."""
        held, specs = self._routes, self._plan.contract.predicates
        here = [n for n, each in specs.items() if not each.routes or any(map(held.__contains__, each.routes))]
        return armed_shares(here, held.values())
