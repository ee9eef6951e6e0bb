"""How the routes held stand: a bounded summary, taken a few routes at a time. Pure."""

import math
from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from detector.modes.route import RouteJudge
from detector.modes.scope import LEARNT
from detector.modes.state import State
from detector.pipeline import Pipeline
from detector.predicates.base import Judge, Outcome

# What is worth a name first: breaches, then what is deaf for good, then what is deaf for now.
NAMED = ("breach", "unusable", "learning", "insufficient")
OUTCOMES = ("armed", *NAMED)
MOST_NAMES = 50
_EVERY_S = 2.0
_ROUTES_A_TURN = 64
_ASKED = 8  # routes a round


class Standing(msgspec.Struct, kw_only=True):
    """One predicate on the routes of one partition, or of several.

    Attributes:
        routes: per outcome (`armed`, `breach`, `unusable`, `learning`, `insufficient`): how many routes; an
            armed one would notice a breach and sees none.
        frozen: on how many of them its reference does not learn now, since something holds there.
        named: per outcome but `armed`: names of such routes, at most 50 in all.
        crept: on how many routes healthy traffic has slowly come to be another than was calibrated, or than
            it was in the first hour; `crept_named`: some of them.
        finds: least and greatest of the smallest changes that would be found on the routes looked at lately,
            a sample; a share of calls, or nats. Empty where none would be.
        drift: it is held to what was usual before, so that `detector accept` can end what it finds.
    """

    routes: dict[str, int] = {}
    named: dict[str, list[str]] = {}
    frozen: int = 0
    crept: int = 0
    crept_named: list[str] = []
    finds: list[float] = []
    drift: bool = False


def outcome_of(judge: Judge) -> str:
    """Where a judge stands, one of `OUTCOMES`."""
    said = judge.verdict.outcome
    if said is Outcome.UNUSABLE:
        return "unusable"
    if judge.latched:
        return "breach"
    if judge.armed:
        return "armed"
    return "learning" if said is Outcome.LEARNING else "insufficient"


def together(standings: Iterable[Standing]) -> Standing:
    """Several partitions' standings of one predicate as one."""
    whole, named = Standing(routes=dict.fromkeys(OUTCOMES, 0)), dict[str, list[str]]()
    for standing in standings:
        whole.frozen += standing.frozen
        whole.crept += standing.crept
        whole.drift |= standing.drift
        whole.crept_named = sorted({*whole.crept_named, *standing.crept_named})[:MOST_NAMES]
        whole.finds = [min(ends), max(ends)] if (ends := [*whole.finds, *standing.finds]) else []
        for outcome, number in standing.routes.items():
            whole.routes[outcome] = whole.routes.get(outcome, 0) + number
        for outcome, names in standing.named.items():
            named.setdefault(outcome, []).extend(names)
    whole.named = _bounded(named)
    return whole


def _bounded(named: dict[str, list[str]]) -> dict[str, list[str]]:
    left, kept = MOST_NAMES, {}
    for outcome in NAMED:
        if names := sorted(named.get(outcome, ()))[:left]:
            kept[outcome] = names
            left -= len(names)
    return kept


class Survey:
    """Goes over a pipeline's routes again and again.

    Attributes:
        found: per predicate, how it stood on the last whole round; empty before there was one.
        withheld: then, names of routes that the panic threshold kept on their primary, at most 50.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.found: dict[str, Standing] = {}
        self.withheld: list[str] = []
        self._pipeline = pipeline
        self._round: Iterator[None] | None = None
        self._began = -math.inf
        self._first = 0  # of the routes that are asked this time for what would be found on them
        self._finds: dict[str, deque[float]] = {}

    def turn(self, now: float) -> None:
        """Look at some dozens of routes, or wait for the next round; `now`: any clock, seconds."""
        if self._round is None:
            if 0 <= now - self._began < _EVERY_S:
                return
            self._began, self._round = now, self._look()
        for _ in range(_ROUTES_A_TURN):
            if next(self._round, self) is self:
                self._round = None
                return

    def _look(self) -> Iterator[None]:
        """One round, a step for each route; those that are forgotten meanwhile are left out."""
        pipeline = self._pipeline
        asked = range(self._first, self._first + _ASKED)
        self._first = asked.stop if asked.stop < len(pipeline.routes) else 0
        found = {
            name: Standing(routes=dict.fromkeys(OUTCOMES, 0), drift=spec.type in LEARNT)
            for name, spec in pipeline.contract.predicates.items()
        }
        withheld = []
        for number, route in enumerate(list(pipeline.routes)):
            if route in pipeline.routes:
                held = pipeline.route(route)
                for name, judge in held.judges.items():
                    _count(found[name], route, judge, frozen=held.frozen)
                if held.machine.status.state is State.WITHHELD:
                    withheld.append(route)
                if number in asked:
                    self._ask(held)
            yield
        for name, standing in found.items():
            standing.named = _bounded(standing.named)
            seen = self._finds.get(name)
            standing.finds = [min(seen), max(seen)] if seen else []
        self.found, self.withheld = found, sorted(withheld)[:MOST_NAMES]

    def _ask(self, held: RouteJudge) -> None:
        """See what would be found on a route at its present rate of calls; that takes a while to work out."""
        rate = held.probing.rate()
        for name, judge in held.judges.items() if rate else ():
            if judge.armed:
                finds = judge.finds((rate or 0.0) * held.probing.judged_share(name))
                if finds is not None:
                    self._finds.setdefault(name, deque(maxlen=MOST_NAMES)).append(finds)


def _count(standing: Standing, route: str, judge: Judge, *, frozen: bool) -> None:
    outcome = outcome_of(judge)
    standing.frozen += frozen and judge.spec.type == "divergence"
    standing.routes[outcome] += 1
    if outcome != "armed":
        names = standing.named.setdefault(outcome, [])
        if len(names) < MOST_NAMES:
            names.append(route)
    if judge.crept is not None:
        standing.crept += 1
        if len(standing.crept_named) < MOST_NAMES:
            standing.crept_named.append(route)
