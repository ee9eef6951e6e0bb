"""`detector calibrate`: learn from days of healthy telemetry."""

from pathlib import Path
from typing import Annotated

import typer

from detector.cli.replay import ContractFile, DurationUnit, Files, Json, Maps, Sets, Start, TimeUnit

Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="F2", help="Where to write the calibrated contract.")
]
Report = Annotated[
    Path | None, typer.Option("--report", metavar="FILE.html", help="Also write a page with plots.")
]


def calibrate(
    files: Files,
    contract: ContractFile,
    out: Out,
    report_file: Report = None,
    maps: Maps = None,
    sets: Sets = None,
    time_unit: TimeUnit = "s",
    duration_unit: DurationUnit = "s",
    start: Start = None,
    json_output: Json = False,
) -> None:
    """Learn references, ceilings and dependence from healthy telemetry, and say what cannot be detected.

    Writes the contract with its `calibration` filled in; all else stays as you wrote it, and your own values
    stand above what was learnt. Minutes that look like incidents are left out and listed. A day of traffic is
    the least, a week is better; the order of the files does not matter. F2 may be the contract itself.

    \b
    detector calibrate monday.jsonl.gz tuesday.jsonl.gz --contract contract.yaml --out calibrated.yaml
    detector calibrate week.parquet -c contract.yaml -o calibrated.yaml --report calibration.html

    Exit code 0: written. 1: the recording is not healthy enough to learn from, or holds nothing, and nothing
    is written; or over half of its rows are no records, and what the others teach is written. 2: wrong use.
    """
    from detector.cli.output import found_wrong, note, print_json, see_that_it_can_be_written, wrong_use
    from detector.cli.progress import bytes_read
    from detector.cli.read_contract import read_contract
    from detector.lab.calibrate import NotHealthyError, page, report
    from detector.lab.calibrate import calibrate as run
    from detector.lab.calibrate.section import SectionError, dropped_said, with_calibration
    from detector.lab.columns import MappingError, parse_columns
    from detector.lab.files import FileError
    from detector.lab.report import few_malformed, unjudged

    judged_by = read_contract(contract)
    see_that_it_can_be_written(out, *files)
    if report_file is not None:
        see_that_it_can_be_written(report_file, *files, contract, out)
    try:
        text = contract.read_bytes().decode("utf-8-sig")
        columns = parse_columns(maps or (), sets or (), time_unit, start, duration_unit)
        with bytes_read(files, "calibrate") as progress:
            result = run(files, judged_by, columns=columns, progress=progress)
        written, dropped = with_calibration(text, result.calibration, str(contract))
        plots = page.render(result) if report_file is not None else ""
        out.write_bytes(written.encode())
        if report_file is not None:
            report_file.write_text(plots, encoding="utf-8")
    except NotHealthyError as error:
        found_wrong(str(error))
    except (MappingError, FileError, SectionError, OSError) as error:
        wrong_use(str(error))
    for warning in result.warnings:
        note(f"detector: {warning}")
    if dropped:
        note(f"detector: {dropped_said(dropped)}")
    if json_output:
        print_json(report.as_json(result))
    else:
        print(report.as_text(result))
        print(f"\nwritten to {out}" + (f", plots to {report_file}" if report_file else ""))
    few = few_malformed(result.records, result.malformed, result.shown)
    if few and json_output:
        note(f"detector: {few}")
    if wrong := unjudged(result.records, 0, result.malformed, result.shown):
        found_wrong(*wrong)
