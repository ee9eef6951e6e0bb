"""A replay's result for people and for programs."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from detector.lab.files import MANY_MALFORMED, Malformed
from detector.lab.outcome import Activation, Notice
from detector.lab.replay import ReplayResult
from detector.lab.words import counted

_PIPE_WIDTH = 160
_MANY_LATE = 0.01  # of the records


def as_json(result: ReplayResult) -> dict[str, Any]:
    """The document of `replay --json`."""
    return {
        "records": result.records,
        "malformed": result.malformed,
        "late": result.late,
        "first_event_time": result.first_event_time,
        "last_event_time": result.last_event_time,
        "elapsed_s": result.elapsed_s,
        "activations": [_activation(each) for each in result.activations],
        "armed": result.armed,
        "digest": result.digest,
    }


def _activation(each: Activation) -> dict[str, Any]:
    """As the document has it: what it is, not how it came to be known."""
    found: dict[str, Any] = msgspec.to_builtins(each)
    return {name: value for name, value in found.items() if name not in ("named_at", "opened_by")}


def as_text(result: ReplayResult) -> None:
    """Print what was judged, what was detected, when and on which evidence."""
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width of its own, and a table squeezed into 80 columns is no table.
    console = Console(
        highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH
    )
    judged = result.records - result.late
    rate = judged / result.elapsed_s if result.elapsed_s > 0 else 0.0
    console.print(
        f"{judged_of(judged, result.records)} judged in {result.elapsed_s:.2f} s ({rate:,.0f} a second), "
        f"{result.malformed:,} malformed, {too_late(result.late)}"
        + (f", {result.clamped:,} stamped too far ahead" if result.clamped else "")
    )
    if result.first_event_time is not None and result.last_event_time is not None:
        console.print(f"event time {clock(result.first_event_time)} to {clock(result.last_event_time)}")
    for line in malformed_lines(result.malformed, result.shown):
        console.print(line)

    if result.activations:
        table = Table(
            "scope", "mode", "does", "activated", "for", "evidence", title="detected", title_justify="left"
        )
        for activation in result.activations:
            table.add_row(
                activation.scope,
                _mode(activation),
                activation.disposition,
                clock(activation.activated_at),
                _duration(activation),
                evidence(activation),
            )
        console.print(table)
    else:
        console.print("nothing detected")

    for notice in result.notices:
        console.print(said(notice))

    if result.armed:
        shares = ", ".join(
            f"{name} {share:.0%}"
            + (f" (no row has {result.unmeasured[name]})" if name in result.unmeasured else "")
            for name, share in sorted(result.armed.items())
        )
        console.print(f"armed while judging: {shares}")
        deaf = [name for name, share in sorted(result.armed.items()) if share == 0.0]
        if deaf:
            console.print(never_armed(deaf))
    console.print(f"digest {result.digest}")


def malformed_lines(malformed: int, shown: Sequence[Malformed]) -> Iterator[str]:
    """The first malformed rows, a line each, and how many there are beside them."""
    for row in shown:
        yield f"  malformed: {row.said}"
    if malformed > len(shown) > 0:
        yield f"  and {malformed - len(shown):,} more"


def few_malformed(records: int, malformed: int, shown: Sequence[Malformed]) -> str:
    """What to say where a few rows are malformed; nothing where the files' reader or `unjudged` tells."""
    if not shown or malformed > MANY_MALFORMED * (records + malformed):
        return ""
    rows = "row was" if malformed == 1 else "rows were"
    return f"{malformed:,} malformed {rows} left out, such as {shown[0].said}"


def never_armed(names: Iterable[str]) -> str:
    """That predicates could not say anything on this traffic."""
    return f"never armed, so nothing can be said by: {', '.join(names)}"


def judged_of(judged: int, records: int) -> str:
    """How many records there are, or how many of them were judged where not all were."""
    return counted(records, "record") if judged == records else f"{judged:,} of {counted(records, 'record')}"


def too_late(late: int) -> str:
    """How many records are older than every window; those that are only late are judged."""
    return f"{late:,} {'too late to be judged' if late else 'late'}"


def many_late(late: int, records: int, files: int = 1) -> str:
    """What to say where one record in a hundred or more came too late to be judged; else nothing."""
    if late < _MANY_LATE * records or not late or mostly(late, records):
        return ""
    are, were = ("is", "was") if late == 1 else ("are", "were")
    return (
        f"{late:,} of {counted(records, 'record')} {are} older than every window and {were} not judged: "
        f"{_in_order(files)}"
    )


def _in_order(files: int) -> str:
    """What makes late rows timely; `--set route` does not, it is for all files of a command."""
    if files == 1:
        return "sort the rows by time"
    return (
        "sort rows by time, give files in that order too, and merge those of one route that overlap in time, "
        "or give each by itself"
    )


def mostly(some: int, of: int) -> bool:
    """Whether it is over half of them."""
    return 2 * some > of


def unjudged(
    records: int, late: int, malformed: int, shown: Sequence[Malformed], files: int = 1
) -> tuple[str, ...]:
    """What to say, as something that is wrong, where over half of what was given could not be judged."""
    found = []
    if not records and malformed == 1 and shown:
        found.append(f"the only row is no record: {shown[0].said}")
    elif not records and shown:
        found.append(f"not one of {malformed:,} rows is a record: {usual(shown).said}")
    elif mostly(malformed, records + malformed) and shown:
        found.append(
            f"{malformed:,} of {records + malformed:,} rows are malformed, such as {usual(shown).said}; "
            f"only the other {'record counts' if records == 1 else f'{records:,} count'}"
        )
    if mostly(late, records):
        asked = (
            "is the file in descending time order?"
            if files == 1
            else "is a file in descending time order, or do files overlap?"
        )
        found.append(f"{late:,} of {records:,} rows are late: {asked} {_in_order(files)}")
    return tuple(found)


def usual(shown: Sequence[Malformed]) -> Malformed:
    """The first malformed row with the most frequent fault: of one odd row before many, one of the many."""
    places = Counter(row.path for row in shown)
    return max(shown, key=lambda row: places[row.path])


def said(notice: Notice) -> str:
    """A notice in one line."""
    return f"notice on {notice.scope} at {clock(notice.at)}: {notice.reason}"


def clock(at: float) -> str:
    """Unix seconds as UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def _mode(activation: Activation) -> str:
    """The cause, and how long it took to know it where another one was named first."""
    if activation.named_at is None:
        return activation.mode
    return f"{activation.mode} (named {activation.named_at - activation.activated_at:.1f} s later)"


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
    return f"{found.predicate}{crossed}, {counted(found.samples, 'sample')}{window}, row {found.offset}"
