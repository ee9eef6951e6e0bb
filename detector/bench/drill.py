"""A fire drill: spikes of every failure mode through a real broker, a real worker and a gateway that obeys.

Each mode that acts has a route of its own. What is judged before anything goes wrong has been sent
beforehand, with event times of its own. Then each route is well, fails, and is well again, and its
gateway's client does what it is told. A mode has passed if it was acted on with the fallbacks that the
matrix names, if the gateway knew within `monitoring_ms` of the record that crossed the line (of the first
call that lets the window close, for a window), and if the calls came back.
"""

import asyncio
import random
import time
from collections.abc import Container, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer

from detector.bench.place import BenchError, Place
from detector.bench.spikes import Caller, CannotDrillError
from detector.bench.worker import WorkerProcess
from detector.contract.model import Contract, Mode
from detector.gateway import GatewayClient
from detector.service import topics_admin
from detector.windows.paneclock import clock_of
from topics.codec import encode
from topics.control import ControlRecord
from topics.partitioner import partition_for
from topics.telemetry import Evaluation, TelemetryRecord

LIVE_PER_S = 50.0
WELL_S = 1.5
NAMED_S = 15.0  # after it was acted on, a cause is named or revised
BACK_S = 90.0
_SLACK_S = 10.0
_IN_FLIGHT = 5000


@dataclass(slots=True)
class Drilled:
    """How a mode fared.

    Attributes:
        mode: its name.
        predicate: whose evidence was acted on first; empty if none was.
        acted_as: the mode that was acted on first.
        delay_s: from the first call of the spike to the gateway.
        evidence_ms: from the record that crossed the line to the gateway; `budget_ms` is what it may take.
        back_s: from the spike's last call until all calls were the primary's again.
        ok: whether all was as it should be; `why` not.
    """

    mode: str
    predicate: str = ""
    acted_as: str = ""
    delay_s: float | None = None
    evidence_ms: float | None = None
    budget_ms: float = 0.0
    back_s: float | None = None
    ok: bool = False
    why: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """All modes that act, in the contract's order; `ok` if every one of them is."""

    modes: list[Drilled]
    ok: bool


class _Drill:
    """One mode on its route."""

    def __init__(self, contract: Contract, mode: Mode, caller: Caller) -> None:
        self.mode = mode
        self.caller = caller
        self.route = caller.route
        self._rule = contract.route_rule(self.route)
        self._contract = contract
        self._clock = clock_of(self.route, contract.defaults.lateness_s)
        self.found = Drilled(mode.name, budget_ms=self._rule.slo.monitoring_ms)
        self.told: list[tuple[float, ControlRecord]] = []
        self.sent: dict[int, float] = {}  # by offset, Unix seconds
        self._sent_at: list[float] = []

    def heard(self, record: ControlRecord) -> None:
        """The gateway was told something new of the route."""
        self.told.append((time.time(), record))

    @property
    def active(self) -> bool:
        """What it was told last."""
        return bool(self.told) and self.told[-1][1].state == "active"

    async def run(self, gateway: GatewayClient, to: "_Sender", *, within_s: float) -> Drilled:
        """Be well, fail until the mode is acted on and named, and be well again."""
        await self._play(gateway, to, WELL_S, spike=False)
        began = time.time()
        await self._play(gateway, to, within_s, spike=True, until=lambda: self.active)
        if not self.active:
            self.found.why.append(f"not acted on within {within_s:.0f} s")
            return self.found
        await self._play(gateway, to, NAMED_S, spike=True, until=self._named)
        ended = time.time()
        await self._play(gateway, to, BACK_S, spike=False, until=lambda: not self.active)
        self._judge(began, ended)
        return self.found

    def _named(self) -> bool:
        return any(self.mode.name in (record.mode, *record.modes) for _, record in self.told)

    async def _play(
        self, gateway: GatewayClient, to: "_Sender", seconds: float, *, spike: bool, until: Any = None
    ) -> None:
        due, end = time.monotonic(), time.monotonic() + seconds
        while time.monotonic() < end and not (until is not None and until()):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += 1 / LIVE_PER_S
            decision = gateway.decide(self.route)
            at = time.time()
            if decision.use_primary:
                call = self.caller.call(at, spike=spike, probe=decision.probe)
                verdicts = self.caller.verdicts(call, spike=spike)
            else:
                by = decision.fallbacks[0] if decision.fallbacks else "none"
                call, verdicts = self.caller.call(at, served_by=by), []
            self._sent_at.append(at)
            await to.send(call, verdicts, self.sent)

    def _judge(self, began: float, ended: float) -> None:
        found, why = self.found, self.found.why
        at, record = next((at, each) for at, each in self.told if each.state == "active")
        found.predicate, found.acted_as = record.evidence.predicate, record.mode
        found.delay_s = round(at - began, 3)
        found.evidence_ms = round((at - self._crossed(record)) * 1000, 1)
        if at < began:
            why.append("acted on before anything went wrong")
        if not self._named():
            why.append(f"acted on as {record.mode}")
        if found.evidence_ms > found.budget_ms:
            why.append(f"known after {found.evidence_ms:.0f} ms, monitoring_ms is {found.budget_ms:g}")
        if record.fallbacks != self._contract.fallbacks_for(record.mode, self.route):
            why.append(f"fallbacks {record.fallbacks} are not those of the matrix")
        back = next((at for at, each in self.told if at > ended and each.state == "inactive"), None)
        if back is None:
            why.append(f"not back within {BACK_S:.0f} s")
        else:
            found.back_s = round(back - ended, 1)
        found.ok = not why

    def _crossed(self, record: ControlRecord) -> float:
        """When the call was sent that could be decided on, Unix seconds."""
        evidence = record.evidence
        if evidence.window_s is None and evidence.offset in self.sent:
            return self.sent[evidence.offset]
        # A window is judged when its last pane closes: with the first call that is late enough for that.
        pane = int((evidence.event_time or 0.0) + self._clock.phase)
        known = self._clock.said_at(pane + 1)
        return next((at for at in self._sent_at if at >= known), known)


