"""A sweep's result for people and for programs."""

import sys
from dataclasses import asdict
from typing import Any

from detector.lab.report import clock, malformed_lines, never_armed, too_late
from detector.lab.sweep import SweepResult, Tried, order
from detector.lab.sweep_measure import Measures
from detector.lab.words import counted

_PIPE_WIDTH = 180


def as_json(result: SweepResult) -> dict[str, Any]:
    """The document of `sweep --json`."""
    return {
        "records": result.records,
        "malformed": result.malformed,
        "late": result.late,
        "first_event_time": result.first_event_time,
        "last_event_time": result.last_event_time,
        "split_at": result.split_at,
        "incidents": result.incidents,
        "unused_incidents": [
            {
                "scope": each.scope,
                "mode": each.mode,
                "from": each.start,
                "to": each.end,
                "label": each.label,
                "why": why,
            }
            for each, why in result.unused
        ],
        "settings": [tried_as_json(each) for each in result.tried],
    }


def unused_said(result: SweepResult) -> str:
    """What to say of incidents that have no part in the measures; nothing if all have."""
    if not result.unused:
        return ""
    first, why = result.unused[0]
    more = "" if len(result.unused) == 1 else f"; {len(result.unused)} such rows in all"
    span = f"{clock(first.start)} to {clock(first.end)}"
    return f"incident of {first.scope} {first.mode}, {span}, is left out: {why}{more}"


def tried_as_json(tried: Tried) -> dict[str, Any]:
    """One setting of the document."""
    return {
        "set": dict(tried.setting.values),
        "contract": tried.setting.contract.digest,
        "pareto": tried.pareto,
        "chosen": tried.chosen,
        "armed": tried.armed,
        "late": tried.late,
        "digest": tried.digest,
        "measures": _measures(tried.measures),
        "held_out": None if tried.held_out is None else _measures(tried.held_out),
    }


def _measures(found: Measures) -> dict[str, Any]:
    return asdict(found) | {"found_share": found.found_share}


def as_text(result: SweepResult) -> None:
    """Print a row per setting; with a held-out split the choice is made above and reported below."""
    from rich.console import Console

    console = Console(
        highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH
    )
    console.print(
        f"{counted(result.records, 'record')}, {result.malformed:,} malformed, {too_late(result.late)}, "
        f"{counted(len(result.tried), 'setting')}"
        + ("" if result.incidents is None else f", {counted(result.incidents, 'incident')}")
    )
    for line in malformed_lines(result.malformed, result.shown):
        console.print(line)
    if result.first_event_time is None or result.last_event_time is None:
        console.print("no records, so nothing to compare")
        return
    console.print(f"event time {clock(result.first_event_time)} to {clock(result.last_event_time)}")
    first = [(each, each.measures) for each in result.tried]
    if result.incidents is not None and not first[0][1].incidents:
        console.print("No incident begins in the part that is chosen on, so none is chosen (no >).")
    if result.split_at is None:
        console.print(_table(first, "by setting", known=result.incidents is not None, marked=True))
    else:
        title = f"chosen on the first part, until {clock(result.split_at)}"
        console.print(_table(first, title, known=result.incidents is not None, marked=True))
        rest = [(each, each.held_out) for each in result.tried if each.held_out is not None]
        console.print(_table(rest, "held out: the rest", known=result.incidents is not None, marked=False))
    console.print(_legend(result))
    if tied := _tied(result):
        console.print(tied)
    if deaf := _deaf(result):
        console.print(never_armed(deaf))


def _deaf(result: SweepResult) -> list[str]:
    """Predicates that were never armed, and under how many settings if not under all."""
    found = []
    for name in sorted({name for each in result.tried for name in each.armed}):
        number = sum(each.armed.get(name) == 0.0 for each in result.tried)
        if number:
            some = "" if number == len(result.tried) else f" (under {number} of {len(result.tried)} settings)"
            found.append(f"{name}{some}")
    return found


def _tied(result: SweepResult) -> str:
    """That the choice is no better than others; nothing if it is."""
    best = next((each for each in result.tried if each.chosen), None)
    alike = [each for each in result.tried if best and order(each.measures) == order(best.measures)]
    if best is None or len(alike) < 2:
        return ""
    number = counted(len(result.tried), "setting")
    some = f"all {number}" if len(alike) == len(result.tried) else f"{len(alike)} of {number}"
    whose = "nearest to the contract's own" if best.setting.distance else "the contract's own"
    return (
        f"no difference between {some} in mistakes, delay, calls "
        f"diverted needlessly and flaps: > marks {whose}"
    )


def _legend(result: SweepResult) -> str:
    if result.incidents is None:
        return (
            "Without --incidents nobody knows which activations are false; label some with `detector label`. "
            "Recorded calls do not answer to what is decided."
        )
    return (
        "* not beaten in everything at once (Pareto: false, missed, delay, flaps, needlessly diverted)   "
        "> fewest mistakes, then the shortest delay\n"
        "delay: event time from an incident's `from`, as the file states it, to the deciding record or pane; "
        f"decisions by window come {result.tried[0].measures.wait_s:g} s later. A `from` that "
        "`detector label` chose lies a minute or so before the activation, and the delay counts that in.\n"
        "Recorded calls do not answer to what is decided."
    )


def _table(rows: list[tuple[Tried, Measures]], title: str, *, known: bool, marked: bool) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("")
    for path in rows[0][0].setting.values:
        table.add_column(path.rpartition(".")[2], justify="right")
    heads = ["activations"]
    heads += (
        ["false", "false a week (95 %)", "benign", "found", "delay s p50", "p95"]
        if known
        else ["a week (95 %)"]
    )
    heads += ["flaps", "diverted", *(["needless"] if known else []), "armed"]
    for head in heads:
        table.add_column(head, justify="right")
    for tried, found in rows:
        mark = (">" if tried.chosen else "") + ("*" if tried.pareto and marked else "")
        low, high = found.false_per_week_interval
        weekly = f"{found.false_per_week:.3g} ({low:.3g} to {high:.3g})"
        cells = [mark, *map(str, tried.setting.values.values()), str(found.activations)]
        if known:
            cells += [str(found.false), weekly, str(found.benign), f"{found.found} of {found.incidents}"]
            cells += [_seconds(found.delay_p50_s), _seconds(found.delay_p95_s)]
        else:
            cells.append(weekly)
        cells += [str(found.flaps), f"{found.diverted:.2%}"]
        cells += [f"{found.needless:.2%}"] if found.needless is not None else ["-"] if known else []
        table.add_row(*cells, f"{_armed(tried):.0%}")
    return table


def _armed(tried: Tried) -> float:
    """Share of records for which the predicates that the setting is about were armed; of all if none is."""
    named = {path.split(".")[1] for path in tried.setting.values if path.startswith("predicates.")}
    shares = [share for name, share in tried.armed.items() if name in named] or list(tried.armed.values())
    return min(shares, default=0.0)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
