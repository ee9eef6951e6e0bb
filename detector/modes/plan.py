"""What all routes of a partition have in common, made once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Protocol

from detector.contract.model import Contract, PredicateSpec
from detector.modes.panic import Panic
from detector.predicates.base import SEQUENTIAL, Budget, Judge
from detector.predicates.evaluation_rate import EvaluationRate
from detector.predicates.registry import judge_for
from detector.predicates.where import fields_of
from detector.windows import signals
from detector.windows.columns import Columns, Table
from detector.windows.inbox import Inbox

_SHORTEST_HISTORY_S = 60.0


@dataclass(frozen=True, slots=True)
class Caps:
    """Caps that bound the state of a partition: of more routes the least recently seen are forgotten.

    Which one that is may depend on batches where more routes than that come at once; nothing else does.
    """

    routes: int = 2000


class HasInbox(Protocol):
    """Of a route: what waits there, and its judges by predicate."""

    inbox: Inbox
    judges: dict[str, Judge]


class Plan:
    """What the judges of all routes of a partition share.

    Args:
        contract: what to watch and what to do.
        partition: whose records these are.
        topics: names of the telemetry and of the evaluations topic, for the evidence.

    Attributes:
        attributes: whether causes are told apart; then their signals are read too.
        acting: predicates that a mode which acts rests on; `acting_modes`: those modes.
        modes_of: by predicate, the first mode that rests on it.
        panic: who of them is in fallback.
        joins_verdicts: whether verdicts that come late are joined to their calls.
        apart: predicates that tell one deployment at fault from the others, and causes; what a deployment's
            own scope is judged by. `apart_walkers`: the names of those among the former that may act: a
            deployment that gateways do not avoid must go on to count for its route.
        history_s: a record older than this, seconds behind the oldest open pane, is late.
    """

    def __init__(self, contract: Contract, partition: int, topics: tuple[str, str]) -> None:
        self.contract = contract
        self.partition = partition
        self.topics = topics
        self.budget = Budget.of(contract)
        self.attributes = any(spec.type == "attribution" for spec in contract.predicates.values())
        self.acting_modes = [mode for mode in contract.modes.values() if mode.acts]
        self.acting = {name for mode in self.acting_modes for name in mode.predicates}
        self.modes_of = {
            name: mode.name for mode in reversed(contract.modes.values()) for name in mode.predicates
        }
        self.apart_walkers = [
            name for name, spec in contract.predicates.items() if _tells_apart(spec) and name in self.acting
        ]
        self.apart: dict[str, PredicateSpec] = {
            name: spec
            for name, spec in contract.predicates.items()
            if self.apart_walkers and (_tells_apart(spec) or spec.type == "attribution")
        }
        fields = [name for spec in contract.predicates.values() for name in fields_of(spec)]
        if self.apart:
            fields.append("deployment")
        self.columns = Columns([*fields, *signals.FIELDS] if self.attributes else fields)
        self.panic = Panic(contract.defaults.max_active_share)
        spans = [spec.window_s for spec in contract.predicates.values() if _looks_back(spec)]
        self.history_s = max([_SHORTEST_HISTORY_S, *spans])
        judges = [judge_for(spec, self.budget) for spec in contract.predicates.values()]
        walkers = [judge for judge in judges if judge.walks]
        # What raises a suspicion is the same on every route: one judge of each kind says it for all of them
        # that have the predicate.
        self._scouts = [(judge.spec, judge) for judge in walkers if not judge.local]
        # Where it is learnt each route's own judge is asked: the fields that it reads.
        self._local = [
            (judge.spec, [name for name in fields_of(judge.spec) if name]) for judge in walkers if judge.local
        ]
        self.joins_verdicts = any(isinstance(judge, EvaluationRate) for judge in judges)

    def suspected(self, table: Table, judges: Mapping[str, HasInbox]) -> set[str]:
        """Routes on which a judge may flip at one of these calls; none of their calls may wait from here on.

        Args:
            judges: by route, of all routes in the table.
        """
        routes = table.routes
        found = {
            routes[position]
            for predicate, position in self._suspects(table, judges)
            if not judges[routes[position]].inbox.bears(predicate)
        }
        for route in found:
            judges[route].inbox.shut()
        return found

    def _suspects(self, table: Table, judges: Mapping[str, HasInbox]) -> Iterator[tuple[str, int]]:
        """Calls that may make a judge flip though it is calm: the predicate, and where."""
        routes = table.routes
        for spec, scout in self._scouts:
            found = scout.suspects(table)
            if spec.routes:
                found = [position for position in found if spec.exists_on(routes[position])]
            for position in found:
                yield spec.name, position
        if self._local:
            by_route: dict[str, list[int]] = {}
            for position, route in enumerate(routes):
                by_route.setdefault(route, []).append(position)
            for (spec, fields), (route, positions) in product(self._local, by_route.items()):
                if spec.exists_on(route):
                    mine = table.some(positions, fields)
                    for index in judges[route].judges[spec.name].suspects(mine):
                        yield spec.name, positions[index]


def _looks_back(spec: PredicateSpec) -> bool:
    return spec.type == "divergence" or (spec.type == "rate" and spec.method == "literal")


def _tells_apart(spec: PredicateSpec) -> bool:
    """Whether its judge says of each call of the telemetry whether it was good or bad."""
    return spec.type in SEQUENTIAL and spec.method == "default" and not spec.evaluation