class _Sender:
    """Writes calls and verdicts under their routes."""

    def __init__(self, place: Place) -> None:
        self._producer = AIOKafkaProducer(**place.settings.client_options(), acks=1)
        self._telemetry, self._evaluations = place.names.telemetry.name, place.names.evaluations.name
        self._partitions = place.partitions

    async def __aenter__(self) -> "_Sender":
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def send(
        self, call: TelemetryRecord, verdicts: Sequence[Evaluation], sent: dict[int, float] | None = None
    ) -> None:
        """Send a call and its verdicts; `sent` gets the call's offset and when it was given to the client."""
        key = call.route.encode()
        partition = partition_for(key, self._partitions)
        now = time.time()
        future = await self._producer.send(self._telemetry, encode(call), key, partition=partition)
        if sent is not None:
            future.add_done_callback(lambda done: sent.setdefault(done.result().offset, now))
        for verdict in verdicts:
            await self._producer.send(self._evaluations, encode(verdict), key, partition=partition)

    async def flush(self) -> None:
        """Wait until all of it has been acknowledged."""
        await self._producer.flush()


async def drill(place: Place, contract: Contract) -> Report:
    """Drill every mode of a contract that acts.

    Args:
        place: a broker, and topics that nobody else uses; its contract file is the contract.
        contract: the same.

    Raises:
        BenchError: the worker ended.
    """
    drills, left = planned(contract)
    if not drills:
        raise BenchError("no mode of this contract acts")
    await topics_admin.prepare(place.settings.client_options(), place.names, data_partitions=place.partitions)
    async with AsyncExitStack() as stack:
        to = await stack.enter_async_context(_Sender(place))
        await _history(place, to, drills)
        worker = stack.enter_context(WorkerProcess(place, "drill"))
        await worker.ready()
        by_route = {each.route: each for each in drills}

        def changed(_: ControlRecord | None, after: ControlRecord | None) -> None:
            if after is not None and not after.deployment and after.route in by_route:
                by_route[after.route].heard(after)

        gateway = await stack.enter_async_context(
            GatewayClient(
                place.settings.bootstrap,
                "drill",
                topic_prefix=place.settings.topic_prefix,
                client_options=place.security,
                on_change=changed,
            )
        )
        for each in drills:
            place.say(f"{each.mode.name}: {', '.join(spec.name for spec in each.caller.specs)}")
            longest = max(
                (spec.window_s for spec in each.caller.specs if spec.type == "divergence"), default=0
            )
            await each.run(gateway, to, within_s=longest + each.mode.hold_s + _SLACK_S)
            worker.check(time.monotonic() + 1)
    order = list(contract.modes)
    found = sorted([each.found for each in drills] + left, key=lambda each: order.index(each.mode))
    return Report(found, all(each.ok for each in found))


def planned(contract: Contract) -> tuple[list[_Drill], list[Drilled]]:
    """What can be drilled, and what cannot, with the reason."""
    drills: list[_Drill] = []
    left: list[Drilled] = []
    for mode in contract.modes.values():
        if mode.acts:
            try:
                caller = _caller(contract, mode, {each.route for each in drills})
                drills.append(_Drill(contract, mode, caller))
            except CannotDrillError as error:
                left.append(Drilled(mode.name, why=[str(error)]))
    return drills, left


def _caller(contract: Contract, mode: Mode, taken: Container[str]) -> Caller:
    """On a route of the mode's own, or on one that its predicates are for and that no other mode has."""
    own = f"drill-{mode.name}"
    named = dict.fromkeys(route for name in mode.predicates for route in contract.predicates[name].routes)
    callers = [found for route in (own, *named) if (found := _try(contract, mode, route)) is not None]
    if not callers:
        return Caller(contract, mode, own)  # which says why there is none
    free = next((caller for caller in callers if caller.route not in taken), None)
    if free is None:
        raise CannotDrillError(f"its routes are taken by other modes: {', '.join(named)}")
    return free


def _try(contract: Contract, mode: Mode, route: str) -> Caller | None:
    with suppress(CannotDrillError):
        return Caller(contract, mode, route)
    return None


async def _history(place: Place, to: _Sender, drills: Sequence[_Drill]) -> None:
    """Send what the worker is to know of each route before: healthy calls up to now, in their order."""
    now = time.time()
    plan: list[tuple[float, _Drill]] = []
    draw = random.Random(1)
    for each in drills:
        lasts, per_s = each.caller.history_s, each.caller.history_per_s
        plan += [(now - lasts * draw.random(), each) for _ in range(int(lasts * per_s))]
    plan.sort(key=lambda item: item[0])
    place.say(
        f"{len(plan):,} healthy calls of {len(drills)} routes, {plan[-1][0] - plan[0][0]:,.0f} s of traffic"
    )
    for number, (at, each) in enumerate(plan):
        call = each.caller.call(at)
        await to.send(call, each.caller.verdicts(call))
        if number % _IN_FLIGHT == 0:
            await to.flush()
    await to.flush()
