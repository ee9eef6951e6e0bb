"""`detector replay`: decisions on recorded telemetry."""

from pathlib import Path
from typing import Annotated

import typer

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help=".jsonl, .csv (also .gz), .parquet")]
ContractFile = Annotated[Path, typer.Option("--contract", "-c", help="The contract file to judge by.")]
Maps = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FIELD=COLUMN", help="Read a field from another column. Repeatable."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Give every record the same value. Repeatable."),
]
TimeUnit = Annotated[str, typer.Option(metavar="s|ms|us|iso", help="Unit of event_time alone.")]
DurationUnit = Annotated[
    str, typer.Option(metavar="s|ms|us", help="Unit of latency_s and all other durations; not of features.")
]
Start = Annotated[str | None, typer.Option(metavar="ISO", help="When a file with relative times began.")]
Evaluations = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="Late verdicts, .jsonl (also .gz). Repeatable.")
]
Batch = Annotated[
    int,
    typer.Option(
        min=1,
        help="Most records judged at once. Never changes a decision, but for which of the routes that fail "
        "together max_active_share admits.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def replay(
    files: Files,
    contract: ContractFile,
    maps: Maps = None,
    sets: Sets = None,
    time_unit: TimeUnit = "s",
    duration_unit: DurationUnit = "s",
    start: Start = None,
    evaluations: Evaluations = None,
    batch: Batch = 4096,
    json_output: Json = False,
) -> None:
    """Judge recorded telemetry by the code that runs in production.

    Rows that are no records are counted and shown, and stop nothing. Several files are one stream, in the
    order given: of those of one route that overlap in time, rows come too late to be judged. Evidence names a
    row by its index in the stream, from 0. A late verdict is judged when it was made. Cells that are empty,
    null, NaN, or say nan, NA, N/A or None (in fields of text only those of a csv), were not measured.

    Exit code 0: judged, whatever was detected; an hour without a call is none with a fault, and no rows are
    only said. 1: over half of the rows are no records, or came too late to be judged. 2: wrong use.

    \b
    detector replay calls.jsonl.gz --contract contract.yaml
    detector replay conv.csv --contract contract.yaml --set route=chat --time-unit iso \\
        --map event_time=TIMESTAMP --map input_tokens=ContextTokens --map output_tokens=GeneratedTokens
    """
    from detector.cli.output import found_wrong, note, print_json, wrong_use
    from detector.cli.progress import bytes_read
    from detector.cli.read_contract import read_contract
    from detector.lab import report
    from detector.lab.columns import MappingError, parse_columns
    from detector.lab.files import FileError
    from detector.lab.replay import replay as run

    judged_by = read_contract(contract)
    try:
        columns = parse_columns(maps or (), sets or (), time_unit, start, duration_unit)
        with bytes_read(files, "replay") as progress:
            result = run(
                files,
                judged_by,
                columns=columns,
                batch=batch,
                progress=progress,
                evaluations=evaluations or (),
            )
    except (MappingError, FileError, OSError) as error:
        wrong_use(str(error))
    if json_output:
        print_json(report.as_json(result))
        for notice in result.notices:
            note(f"detector: {report.said(notice)}")
    else:
        report.as_text(result)
    if json_output and result.unmeasured:  # the text says so beside the shares armed
        said = ", ".join(f"{name} ({field})" for name, field in result.unmeasured.items())
        note(f"detector: no row has the field that is judged by: {said}")
    if late := report.many_late(result.late, result.records, len(files)):
        note(f"detector: {late}")
    for warning in result.warnings:
        note(f"detector: {warning}")
    if not result.records and not result.malformed:
        note("detector: there are no rows")
    few = report.few_malformed(result.records, result.malformed, result.shown)
    if few and json_output:
        note(f"detector: {few}")
    if wrong := report.unjudged(result.records, result.late, result.malformed, result.shown, len(files)):
        found_wrong(*wrong)
