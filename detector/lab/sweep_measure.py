"""What one setting did on one stretch of traffic: mistakes, delays, flaps, calls diverted.

Recorded traffic does not answer to what is decided: a sweep says when calls would have been diverted and
given back, on calls that the primary answered all along.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil, floor, inf
from statistics import median

from detector.lab.incidents import Incident
from detector.lab.matching import MERGE_S, match, poisson_interval
from detector.lab.outcome import Activation
from detector.modes.decision import Decision
from topics.scope import split_scope

WEEK_S = 604_800.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A half-open span of event time, Unix seconds."""

    start: float
    end: float

    @property
    def weeks(self) -> float:
        """Length in weeks, so that counts become rates."""
        return (self.end - self.start) / WEEK_S

    def holds(self, at: float) -> bool:
        """Whether a moment lies in it."""
        return self.start <= at < self.end


@dataclass(slots=True)
class Calls:
    """Calls per second of event time, by route and deployment: what shares are taken of."""

    seconds: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)
    _sums: dict[tuple[str, str], tuple[list[int], list[int]]] = field(default_factory=dict)

    def add(self, route: str, deployment: str, at: float) -> None:
        """Count a call that ended at `at`."""
        counts = self.seconds.setdefault((route, deployment), {})
        second = floor(at)
        counts[second] = counts.get(second, 0) + 1

    def between(self, key: tuple[str, str], start: float, end: float) -> float:
        """Calls of one route and deployment in [start, end); seconds cut in two give their share."""
        if end <= start:
            return 0.0
        first, last = ceil(start), floor(end)
        counts = self.seconds[key]
        if first > last:
            return counts.get(last, 0) * (end - start)
        edges = counts.get(first - 1, 0) * (first - start) + counts.get(last, 0) * (end - last)
        if key not in self._sums:
            ordered = sorted(counts)
            self._sums[key] = ordered, [0, *accumulate(counts[second] for second in ordered)]
        ordered, sums = self._sums[key]
        return edges + sums[bisect_left(ordered, last)] - sums[bisect_left(ordered, first)]

    def total(self, stretch: Stretch) -> float:
        """All calls of a stretch."""
        return sum(self.between(key, stretch.start, stretch.end) for key in self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """One setting on one stretch of traffic.

    Attributes:
        weeks: length of the stretch in event time.
        activations: as the terms count them; the four counts after it are None where no incidents are known.
        false_per_week: with its exact 95 % interval; of all activations where no incidents are known.
        found, incidents, covered: incidents with an activation of their own, all, and those of the missed
            ones that lay under an activation that was open already.
        delay_p50_s, delay_p95_s: from an incident's `from` to the deciding record or pane; None: none found.
        wait_s: how much longer decisions by window take than that, waiting for late records.
        flaps: times a scope went back to its fallback within 60 s of leaving it, relapses of the ramp
            included.
        diverted: share of calls that a fallback or a sibling would have had, 0..1; `needless` those of them
            outside all incidents.
    """

    weeks: float
    activations: int
    false: int | None
    true: int | None
    repeats: int | None
    benign: int | None
    false_per_week: float
    false_per_week_interval: tuple[float, float]
    found: int
    incidents: int
    covered: int
    delay_p50_s: float | None
    delay_p95_s: float | None
    wait_s: float
    flaps: int
    diverted: float
    needless: float | None

    @property
    def found_share(self) -> float | None:
        """Share of the incidents found, 0..1; None if there are none."""
        return self.found / self.incidents if self.incidents else None


def measure(
    decisions: Sequence[Decision],
    activations: Iterable[Activation],
    stretch: Stretch,
    calls: Calls,
    incidents: Sequence[Incident] | None,
    *,
    longest_window_s: float,
    lateness_s: float,
    verdict_lag_s: float = 0.0,
) -> Measures:
    """Measure what was decided on a stretch of traffic.

    Args:
        decisions: of the whole replay, in order; `activations` of the same.
        stretch: what is counted: activations that start, and incidents that begin, in it.
        calls: of the whole replay.
        incidents: all that are known; None: nobody has said what was really wrong.
        longest_window_s: as in `matching.match`.
        lateness_s: how long windows wait for late records.
        verdict_lag_s: how long late verdicts take to come.
    """
    result = match(
        activations, incidents or (), longest_window_s=longest_window_s, verdict_lag_s=verdict_lag_s
    )
    found = [(incident, each) for incident, each in result.found if stretch.holds(incident.start)]
    missed = [incident for incident in result.missed if stretch.holds(incident.start)]
    repeats, benign, false = (
        sum(stretch.holds(each.start) for each in some)
        for some in (result.repeats, result.benign, result.false)
    )
    delays = sorted(each.decided_at(lateness_s) - incident.start for incident, each in found)
    known = incidents is not None
    low, high = poisson_interval(false)
    diverted = _diverted(decisions, stretch, calls)
    total = calls.total(stretch)
    return Measures(
        weeks=stretch.weeks,
        activations=len(found) + repeats + benign + false,
        false=false if known else None,
        true=len(found) if known else None,
        repeats=repeats if known else None,
        benign=benign if known else None,
        false_per_week=_per_week(false, stretch),
        false_per_week_interval=(_per_week(low, stretch), _per_week(high, stretch)),
        found=len(found),
        incidents=len(found) + len(missed),
        covered=sum(incident in result.covered for incident in missed),
        delay_p50_s=median(delays) if delays else None,
        delay_p95_s=delays[ceil(0.95 * len(delays)) - 1] if delays else None,
        wait_s=lateness_s,
        flaps=_flaps(decisions, stretch),
        diverted=_mass(diverted, calls) / total if total else 0.0,
        needless=_mass(_outside(diverted, incidents or ()), calls) / total if known and total else None,
    )


def _per_week(events: float, stretch: Stretch) -> float:
    return events / stretch.weeks if stretch.weeks else 0.0


def _flaps(decisions: Iterable[Decision], stretch: Stretch) -> int:
    flaps = 0
    left: dict[str, float] = {}
    ramping: set[str] = set()
    for each in decisions:
        if each.disposition != "act":
            continue
        back = each.kind == "activated" and each.at - left.get(each.scope, -inf) < MERGE_S
        # While active, but not on the ramp, there is a next attempt to revert. Shares do not tell: probes of
        # 25 % are followed by a ramp that begins at 10 %.
        on_ramp = each.state == "active" and each.next_revert_at is None
        relapse = each.scope in ramping and each.state == "active" and not on_ramp
        (ramping.add if on_ramp else ramping.discard)(each.scope)
        flaps += stretch.holds(each.at) and (back or relapse)
        if each.kind == "deactivated":
            left[each.scope] = each.at
    return flaps


Diverted = tuple[tuple[str, str], float, float, float]  # route and deployment, from, to, share of its calls


def _diverted(decisions: Iterable[Decision], stretch: Stretch, calls: Calls) -> list[Diverted]:
    """Spans of time in which a share of the calls did not go to the primary, no call in two of them."""
    shares: dict[str, list[tuple[float, float]]] = {}
    for each in decisions:
        if each.disposition == "act":
            away = 1.0 - each.primary_share if each.state == "active" else 0.0
            shares.setdefault(each.scope, []).append((each.at, away))
    found: list[Diverted] = []
    for key in calls.seconds:
        whose = [steps for scope, steps in shares.items() if split_scope(scope) in ((key[0], ""), key)]
        if not whose:
            continue
        times = sorted({stretch.start, *(at for steps in whose for at, _ in steps if stretch.holds(at))})
        for start, end in zip(times, [*times[1:], stretch.end], strict=True):
            away = max(_at(steps, start) for steps in whose)
            if away > 0:
                found.append((key, start, end, away))
    return found


def _at(steps: list[tuple[float, float]], time: float) -> float:
    index = bisect_left(steps, (time, inf))
    return steps[index - 1][1] if index else 0.0


def _outside(spans: Iterable[Diverted], incidents: Sequence[Incident]) -> list[Diverted]:
    """The spans without what lies inside a fault of the same route."""
    left: list[Diverted] = []
    for key, start, end, away in spans:
        at = start
        real = [each for each in incidents if each.label == "true" and each.route == key[0]]
        for each in sorted(real, key=lambda each: each.start):
            if each.end > at and each.start < end:
                left.append((key, at, max(at, each.start), away))
                at = max(at, min(end, each.end))
        left.append((key, at, end, away))
    return left


def _mass(spans: Iterable[Diverted], calls: Calls) -> float:
    return sum(calls.between(key, start, end) * away for key, start, end, away in spans)
