"""Deployments that alone are at fault: each is judged as a scope of its own, and avoided, while it is.

When a judge of the route has found a breach, the shares of bad calls of its deployments say whether one
of them alone has changed. If so the breach is handed over: that deployment's scope acts, its calls no
longer count for the route, and the route stays with its primary, or goes back to it if the deployment
was found later. One at a time: what befalls a second one may be the load that the first one no longer
takes, and avoiding it too would only move that on, so then the route itself acts.
A deployment that has recovered is watched for ten minutes more, so that it is damped if it relapses.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from detector.modes.attribution import Attribution
from detector.modes.compose import evidence_of
from detector.modes.decision import Decision
from detector.modes.localisation import Culprit, culprit_of
from detector.modes.plan import Plan
from detector.modes.scope import ScopeJudge
from detector.modes.status import Past
from detector.predicates.base import Judge
from detector.windows.columns import Calls
from detector.windows.paneclock import PaneClock
from detector.windows.segment import Place, Segment
from detector.windows.shares import LONG_PANES, RECENT_PANES, DeploymentShares
from topics.control import Evidence

WATCHED_S = 600.0
_SPANS = (0, 2, RECENT_PANES, LONG_PANES)  # closed panes before the open one
_MOST_REMEMBERED = 64
_MOST_WATCHED = 8


class DeploymentJudge(ScopeJudge):
    """The scope of one deployment, from the moment at which it was found to be at fault alone."""

    def __init__(self, plan: Plan, route: str, deployment: str, clock: PaneClock) -> None:
        super().__init__(plan, route, deployment, predicates=plan.apart, clock=clock)
        self.deployment = deployment
        self._offered = 0

    def adopt(
        self,
        route: ScopeJudge,
        found: Mapping[str, Culprit],
        usual_share: float,
        place: Place | None,
        decisions: list[Decision],
    ) -> None:
        """Go on with what the route's judges know, in breach of the predicates found.

        Args:
            route: which has found it.
            found: by predicate.
            usual_share: share of the route's calls that go to the deployment when it is well, (0, 1].
            place: the record at which it was found; None: the last one of the closed panes.
        """
        fresh = not self.frozen
        for name, judge in self.judges.items():
            if name in found:
                judge.load(route.judges[name].state())
                judge.breach(found[name].share, _detail(found[name]))
            elif fresh and judge.walks:
                judge.load(route.judges[name].state())
                judge.release()
        if fresh:
            if self.attribution is not None and route.attribution is not None:
                self.attribution.begin_as(route.attribution, self.deployment)
            self.probing.begin_as(route.probing, usual_share, route.judged)
            self.machine.status.usual_share = usual_share
        self.now = max(self.now, route.now)
        self.findings.closed = route.findings.closed
        self.findings.refresh(place)
        self._step(self.now, decisions)

    def close_pane(self, decisions: list[Decision], offered: int) -> None:
        """Close the route's pane; `offered`: calls that the route has had so far in all."""
        self._flush()
        self._offered = offered
        self._close(decisions)

    def _closed(self, boundary: int, decisions: list[Decision]) -> None:
        super()._closed(boundary, decisions)
        self.probing.close(self._judged, 1, engaged=self.machine.engaged, offered=self._offered)

    def skip(self, target: int, offered: int) -> None:
        """The route jumps to `target`."""
        self._flush()
        self._skip(target)
        self.probing.close(
            self._judged, target - self._clock.boundary, engaged=self.machine.engaged, offered=offered
        )
        self.findings.close(target)

    def load(self, state: Mapping[str, Any]) -> None:
        """See `ScopeJudge.load`."""
        super().load(state)
        self.probing.usual_share = self.machine.status.usual_share


