"""`detector drill`: a fire drill of a contract, on a real broker."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.connect import Bootstrap, SettingsFile
from detector.cli.on_broker import on_broker

if TYPE_CHECKING:
    from detector.bench.drill import Report


def drill(
    contract: Annotated[
        Path,
        typer.Option(metavar="F", envvar="DETECTOR_CONTRACT", show_envvar=False, help="The contract file."),
    ],
    bootstrap: Bootstrap = None,
    partitions: Annotated[int, typer.Option(min=1, help="Of the telemetry topic.")] = 8,
    settings_file: SettingsFile = None,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Inject a spike of every failure mode that acts, and see that a gateway is told in time.

    Made-up calls keep the contract's limits, then break them, through a real broker, one worker and one
    gateway's client that obeys. A mode passes if it is acted on with the fallbacks of the matrix, within
    monitoring_ms of the record that crossed the line, and if the calls come back.

    \b
    detector drill --contract contract.yaml
    detector drill --contract contract.yaml --bootstrap kafka:9092 --json

    Where no broker is named by --bootstrap, DETECTOR_BOOTSTRAP or the settings file, Apache Kafka is started
    from its jars. Topics are made under a random prefix and removed again. Exit code 0: every mode passes.
    1: one does not.
    """
    from dataclasses import asdict

    from detector.bench.drill import drill as drilled
    from detector.cli.output import FOUND, print_json
    from detector.cli.read_contract import read_contract

    judged_by = read_contract(contract)
    report = on_broker(
        lambda place: drilled(place, judged_by),
        bootstrap=bootstrap,
        settings_file=settings_file,
        partitions=partitions,
        contract=contract.read_bytes(),
    )
    if json_output:
        print_json(asdict(report))
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(FOUND)


def _show(report: "Report") -> None:
    from rich.table import Column, Table

    from detector.cli.output import plain_console

    table = Table(Column("mode", no_wrap=True), "acted after", "evidence to gateway", "back after", "")
    for each in report.modes:
        said = "ok" if each.ok else "; ".join(each.why)
        table.add_row(
            each.mode,
            _seconds(each.delay_s),
            "" if each.evidence_ms is None else f"{each.evidence_ms:.1f} of {each.budget_ms:g} ms",
            _seconds(each.back_s),
            said,
        )
    plain_console().print(table)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
