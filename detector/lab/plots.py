"""Results as matplotlib axes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from detector.lab.incidents import Incident
from detector.lab.replay import ReplayResult
from detector.lab.sweep import SweepResult, Tried
from detector.lab.sweep_measure import Measures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAULT, HARMLESS, DETECTED, NOTICED, FRONT, REST = (
    "#f2b8a0",
    "#dfe5ea",
    "#b3261e",
    "#7f7f7f",
    "#1f4e79",
    "#9db4c8",
)
_LABELS = {
    "mistakes": "mistakes: missed and false",
    "delay_p50_s": "median delay, s of event time",
    "delay_p95_s": "95th percentile of the delay, s of event time",
    "false_per_week": "false activations a week",
    "found_share": "share of incidents found",
    "diverted": "share of calls diverted",
    "needless": "share of calls diverted needlessly",
    "flaps": "flaps",
}


def _axes(ax: "Axes | None", width: float, height: float) -> "Axes":
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def at(time: float) -> datetime:
    """Unix seconds as matplotlib's date axis takes them, UTC."""
    return datetime.fromtimestamp(time, UTC)


def plot_activations(result: ReplayResult, incidents: Sequence[Incident], ax: "Axes | None") -> "Axes":
    """A lane per scope: what was really wrong behind, paler if it harmed nobody, what was detected in front.

    Rows labelled false say that there was nothing, so nothing is drawn.
    """
    incidents = [each for each in incidents if each.label != "false"]
    scopes = sorted({each.scope for each in result.activations} | {each.scope for each in incidents})
    axes = _axes(ax, 10, 1.2 + 0.5 * len(scopes))
    first, last = result.first_event_time or 0.0, result.last_event_time or 0.0
    for incident in incidents:
        lane = scopes.index(incident.scope)
        color = FAULT if incident.label == "true" else HARMLESS
        lasted = at(incident.end) - at(incident.start)
        axes.barh(lane, lasted, left=at(incident.start), height=0.8, color=color)
    for each in result.activations:
        lane = scopes.index(each.scope)
        end = last if each.deactivated_at is None else each.deactivated_at
        color = DETECTED if each.disposition == "act" else NOTICED
        axes.barh(lane, at(end) - at(each.activated_at), left=at(each.activated_at), height=0.3, color=color)
        axes.annotate(each.mode, (at(each.activated_at), lane + 0.2), fontsize=8, va="bottom", color=color)
    axes.set_yticks(range(len(scopes)), scopes)
    axes.set_ylim(-0.6, max(len(scopes) - 0.2, 0.6))
    axes.set_xlim(at(first), at(last))
    axes.set_xlabel("event time, UTC")
    return axes


def plot_pareto(result: SweepResult, ax: "Axes | None", x: str, y: str) -> "Axes":
    """A point per setting; those that no other one beats in everything are joined, the choice is ringed.

    Held-out points are hollow. Bars are 95 % intervals of what is counted as false.
    """
    axes = _axes(ax, 7, 4.5)
    shown = [(each, *point) for each in result.tried if (point := _point(each.measures, x, y)) is not None]
    for pareto, color, size in ((False, REST, 30), (True, FRONT, 55)):
        mine = [each for each in result.tried if each.pareto is pareto]
        _scatter(axes, [each.measures for each in mine], x, y, color, size, hollow=False)
        rest = [each.held_out for each in mine if each.held_out is not None]
        _scatter(axes, rest, x, y, color, size, hollow=True)
    front = sorted((a, b) for each, a, b in shown if each.pareto)
    if len(front) > 1:
        axes.plot([a for a, _ in front], [b for _, b in front], color=FRONT, linewidth=1, zorder=2)
    for each, a, b in shown:
        _annotate(axes, each, a, b)
    for each, a, b in shown:
        if each.chosen:
            axes.scatter([a], [b], s=180, facecolors="none", edgecolors=DETECTED, linewidths=1.8, zorder=4)
    if any(each.held_out is not None for each in result.tried):
        axes.set_title("filled: chosen on; hollow: held out", fontsize=9, loc="left")
    axes.set_xlabel(_LABELS.get(x, x))
    axes.set_ylabel(_LABELS.get(y, y))
    axes.grid(alpha=0.3)
    return axes


def _scatter(
    axes: "Axes", measures: Sequence[Measures], x: str, y: str, color: str, size: float, *, hollow: bool
) -> None:
    points = [(found, *point) for found in measures if (point := _point(found, x, y)) is not None]
    if not points:
        return
    across, up = [a for _, a, _ in points], [b for _, _, b in points]
    face = "none" if hollow else color
    axes.scatter(across, up, s=size, facecolors=face, edgecolors=color, zorder=3)
    for found, a, b in points:
        bars = {"xerr": _reach(found, x, a), "yerr": _reach(found, y, b)}
        if any(bars.values()):
            axes.errorbar([a], [b], **bars, fmt="none", ecolor=color, elinewidth=0.8, capsize=2, zorder=1)


def _annotate(axes: "Axes", each: Tried, a: float, b: float) -> None:
    said = " ".join(str(value) for value in each.setting.values.values())
    axes.annotate(said, (a, b), xytext=(6, 5), textcoords="offset points", fontsize=8)


def _point(found: Measures, x: str, y: str) -> tuple[float, float] | None:
    a, b = _value(found, x), _value(found, y)
    return None if a is None or b is None else (a, b)


def _reach(found: Measures, name: str, value: float) -> list[list[float]] | None:
    """How far the interval goes below and above a value; None where it has none."""
    low, high = found.false_per_week_interval
    if name == "mistakes" and found.false is not None:
        missed = found.incidents - found.found
        low, high = missed + low * found.weeks, missed + high * found.weeks
    elif name != "false_per_week":
        return None
    return [[max(0.0, value - low)], [max(0.0, high - value)]]


def _value(found: Measures, name: str) -> float | None:
    if name == "mistakes":
        return float(found.incidents - found.found + (found.false or 0))
    value: float | None = getattr(found, name)
    return value