class Deployments:
    """The deployments of one route.

    Attributes:
        avoided: those whose calls do not count for the route; changes at pane closings and hand-overs only.
        judged_apart: calls that did not count for the route.
    """

    def __init__(self, plan: Plan, route: str, clock: PaneClock) -> None:
        self._plan = plan
        self._route = route
        self._clock = clock
        self._shares = DeploymentShares()
        self._judges: dict[str, DeploymentJudge] = {}
        self._past: dict[str, Past] = {}  # of those that are not watched any more
        self.avoided: set[str] = set()
        self.judged_apart = 0

    def __iter__(self) -> Iterator[DeploymentJudge]:
        return iter(self._judges.values())

    def __len__(self) -> int:
        return len(self._judges)

    @property
    def past(self) -> dict[str, Past]:
        """How far what each deployment's scope says has been counted."""
        watched = {name: judge.machine.status.past for name, judge in self._judges.items()}
        return self._past | watched

    def recall(self, past: Mapping[str, Past]) -> None:
        """Go on counting from there."""
        self._past = dict(past)

    @property
    def busy(self) -> bool:
        """Whether one of them is at fault."""
        return any(judge.frozen for judge in self._judges.values())

    def go_on_from(self, lost: "Deployments", now: float) -> list[Decision]:
        """Take the place of others whose route has failed: none is avoided any more."""
        self._past = lost._past
        decisions = []
        for name, judge in lost._judges.items():
            machine = DeploymentJudge(self._plan, self._route, name, self._clock).machine
            decisions += machine.go_on_from(judge.machine.status, now)
            self._past[name] = machine.status.past
        return decisions

    def count(self, segment: Segment, tellers: Sequence[tuple[str, Judge]]) -> None:
        """Take note of who had which calls of a segment that has just been walked.

        Args:
            tellers: by name, the route's judges that have told good calls from bad ones.
        """
        size = len(segment)
        flagged = [
            (name, found)
            for name, judge in tellers
            if (found := judge.flagged) is not None and (found[1] or len(found[0]) < size)
        ]
        self._shares.add(segment.columns["deployment"], flagged)

    def take(self, calls: Calls, decisions: list[Decision], only: Iterable[str] | None = None) -> Calls:
        """Let deployments judge their calls, by default all; return those that count for the route."""
        names = list(self._judges) if only is None else list(only)
        if not names or not calls.rows:
            return calls
        positions: dict[str, list[int]] = {name: [] for name in names}
        left = []
        for i, record in enumerate(calls.records):
            name = record.deployment
            if name in positions:
                positions[name].append(i)
            if name not in self.avoided:
                left.append(i)
        for name, mine in positions.items():
            if mine:
                self._judges[name].take(calls.only(mine), decisions)
        self.judged_apart += len(calls.rows) - len(left)
        return calls if len(left) == len(calls.rows) else calls.only(left)

    @property
    def comparable(self) -> bool:
        """Whether the last panes hold calls: as these leave them, one deployment may stand out."""
        return self._shares.filled

    def find(
        self, holds: Mapping[str, Evidence], attribution: Attribution | None
    ) -> tuple[str, dict[str, Culprit]] | None:
        """The deployment that alone is at fault, with the predicates, of those that hold, that say so."""
        found: dict[str, dict[str, Culprit]] = {}
        for name in self._plan.apart_walkers:
            if name in holds:
                culprit = self._culprit(name, holds[name])
                if culprit is not None and not (
                    attribution is not None
                    and attribution.others_change(self._plan.apart[name], culprit.deployment)
                ):
                    found.setdefault(culprit.deployment, {})[name] = culprit
        for name, culprits in found.items():
            if (not self.avoided or name in self.avoided) and self._acts_on(name, culprits, holds):
                return name, culprits
        return None

    def _acts_on(self, name: str, culprits: Iterable[str], holds: Mapping[str, Evidence]) -> bool:
        """Whether these predicates let a deployment's scope act, with what holds there already.

        Of a mode that needs more than them the route has to be told.
        """
        there = self._judges[name].findings.holds if name in self._judges else {}
        latched = {**there, **{each: holds[each] for each in culprits}}
        return any(evidence_of(mode, latched) is not None for mode in self._plan.acting_modes)

    def _culprit(self, predicate: str, evidence: Evidence) -> Culprit | None:
        detail, spec = evidence.detail, self._plan.apart[predicate]
        ceiling = float(detail.get("observed_ceiling", evidence.threshold or spec.ceiling))
        effect = float(detail.get("design_effect", 1.0))
        habit = self._shares.habit(predicate)
        for panes in _SPANS:
            recent = self._shares.recent(predicate, panes)
            recent = {name: share for name, share in recent.items() if name not in self.avoided}
            culprit = culprit_of(recent, habit, ceiling, effect)
            if culprit is not None:
                return culprit
        return None

    def hand_over(
        self,
        route: ScopeJudge,
        name: str,
        culprits: Mapping[str, Culprit],
        place: Place | None,
        decisions: list[Decision],
    ) -> None:
        """Make a deployment's scope go on with what the route has found in it."""
        known = self._shares.known
        judge = self._judges.get(name)
        if judge is None:
            judge = self._judges[name] = DeploymentJudge(self._plan, self._route, name, self._clock)
            judge.machine.status.go_on_from(self._past.pop(name, Past()))
        total = sum(known.values())
        share = known.get(name, 0) / total if total else 0.0
        judge.adopt(route, culprits, share or 1.0 / (len(known) + 1), place, decisions)
        self.avoided.add(name)

    def close(self, decisions: list[Decision], offered: int, *, frozen: bool) -> None:
        """Close the route's pane; arguments as of `DeploymentJudge.close_pane`."""
        self._shares.close(frozen=frozen)
        if not self._judges:
            return
        for judge in self._judges.values():
            judge.close_pane(decisions, offered)
        self._settle(self._clock.said_at(self._clock.boundary + 1))

    def skip(self, target: int, offered: int, *, frozen: bool) -> None:
        """Time jumps to `target` over panes that hold nothing."""
        self._shares.skip(target - self._clock.boundary, frozen=frozen)
        for judge in self._judges.values():
            judge.skip(target, offered)
        self._settle(self._clock.said_at(target))

    def _settle(self, now: float) -> None:
        """Whose calls count for the route from here on, and who need not be watched any more."""
        self.avoided = {name for name, judge in self._judges.items() if judge.frozen}
        for name, judge in list(self._judges.items()):
            old = now - judge.machine.status.since > WATCHED_S or len(self._judges) > _MOST_WATCHED
            if old and not judge.frozen:
                del self._judges[name]
                self._past[name] = judge.machine.status.past
                if len(self._past) > _MOST_REMEMBERED:
                    del self._past[next(iter(self._past))]

    @property
    def overdue(self) -> int:
        """Attempts to revert that were made too late."""
        return sum(judge.machine.status.overdue for judge in self._judges.values())

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back."""
        return {
            "shares": self._shares.state(),
            "judges": {name: judge.state() for name, judge in self._judges.items()},
            "past": self._past,
            "avoided": sorted(self.avoided),
            "judged_apart": self.judged_apart,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        self._shares.load(state["shares"])
        for name, saved in state["judges"].items():
            judge = self._judges[name] = DeploymentJudge(self._plan, self._route, name, self._clock)
            judge.load(saved)
        self._past = {name: Past(*past) for name, past in state["past"].items()}
        self.avoided, self.judged_apart = set(state["avoided"]), state["judged_apart"]


def named_in(state: Mapping[str, Any]) -> set[str]:
    """Names of the deployments that a saved state knows of."""
    return (DeploymentShares.named_in(state["shares"]) | {*state["judges"], *state["past"]}) - {""}


def _detail(culprit: Culprit) -> dict[str, float | str]:
    others: Sequence[float] = culprit.others
    return {
        "deployment": culprit.deployment,
        "others_rate": others[1] / others[0] if others[0] else 0.0,
        "others_samples": float(others[0]),
    }
