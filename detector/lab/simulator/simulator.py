"""Routes side by side, one block of time after the other, and the truth about what was wrong with them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import merge

import numpy as np

from detector.lab.simulator.calls import Calls
from detector.lab.simulator.diversion import Diversion
from detector.lab.simulator.faults import KINDS, LINGERING, Active, Fault, Incident
from detector.lab.simulator.records import Collector
from detector.lab.simulator.route import Route
from detector.lab.simulator.scenario import Scenario
from topics.scope import scope_of
from topics.telemetry import Evaluation, TelemetryRecord

_NOBODY: Mapping[str, Diversion] = {}


@dataclass(frozen=True, slots=True)
class Block:
    """What ended, or was judged, in one block of time.

    Attributes:
        start, end: Unix seconds; the block holds [start, end).
        records: telemetry, in the order in which calls ended. Their `event_time` is in that order too,
            unless a clock is off.
        evaluations: verdicts made in the block, in time order.
        calls: by route, the whole truth about the calls that ended, lost ones included; columns as in CALL.
    """

    start: float
    end: float
    records: list[TelemetryRecord]
    evaluations: list[Evaluation]
    calls: dict[str, Calls]


class Simulator:
    """Runs a scenario block by block; what the gateways divert can change from one block to the next.

    Equal scenarios and seeds give equal streams. Arrivals, questions and all lots that calls draw are the
    same whatever is diverted; what changes is who answers, and how busy the engines are.

    Args:
        scenario: what happens.
        seed: of everything that is drawn.

    Attributes:
        incidents: what is really wrong, oldest first; ends and counts follow the stream as it is read.
        transients: what only looks like it.
        now: Unix seconds; everything before has been given out.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.now = scenario.start
        self.incidents: list[Incident] = []
        self.transients: list[Incident] = []
        self._routes: dict[str, Route] = {}
        self._collectors: dict[str, Collector] = {}
        self._active: dict[str, list[Active]] = {name: [] for name in scenario.routes}
        self._late: list[Evaluation] = []
        for index, fault in enumerate(scenario.faults):
            self._plan(index, fault)
        self.incidents.sort(key=lambda each: each.start)
        profile = scenario.measured
        # One stream of lots per route and purpose: a route does not depend on its neighbours.
        for name, child in zip(
            scenario.routes, np.random.SeedSequence(seed).spawn(len(scenario.routes)), strict=True
        ):
            of_route, of_collector = child.spawn(2)
            names = [f"{name}-{n}" for n in range(scenario.deployments)]
            route = Route(
                name,
                scenario.traffic,
                profile,
                calls_per_s=scenario.calls_per_s,
                deployments=names,
                start=scenario.start,
                faults=self._active[name],
                seed=of_route,
            )
            self._routes[name] = route
            self._collectors[name] = Collector(
                name,
                names,
                scenario.traffic.tenants,
                route.gateway.fallbacks,
                profile,
                np.random.default_rng(of_collector),
            )

    def step(self, diversions: Mapping[str, Diversion] = _NOBODY) -> Block:
        """Advance by one block (`scenario.block_s`).

        Args:
            diversions: by scope, what the gateways do with the calls that arrive in this block; scopes that
                are not named go to the primary.
        """
        start, end = self.now, self.now + self.scenario.block_s
        calls = {name: route.block(start, end, diversions) for name, route in self._routes.items()}
        records: list[list[TelemetryRecord]] = []
        for name, ended in calls.items():
            self._note(name, ended)
            records.append(self._collectors[name].records(ended))
            self._late += self._collectors[name].evaluations(ended)
        self.now = end
        return Block(start, end, self._merged(calls, records), self._due(end), calls)

    def run(self) -> Iterator[Block]:
        """The rest of the scenario with nothing diverted."""
        while self.now < self.scenario.end:
            yield self.step()

    def _merged(self, calls: dict[str, Calls], records: list[list[TelemetryRecord]]) -> list[TelemetryRecord]:
        if len(records) == 1:
            return records[0]
        # By the true time: a clock that is off must not change the order.
        done = [each["done"][~each["lost"]].tolist() for each in calls.values()]
        order = [list(zip(times, rows, strict=True)) for times, rows in zip(done, records, strict=True)]
        return [record for _, record in merge(*order, key=lambda pair: pair[0])]

    def _due(self, end: float) -> list[Evaluation]:
        if not self._late:
            return []
        due = sorted((each for each in self._late if each.event_time < end), key=lambda each: each.event_time)
        self._late = [each for each in self._late if each.event_time >= end]
        return due

    def _plan(self, index: int, fault: Fault) -> None:
        kind = KINDS[fault.kind]
        scenario = self.scenario
        wanted = fault.route if fault.route is not None else ("*" if kind.everywhere else "")
        routes = scenario.routes if wanted == "*" else (wanted or scenario.routes[0],)
        deployment = kind.deployment if fault.deployment is None else fault.deployment
        if scenario.deployments < 2:
            deployment = -1
        for name in routes:
            scope = scope_of(name, f"{name}-{deployment}" if deployment >= 0 else "")
            labels = [
                Incident(
                    scope=scope,
                    mode=kind.mode or fault.kind,
                    kind=fault.kind,
                    start=scenario.start + start,
                    end=min(scenario.start + end, scenario.end),
                )
                for start, end in fault.strikes()
                if start < scenario.duration_s
            ]
            if not labels:
                continue
            size = kind.size if fault.size is None else fault.size
            self._active[name].append(Active(fault.kind, size, deployment, np.uint64(1 << index), labels))
            (self.incidents if kind.mode else self.transients).extend(labels)

    def _note(self, name: str, calls: Calls) -> None:
        """Count the calls that each fault had a hand in, for the strike under which they arrived."""
        if not calls["affected"].any():
            return
        for fault in self._active[name]:
            harmed = calls[(calls["affected"] & fault.bit) != 0]
            if not len(harmed):
                continue
            # What waits in the queue that an overload left behind has reached the engine after its end.
            moment = (
                harmed["ready"]
                if fault.kind in LINGERING or fault.kind == "hardware_throttling"
                else harmed["arrival"]
            )
            which = np.searchsorted([each.start for each in fault.incidents], moment, side="right") - 1
            for index in np.unique(which).tolist():
                label, mine = fault.incidents[max(index, 0)], harmed[which == index]
                label.affected += len(mine)
                label.end = max(label.end, float(mine["done"].max()))
