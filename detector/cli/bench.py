"""`detector bench`: figures of the service on a real broker, beside a bare client in the same run."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detector.cli.connect import Bootstrap, SettingsFile
from detector.cli.on_broker import on_broker

if TYPE_CHECKING:
    from detector.bench.place import Place

bench = typer.Typer(
    help="Figures on a broker that is given or started, beside a bare client in the same run.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Partitions = Annotated[int, typer.Option(min=1, help="Of the telemetry topic.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@bench.command("throughput", short_help="records judged per second, CPU per record")
def throughput(
    bootstrap: Bootstrap = None,
    records: Annotated[int, typer.Option(min=1, help="Records judged under the clock.")] = 1_200_000,
    partitions: Partitions = 8,
    routes: Annotated[int, typer.Option(min=1, help="Routes that the records are spread over.")] = 64,
    history: Annotated[
        int | None, typer.Option(min=0, help="Seconds of calls before, so that every predicate is armed.")
    ] = None,
    settings_file: SettingsFile = None,
    json_output: Json = False,
) -> None:
    """How many records a second one worker judges, beside a bare client that only decodes them.

    \b
    detector bench throughput
    detector bench throughput --bootstrap kafka:9092 --json

    Where no broker is named by --bootstrap, DETECTOR_BOOTSTRAP or the settings file, Apache Kafka is started
    from its jars. Topics are made under a random prefix and removed again.
    """
    from detector.bench import throughput as bench_throughput

    seconds = bench_throughput.HISTORY_S if history is None else history
    _run(
        lambda place: bench_throughput.measure(place, records=records, routes=routes, history_s=seconds),
        bootstrap,
        settings_file,
        partitions,
        json_output,
    )


@bench.command("latency", short_help="from evidence to control record")
def latency(
    bootstrap: Bootstrap = None,
    rate: Annotated[int, typer.Option(min=1, help="Healthy calls a second in the background.")] = 20_000,
    evidence: Annotated[int, typer.Option(min=1, help="Routes that begin to fail, one sample each.")] = 1_500,
    evidence_per_s: Annotated[float, typer.Option(min=0.1, help="So many of them a second.")] = 20.0,
    partitions: Partitions = 8,
    routes: Annotated[int, typer.Option(min=1, help="Routes of the background.")] = 200,
    settings_file: SettingsFile = None,
    json_output: Json = False,
) -> None:
    """How long after the record that crosses a line a reader of the control topic knows.

    \b
    detector bench latency --rate 20000
    detector bench latency --bootstrap kafka:9092 --json

    Broker and topics as for throughput.
    """
    from detector.bench import latency as bench_latency

    _run(
        lambda place: bench_latency.measure(
            place, rate=rate, evidence=evidence, routes=routes, per_s=evidence_per_s
        ),
        bootstrap,
        settings_file,
        partitions,
        json_output,
    )


def _run(
    measure: "Callable[[Place], Any]",
    bootstrap: str | None,
    settings_file: Path | None,
    partitions: int,
    json_output: bool,
) -> None:
    from dataclasses import asdict

    from detector.cli.output import print_json

    found = asdict(
        on_broker(measure, bootstrap=bootstrap, settings_file=settings_file, partitions=partitions)
    )
    if json_output:
        print_json(found)
        return
    for name, value in found.items():
        print(f"{name:20} {value}")
