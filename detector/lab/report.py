"""A replay's result for people and for programs."""

import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from detector.lab.outcome import Activation, Notice
from detector.lab.replay import ReplayResult

_PIPE_WIDTH = 160


def as_json(result: ReplayResult) -> dict[str, Any]:
    """The document of `replay --json`."""
    return {
        "records": result.records,
        "malformed": result.malformed,
        "late": result.late,
        "first_event_time": result.first_event_time,
        "last_event_time": result.last_event_time,
        "elapsed_s": result.elapsed_s,
        "activations": [msgspec.to_builtins(activation) for activation in result.activations],
        "armed": result.armed,
        "digest": result.digest,
    }


def as_text(result: ReplayResult) -> None:
    """Print what was judged, what was detected, when and on which evidence."""
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width of its own, and a table squeezed into 80 columns is no table.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    rate = result.records / result.elapsed_s if result.elapsed_s > 0 else 0.0
    console.print(
        f"{result.records:,} records judged in {result.elapsed_s:.2f} s ({rate:,.0f} a second), "
        f"{result.malformed:,} malformed, {result.late:,} late"
        + (f", {result.clamped:,} stamped too far ahead" if result.clamped else "")
    )
    if result.first_event_time is not None and result.last_event_time is not None:
        console.print(f"event time {clock(result.first_event_time)} to {clock(result.last_event_time)}")
    for row in result.shown:
        console.print(f"  malformed: {row.said}", markup=False)
    if result.malformed > len(result.shown) > 0:
        console.print(f"  and {result.malformed - len(result.shown):,} more")

    if result.activations:
        table = Table(
            "scope", "mode", "does", "activated", "for", "evidence", title="detected", title_justify="left"
        )
        for activation in result.activations:
            table.add_row(
                activation.scope,
                activation.mode,
                activation.disposition,
                clock(activation.activated_at),
                _duration(activation),
                evidence(activation),
            )
        console.print(table)
    else:
        console.print("nothing detected")

    for notice in result.notices:
        console.print(said(notice), markup=False)

    if result.armed:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in sorted(result.armed.items()))
        console.print(f"armed while judging: {shares}")
        deaf = [name for name, share in sorted(result.armed.items()) if share == 0.0]
        if deaf:
            console.print(f"never armed, so nothing can be said by: {', '.join(deaf)}")
    console.print(f"digest {result.digest}")


def said(notice: Notice) -> str:
    """A notice in one line."""
    return f"notice on {notice.scope} at {clock(notice.at)}: {notice.reason}"


def clock(at: float) -> str:
    """Unix seconds as UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def _duration(activation: Activation) -> str:
    if activation.deactivated_at is None:
        return "to the end"
    return f"{activation.deactivated_at - activation.activated_at:.1f} s"


def evidence(activation: Activation) -> str:
    """One line: what crossed which line, on how many samples, at which row."""
    found = activation.evidence
    crossed = (
        f" {found.value:.4g} over {found.threshold:.4g}"
        if found.value is not None and found.threshold is not None
        else ""
    )
    window = f" in {found.window_s:g} s" if found.window_s is not None else ""
    return f"{found.predicate}{crossed}, {found.samples} samples{window}, row {found.offset}"
