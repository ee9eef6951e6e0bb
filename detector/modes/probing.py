"""How many of a route's calls have to be probes while it is in fallback, and what they can show.

The test of recovery takes so many calls *with a verdict*; 25 of those a second see a fault of half of
all calls out within ten seconds (simulated). What share of the calls that is follows from the route's
rate over the last ten seconds, and from which share of its calls was judged while it was well. Where
even the contract's largest share carries too few, the bound in seconds is told instead.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median_high
from typing import Any

from detector.contract.model import Contract
from detector.predicates.base import Judge, WayBack
from detector.predicates.divergence import INPUT_FIELDS
from detector.windows.segment import SLOW, Segment
from topics.telemetry import PRIMARY, TelemetryRecord

VERDICTS_PER_S = 25.0
RATE_PANES = 10
HARMLESS_PROBES = 100  # of each measured predicate, before an unharmed primary is believed
HARMLESS_S = 10.0
SLOW_PROBE_S = 2.0
_SHARE_STEP = 0.01
_HALVED_AT = 8192  # calls; older ones count half from then on
# Slow answers of a well primary are told from those of a hanging one. Where 15 % are slow, 19 of 20 routes
# know it after 40 calls; where 2 % are, one in twenty takes it for usual then, two in a thousand after 200.
_USUAL_SLOW_SHARE = 0.06
_FORGET = 1 / 128
_LEAST_SAMPLED = 1 - (1 - _FORGET) ** 40  # as if so many had been seen: one slow call of a few says nothing
_LAST_BAD = 5  # it takes no fewer for a judge to flip


def is_input_drift(contract: Contract, predicate: str) -> bool:
    """Whether a predicate tells of the questions alone, which no change of the primary can cause."""
    spec = contract.predicates[predicate]
    return spec.type == "divergence" and (spec.field in INPUT_FIELDS or spec.field.startswith("features."))


def tells_harm(contract: Contract, predicate: str) -> bool:
    """Whether a predicate tells how the primary does."""
    # A cause that is named rests on symptoms, which say themselves whether there is harm.
    told = contract.predicates[predicate].type not in ("absence", "attribution")
    return told and not is_input_drift(contract, predicate)


class Probing:
    """Rates of one route, by pane; see `Outlook`.

    Attributes:
        usual_share: share of the calls offered that the scope has when it is well, (0, 1].
        bad_take_s: how long bad calls take where a sequential judge has found them, seconds: only then do
            probes tell of them.

    Args:
        contract: shares and predicates.
        route: whose service level allows slower answers than two seconds, or not.
        judges: by name.
    """

    def __init__(self, contract: Contract, route: str, judges: Mapping[str, Judge]) -> None:
        self._defaults = contract.defaults
        self._judges = judges
        self._harms = [name for name in judges if tells_harm(contract, name)]
        self._slow_s = max(SLOW_PROBE_S, contract.route_rule(route).slo.p99_ms / 1000.0)
        # Calls and slow ones of late: each weighs less with each that follows.
        self._sampled = self._slow = 0.0
        self._met_slow = False
        self.usual_share = 1.0
        self.bad_take_s = 0.0
        self._bad_took: deque[float] = deque(maxlen=_LAST_BAD)
        self._offered = 0
        self._panes: deque[int] = deque(maxlen=RATE_PANES)
        self._calls = 0  # judged while the route was well
        self._verdicts = dict.fromkeys(judges, 0)
        self._marks: dict[str, int] = {}
        self._mark = 0
        self._begun: dict[str, int] = {}

    def close(self, calls: int, panes: int, *, engaged: bool, offered: int | None = None) -> None:
        """Take note that `panes` panes have closed.

        Args:
            calls: how many have been judged so far in all.
            panes: how many have closed.
            engaged: the scope is active.
            offered: how many there were so far of those that a share is taken of; None: the same.
        """
        fresh, self._mark = calls - self._mark, calls
        offered = calls if offered is None else offered
        self._panes.append(offered - self._offered)
        self._offered = offered
        self._panes.extend([0] * min(panes - 1, RATE_PANES))
        if not fresh:
            return
        marks = self._marks
        for name in self._harms:
            judged = self._judges[name].way_back().judged
            if not engaged and name in marks:
                self._verdicts[name] += max(0, judged - marks[name])
            marks[name] = judged
        if not engaged:
            self._calls += fresh
            if self._calls > _HALVED_AT:
                self._calls //= 2
                self._verdicts = {name: count // 2 for name, count in self._verdicts.items()}

    def begin_as(self, route: "Probing", usual_share: float, offered: int) -> None:
        """Go on from what a route knows, for one of its deployments.

        Args:
            usual_share: see `Probing`.
            offered: calls that the route has had so far in all.
        """
        self.load(route.state())
        self._mark, self._offered = 0, offered  # its own calls are counted anew
        self.usual_share = usual_share

    def count_from(self, calls: int) -> None:
        """So many have been judged before, of which nothing is known."""
        self._mark = self._offered = calls

    def begin(self) -> None:
        """The scope has changed state: what is judged from now on are probes."""
        self._begun = {name: self._judges[name].way_back().judged for name in self._harms}
        self._met_slow = False

    def note_bad(self, took_s: Sequence[float | None]) -> None:
        """Take note of how long bad calls took, seconds; None: not measured."""
        self._bad_took.extend(each for each in took_s if each is not None)

    def found_bad(self) -> None:
        """A judge has flipped: bad calls take as long as the median of the last ones.

        But no longer than an attempt to revert may be put off.
        """
        took_s = median_high(self._bad_took) if self._bad_took else 0.0
        self.bad_take_s = min(took_s, self._defaults.revert_within_s)

    def sample(self, record: TelemetryRecord) -> None:
        """Learn from a call, one a second, whether slow answers are usual on this route."""
        if record.served_by == PRIMARY and not record.probe and not record.error:
            self._sampled += _FORGET * (1.0 - self._sampled)
            self._slow += _FORGET * (self.is_slow(record) - self._slow)

    def is_slow(self, record: TelemetryRecord) -> bool:
        """Whether a call's answer took too long: its first token's where that was measured."""
        answer = record.ttft_s if record.ttft_s is not None else record.latency_s
        return answer is not None and answer > self._slow_s

    def mark_slow(self, segment: Segment, records: Sequence[TelemetryRecord]) -> None:
        """Mark the probes that are bad for being slow, unless a well primary is slow on this route."""
        if self._slow <= _USUAL_SLOW_SHARE * max(self._sampled, _LEAST_SAMPLED):
            segment.columns[SLOW] = [each.probe and self.is_slow(each) for each in records]

    def note_slow(self, segment: Segment) -> None:
        """Take note of whether probes that were judged were bad for being slow."""
        self._met_slow = self._met_slow or any(segment.columns.get(SLOW, ()))

    def rate(self) -> float | None:
        """The scope's usual part of the calls per second of the last ten panes; None before the first."""
        return self.usual_share * sum(self._panes) / len(self._panes) if self._panes else None

    def judged_share(self, predicate: str) -> float:
        """Share of the primary's calls that the predicate had a verdict on, (0, 1]; 1 where not known."""
        count = self._verdicts.get(predicate, 0)
        return min(1.0, count / self._calls) if self._calls and count else 1.0

    def progress(self, predicate: str) -> str:
        """See `Outlook.progress`."""
        judge = self._judges.get(predicate)
        return judge.progress() if judge is not None else ""

    def slow_probes(self) -> str:
        """See `Outlook.slow_probes`."""
        return f"probes that take over {self._slow_s:g} s to answer are bad, too" if self._met_slow else ""

    def way_back(self, predicate: str) -> WayBack:
        """See `Outlook.way_back`."""
        judge = self._judges.get(predicate)  # a deployment is not judged by all that its route is
        return judge.way_back() if judge is not None else WayBack()

    def probe_share(self, predicates: tuple[str, ...]) -> float:
        """See `Outlook.probe_share`; in whole hundredths, rounded up."""
        least, most = (
            self._defaults.probe_share,
            max(self._defaults.probe_share, self._defaults.probe_share_max),
        )
        rate = self.rate()
        if not rate:
            return least if rate is None else most
        wanted = self.probes_per_s(predicates) / rate
        return min(most, max(least, math.ceil(wanted / _SHARE_STEP - 1e-9) * _SHARE_STEP))

    def probes_per_s(self, predicates: tuple[str, ...]) -> float:
        """See `Outlook.probes_per_s`."""
        share = min((self.judged_share(name) for name in predicates), default=1.0)
        return round(VERDICTS_PER_S / share, 1)

    def bound_s(self, predicates: tuple[str, ...]) -> float | None:
        """See `Outlook.bound_s`."""
        rate = self.rate()
        if rate is None:
            return None
        slowest = 0.0
        for name in predicates:
            needed = self.way_back(name).needed
            per_s = rate * self.probe_share(predicates) * self.judged_share(name)
            slowest = max(slowest, needed / per_s if per_s else math.inf if needed else 0.0)
        return slowest or None

    def unharmed(self, lasted_s: float) -> bool | None:
        """See `Outlook.unharmed`: ten seconds and 100 verdicts of each measured predicate, none in breach."""
        measured = [name for name in self._harms if self._verdicts[name]]
        if any(self._judges[name].latched for name in self._harms):
            return False
        if not measured:
            return None
        counts = []
        for name in measured:
            judged, begun = self.way_back(name).judged, self._begun.get(name, 0)
            # A breach that was over meanwhile has begun the count anew.
            counts.append(judged - begun if judged >= begun else judged)
        return lasted_s >= HARMLESS_S and min(counts) >= HARMLESS_PROBES

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back."""
        return {
            "panes": list(self._panes),
            "calls": self._calls,
            "verdicts": self._verdicts,
            "marks": self._marks,
            "mark": self._mark,
            "offered": self._offered,
            "begun": self._begun,
            "slow": [self._sampled, self._slow, self._met_slow],
            "bad_took": list(self._bad_took),
            "bad_take_s": self.bad_take_s,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; predicates that are no longer there are let go."""
        self._panes = deque(state["panes"], maxlen=RATE_PANES)
        self._calls, self._mark = state["calls"], state["mark"]
        self._sampled, self._slow, self._met_slow = state["slow"]
        self._offered, self.bad_take_s = state["offered"], state["bad_take_s"]
        self._bad_took = deque(state["bad_took"], maxlen=_LAST_BAD)
        known = self._judges
        self._verdicts |= {name: n for name, n in state["verdicts"].items() if name in known}
        self._marks = {name: n for name, n in state["marks"].items() if name in known}
        self._begun = {name: n for name, n in state["begun"].items() if name in known}
