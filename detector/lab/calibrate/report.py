"""A calibration for people, on the terminal, and as one JSON document."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from detector.lab.calibrate.learn import CalibrateResult, Learnt
from detector.lab.calibrate.said import when
from detector.lab.calibrate.shares import WITHIN_S
from detector.lab.words import counted
from detector.predicates.base import WEEK_S


def as_json(result: CalibrateResult) -> dict[str, Any]:
    """The calibration, what limits it, and what was left out of it."""
    return {
        "records": result.records,
        "malformed": result.malformed,
        "elapsed_s": result.elapsed_s,
        "false_per_week": false_per_week(result),
        "false_per_week_bound": false_per_week_bound(result),
        "left_out": {route: [list(span) for span in spans] for route, spans in result.left_out.items()},
        "limits": [
            *({"route": None, "predicate": None, "says": says} for says in result.limits),
            *(
                {"route": one.route, "predicate": one.spec.name, "says": says}
                for one in result.learnt
                for says in one.limits
            ),
        ],
        "calibration": asdict(result.calibration),
    }


def false_per_week(result: CalibrateResult) -> float:
    """False activations per week to expect of all that was calibrated together, if traffic goes on alike."""
    return sum(one.one.false_per_week or 0.0 for one in result.learnt if one.one.usable)


def false_per_week_bound(result: CalibrateResult) -> float:
    """What the recording by itself bounds them to, at 95 %, had none been in it.

    Three over its weeks: e ** -3 is the chance that so many a week would not have shown.
    """
    return 3.0 * WEEK_S / result.covered_s


def number(value: float) -> str:
    """Two digits, or all of them before the point."""
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def as_text(result: CalibrateResult) -> str:
    """A line for each predicate, then what the traffic does not allow."""
    calibration = result.calibration
    first, last = calibration.first_event_time or 0.0, calibration.last_event_time or 0.0
    per_s = result.records / result.elapsed_s if result.elapsed_s else 0.0
    lines = [
        f"{counted(result.records, 'record')}, {when(first)} to {when(last)}, {result.malformed} malformed; "
        f"{calibration.fleet_records_per_s:g} records/s; read at {per_s:,.0f} records/s"
    ]
    lines += [f"  malformed: {bad.said}" for bad in result.shown]
    for route, spans in result.left_out.items():
        listed = ", ".join(f"{when(a)} .. {when(b)}" for a, b in spans[:6])
        more = f" and {len(spans) - 6} more" if len(spans) > 6 else ""
        lines.append(f"left out as incidents on {route}: {listed}{more}")
    lines += [
        "",
        f"{'':22} {'healthy':>20} {'held to':>12} {'phi':>6} {'found':>16} {'false/week':>10}",
    ]
    route = ""
    for one in result.learnt:
        if one.route != route:
            route = one.route
            lines.append(f"{route} ({calibration.routes[route].records_per_s:g} records/s)")
        lines.append("  " + line(one))
    days = f"{result.covered_s / 86_400:.2g}"
    long = f"{days} day{'' if days == '1' else 's'}"
    lines += [
        "",
        f"false activations per week to expect, all together: {false_per_week(result):.2g}, if traffic goes "
        f"on as recorded; {long} of it cannot show that they are fewer than "
        f"{number(false_per_week_bound(result))}",
        "phi: design effect, how many times the variance of chance grows as neighbouring calls are alike",
    ]
    limits = list(result.limits)
    for one in result.learnt:
        limits += [f"{one.route} / {one.spec.name}: {says}" for says in one.limits]
    if limits:
        lines += ["", "What this traffic does not allow, or does not show:"]
        lines += [f"  - {says}" for says in limits]
    return "\n".join(lines)


def line(one: Learnt) -> str:
    """One predicate in one line."""
    found = one.one
    if found.rate is not None and found.ceiling is not None:
        healthy = f"{found.rate:.3%}"
        held = one.spec.ceiling if "ceiling" in one.spec.stated else found.ceiling
        limit = f"{held:.2%}" if found.usable else "unusable"
        seen = _found(one.curve if found.usable else (), "{:.1%}")
    else:
        thresholds = found.thresholds_nats
        healthy = f"tolerates {found.tolerance_nats:.3f} nats"
        limit = f"{max(thresholds.values()):.3f} nats" if thresholds else "not judged"
        seen = _found(one.curve, "{:.2f}")
    false = found.false_per_week or 0.0
    mark = "" if found.basis == "guaranteed" else " est."
    name = one.spec.name[:20]
    return f"{name:20} {healthy:>20} {limit:>12} {found.design_effect:6.2f} {seen:>16} {false:10.2g}{mark}"


def _found(curve: Sequence[tuple[float, float | None]], how: str) -> str:
    """The smallest change that is found within ten seconds, or in the first longer time in which any is."""
    some = ((within_s, value) for within_s, value in curve if within_s >= WITHIN_S and value is not None)
    within_s, value = next(some, (0.0, None))
    return "nothing" if value is None else f"{how.format(value)} in {within_s:g} s"
