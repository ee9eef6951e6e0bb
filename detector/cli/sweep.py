"""`detector sweep`: the same traffic under other numbers."""

from pathlib import Path
from typing import Annotated

import typer

from detector.cli.replay import ContractFile, DurationUnit, Evaluations, Files, Json, Maps, Start, TimeUnit

Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE,VALUE",
        help="A key of the contract and the values to try; several make a grid. "
        "FIELD=VALUE gives every record the same value, as in replay. Repeatable.",
    ),
]


def sweep(
    files: Files,
    contract: ContractFile,
    sets: Sets = None,
    incidents: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="What was really wrong: scope,mode,from,to; see `detector label`."),
    ] = None,
    split: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Choose on so much of the time, report on the rest as well."),
    ] = None,
    maps: Maps = None,
    time_unit: TimeUnit = "s",
    duration_unit: DurationUnit = "s",
    start: Start = None,
    evaluations: Evaluations = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes to share the settings over.")] = 2,
    json_output: Json = False,
) -> None:
    """Try thresholds on recorded telemetry: mistakes, delay and calls diverted, per setting.

    Each setting is judged by the code that runs in production; the files are read once. Recorded calls do not
    answer to what is decided, so what a fallback would have changed is not in it.

    Exit code 0: compared. 1: there are no rows, or over half of them are no records or came too late to be
    judged. 2: wrong use.

    \b
    detector sweep calls.jsonl.gz --contract contract.yaml --incidents incidents.csv \\
        --set predicates.input_drift.threshold_nats=0.05,0.07,0.1 --split 0.5
    """
    from detector.cli.output import found_wrong, note, print_json, wrong_use
    from detector.cli.progress import bytes_read
    from detector.cli.read_contract import read_contract
    from detector.lab import sweep_report
    from detector.lab.columns import MappingError, parse_columns
    from detector.lab.files import FileError
    from detector.lab.incidents import IncidentError, read_incidents
    from detector.lab.report import few_malformed, many_late, unjudged
    from detector.lab.settings_grid import SettingError, grid, is_path, parse_sets
    from detector.lab.sweep import sweep as run

    read_contract(contract)
    if split is not None and not 0 < split < 1:
        wrong_use(f"--split {split:g}: expected a share of the time, above 0 and below 1")
    try:
        tried = parse_sets(text for text in sets or () if is_path(text))
        constants = [text for text in sets or () if not is_path(text)]
        columns = parse_columns(maps or (), constants, time_unit, start, duration_unit)
        settings = grid(contract.read_bytes(), str(contract), tried)
        known = None if incidents is None else read_incidents(incidents)
        with bytes_read(files, f"sweep, {len(settings)} settings") as progress:
            result = run(
                files,
                settings,
                columns=columns,
                incidents=known,
                split=split,
                workers=workers,
                progress=progress,
                evaluations=evaluations or (),
            )
    except (MappingError, FileError, SettingError, IncidentError, OSError) as error:
        wrong_use(str(error))
    for warning in result.warnings:
        note(f"detector: {warning}")
    if unused := sweep_report.unused_said(result):
        note(f"detector: {unused}")
    if json_output:
        print_json(sweep_report.as_json(result))
    else:
        sweep_report.as_text(result)
    if late := many_late(result.late, result.records, len(files)):
        note(f"detector: {late}")
    if not result.records and not result.malformed:
        found_wrong("there are no rows")
    few = few_malformed(result.records, result.malformed, result.shown)
    if few and json_output:
        note(f"detector: {few}")
    if wrong := unjudged(result.records, result.late, result.malformed, result.shown, len(files)):
        found_wrong(*wrong)
