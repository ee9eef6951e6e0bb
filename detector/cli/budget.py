"""`detector budget`: the latency budget of a contract, stated and measured."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.replay import DurationUnit, Json, Maps, Sets, Start, TimeUnit

if TYPE_CHECKING:
    from detector.lab.budget import Line
    from detector.lab.files import Malformed, Row
    from topics.telemetry import TelemetryRecord

# What `check` says of the same thing: here it is the answer, not an obstacle.
_SHOWN_HERE = ("fallback-too-slow", "fallback-mean-too-slow", "slo-contradiction")


def budget(
    contract: Annotated[Path, typer.Argument(metavar="F", help="The contract file.")],
    telemetry: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Telemetry to measure: .jsonl, .csv, .parquet. Repeatable."),
    ] = None,
    maps: Maps = None,
    sets: Sets = None,
    time_unit: TimeUnit = "s",
    duration_unit: DurationUnit = "s",
    start: Start = None,
    json_output: Json = False,
) -> None:
    """Show what the promised p99 leaves for fallbacks, and whether each keeps within it.

    A call that the primary was given up on has p99_ms - primary_p99_ms left. With telemetry, what calls took
    is shown beside what the contract states: the primary's by route, the fallbacks' by `served_by`.

    \b
    detector budget contract.yaml
    detector budget contract.yaml --telemetry calls.jsonl.gz

    Exit code 0: all within their limits. 1: something is not, or over half of the rows are no records.
    """
    from detector.cli.output import FOUND, found_wrong, note, print_json, wrong_use
    from detector.cli.progress import bytes_read
    from detector.cli.read_contract import read_contract
    from detector.lab.budget import budget as made
    from detector.lab.columns import MappingError, parse_columns
    from detector.lab.doubts import Doubts
    from detector.lab.files import FileError, read_rows
    from detector.lab.report import few_malformed, unjudged

    judged_by = read_contract(contract, _SHOWN_HERE)
    files = telemetry or []
    left_out = _LeftOut()
    try:
        columns = parse_columns(maps or (), sets or (), time_unit, start, duration_unit)
        doubts = Doubts(columns)
        with bytes_read(files, "measure") as progress:
            rows = doubts.watch(read_rows(files, columns, progress, doubts.tell, doubts.unread_columns))
            found = made(judged_by, left_out.records(rows))
    except (MappingError, FileError, OSError) as error:
        wrong_use(str(error))
    for said in doubts.said():
        note(f"detector: {said}")
    if few := few_malformed(found.records, left_out.malformed, left_out.shown):
        note(f"detector: {few}")
    wrong = unjudged(found.records, 0, left_out.malformed, left_out.shown)
    if json_output:
        print_json(asdict(found) | {"malformed": left_out.malformed, "ok": found.ok and not wrong})
    else:
        _show(found.routes, found.fallbacks, found.mean)
    if wrong:
        found_wrong(*wrong)
    if not found.ok:
        raise typer.Exit(FOUND)


class _LeftOut:
    """Rows that are no records: how many, and the first few of them."""

    def __init__(self) -> None:
        self.malformed = 0
        self.shown: list[Malformed] = []

    def records(self, rows: "Iterable[Row]") -> "Iterator[TelemetryRecord]":
        """Hand on the rows that are records, and count the others."""
        from detector.lab.files import SHOWN, Malformed

        for row in rows:
            if isinstance(row, Malformed):
                self.malformed += 1
                self.shown += [row] if len(self.shown) < SHOWN else []
            else:
                yield row


def _show(routes: "tuple[Line, ...]", fallbacks: "tuple[Line, ...]", mean: "Line") -> None:
    from rich.table import Table

    from detector.cli.output import plain_console

    table = Table("", "may take", "stated p99", "measured p99", "calls", "", title="ms", title_justify="left")
    for what, lines in (("primary of", routes), ("fallback", fallbacks), ("fallbacks,", (mean,))):
        for line in lines:
            measured = "-" if line.measured_ms is None else f"{line.measured_ms:g}"
            said = "" if line.ok else "too slow"
            numbers = (f"{line.limit_ms:g}", f"{line.stated_ms:g}", measured, f"{line.n:,}")
            table.add_row(f"{what} {line.name}", *numbers, said)
    plain_console().print(table)
