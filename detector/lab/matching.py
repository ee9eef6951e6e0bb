"""Which activations were right. Every figure on false and true ones comes from here.

- Acting intervals of one route, its deployments' included, that overlap or lie less than 60 s apart are
  **one activation**. Notices and shadows never count.
- It is **false** if it starts within [from, to] of a row of its route that is labelled false: that word is
  on this very activation.
- Else it is **true** if it starts within [from, to + longest window + verdict lag] of an incident of its
  route. An incident takes one; further ones are **repeats**. One that goes on over several incidents finds
  each of them that one of its intervals started for.
- Otherwise it is **benign** if it starts so near a change labelled benign, and else **false**.
- An incident that no activation started for is **missed**; `covered` ones among them had an activation
  open already.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

from detector.contract.model import Contract
from detector.lab.incidents import Incident
from detector.lab.outcome import Activation
from topics.scope import split_scope

MERGE_S = 60.0


@dataclass(frozen=True, slots=True)
class Merged:
    """One activation of a route; Unix seconds.

    Attributes:
        parts: the acting intervals that it is made of, oldest first.
    """

    route: str
    start: float
    end: float | None
    parts: tuple[Activation, ...]

    def decided_at(self, lateness_s: float) -> float:
        """Event time of the deciding record or pane: the start without the wait for late records."""
        first = self.parts[0]
        evidence = first.opened_by or first.evidence
        return max(evidence.event_time or 0.0, first.activated_at - lateness_s)


@dataclass(frozen=True, slots=True)
class Matching:
    """Every merged activation is in one of four lists by how it began, every true incident found or missed.

    Attributes:
        activations: how many merged ones there are.
        found: also, for an incident that an activation met on its way, that activation from the interval on
            that started for it.
    """

    activations: int
    found: tuple[tuple[Incident, Merged], ...]
    repeats: tuple[Merged, ...]
    benign: tuple[Merged, ...]
    false: tuple[Merged, ...]
    missed: tuple[Incident, ...]
    covered: tuple[Incident, ...]

    def delays_s(self, lateness_s: float) -> list[float]:
        """Of each incident found, event time from its `from` to the deciding record or pane."""
        return [merged.decided_at(lateness_s) - incident.start for incident, merged in self.found]


def merge(activations: Iterable[Activation]) -> list[Merged]:
    """Make one of what overlaps or lies less than 60 s apart on one route; by start, then route."""
    by_route: dict[str, list[Activation]] = {}
    for each in activations:
        if each.disposition == "act":
            by_route.setdefault(split_scope(each.scope)[0], []).append(each)
    merged = []
    for route, parts in by_route.items():
        group: list[Activation] = []
        end = -inf
        for part in sorted(parts, key=lambda each: each.activated_at):
            if group and part.activated_at - end >= MERGE_S:
                merged.append(_merged(route, group, end))
                group, end = [], -inf
            group.append(part)
            end = max(end, inf if part.deactivated_at is None else part.deactivated_at)
        merged.append(_merged(route, group, end))
    return sorted(merged, key=lambda each: (each.start, each.route))


def _merged(route: str, parts: list[Activation], end: float) -> Merged:
    return Merged(route, parts[0].activated_at, None if end == inf else end, tuple(parts))


def match(
    activations: Iterable[Activation],
    incidents: Iterable[Incident],
    *,
    longest_window_s: float,
    verdict_lag_s: float = 0.0,
) -> Matching:
    """Hold activations against what was really wrong.

    Args:
        activations: of one replay; they are merged here.
        incidents: of the same stretch of time, all labels.
        longest_window_s: see `longest_window_s`.
        verdict_lag_s: how long verdicts take to come.
    """
    slack_s = longest_window_s + verdict_lag_s
    by_start = sorted(incidents, key=lambda each: each.start)
    real = [each for each in by_start if each.label == "true"]
    harmless = [each for each in by_start if each.label == "benign"]
    denied = [each for each in by_start if each.label == "false"]
    merged = merge(activations)
    taken: dict[int, Merged] = {}
    repeats, benign, false = [], [], []
    for each in merged:
        if any(_near(each, row, 0.0) for row in denied):
            false.append(each)
            continue
        near = [index for index, incident in enumerate(real) if _near(each, incident, slack_s)]
        free = [index for index in near if index not in taken]
        if free:
            taken[max(free, key=lambda index: _fit(each, real[index]))] = each
        elif near:
            repeats.append(each)
        elif any(_near(each, incident, slack_s) for incident in harmless):
            benign.append(each)
        else:
            false.append(each)
    for index, incident in enumerate(real):
        later = None if index in taken else _later(incident, merged, slack_s)
        if later is not None:
            taken[index] = later
    missed = tuple(incident for index, incident in enumerate(real) if index not in taken)
    return Matching(
        activations=len(merged),
        found=tuple((real[index], each) for index, each in sorted(taken.items())),
        repeats=tuple(repeats),
        benign=tuple(benign),
        false=tuple(false),
        missed=missed,
        covered=tuple(incident for incident in missed if _covered(incident, merged)),
    )


def _later(incident: Incident, merged: Sequence[Merged], slack_s: float) -> Merged | None:
    """An activation from the interval on that started for an incident, though it had begun before."""
    for each in merged:
        for place, part in enumerate(each.parts[1:], start=1):
            rest = replace(each, start=part.activated_at, parts=each.parts[place:])
            if _near(rest, incident, slack_s):
                return rest
    return None


def _near(each: Merged, incident: Incident, slack_s: float) -> bool:
    return each.route == incident.route and incident.start <= each.start <= incident.end + slack_s


def _fit(each: Merged, incident: Incident) -> tuple[bool, bool, float]:
    """Of several incidents an activation is of one that still lasts, of its own mode, the latest begun."""
    return each.start <= incident.end, each.parts[0].mode == incident.mode, incident.start


def _covered(incident: Incident, merged: Sequence[Merged]) -> bool:
    return any(
        each.route == incident.route
        and each.start <= incident.end
        and (each.end is None or each.end >= incident.start)
        for each in merged
    )


def longest_window_s(contract: Contract) -> float:
    """Longest window of a predicate that looks through one, seconds; 0 if all go record by record."""
    return max(
        (
            spec.window_s
            for spec in contract.predicates.values()
            if spec.type == "divergence" or spec.method != "default"
        ),
        default=0.0,
    )


def poisson_interval(events: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a Poisson mean (Garwood) after `events` were counted.

    >>> [round(bound, 3) for bound in poisson_interval(0)]
    [0.0, 3.689]
    """
    from scipy.stats import chi2

    tail = (1.0 - confidence) / 2.0
    lower = 0.0 if events == 0 else float(chi2.ppf(tail, 2 * events)) / 2.0
    return lower, float(chi2.ppf(1.0 - tail, 2 * events + 2)) / 2.0
