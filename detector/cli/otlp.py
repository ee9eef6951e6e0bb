"""`detector otlp`: OpenTelemetry in."""

from enum import StrEnum
from typing import Annotated

import typer

from detector.cli.connect import Bootstrap, SettingsFile, TopicPrefix, read_process
from detector.cli.output import wrong_use


class EncodingName(StrEnum):
    """As the collector's Kafka exporter names them."""

    OTLP_PROTO = "otlp_proto"
    OTLP_JSON = "otlp_json"


def otlp(
    bootstrap: Bootstrap = None,
    spans: Annotated[str, typer.Option(help="Topic of spans; empty: none are read.")] = "otlp_spans",
    logs: Annotated[str, typer.Option(help="Topic of log records; empty: none are read.")] = "otlp_logs",
    encoding: Annotated[EncodingName, typer.Option(help="Of both topics.")] = EncodingName.OTLP_PROTO,
    max_age_s: Annotated[
        float, typer.Option(min=1.0, help="Spans that ended longer ago make no telemetry.")
    ] = 300.0,
    topic_prefix: TopicPrefix = None,
    http_port: Annotated[int | None, typer.Option(help="Health and metrics; 0 is any free port.")] = None,
    http_host: Annotated[str | None, typer.Option(help="Address of health and metrics.")] = None,
    settings_file: SettingsFile = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Make telemetry of what an OpenTelemetry collector writes to Kafka, until SIGTERM.

    \b
    detector otlp --bootstrap kafka:9092
    detector otlp --bootstrap kafka:9092 --encoding otlp_json --logs ""

    Spans of LLM calls become records on llm.telemetry, gen_ai.evaluation.result events become verdicts on
    llm.evaluations. Run one of it. --topic-prefix is not put before the collector's topics. Settings as for
    `detector run`.

    Exit code 0: told to stop. 1: cannot start, with the reason. 2: wrong use.
    """
    flags = {
        "bootstrap": bootstrap,
        "http_port": http_port,
        "http_host": http_host,
        "topic_prefix": topic_prefix,
        "log_level": log_level,
    }
    settings = read_process(flags, settings_file)
    if spans == logs:
        wrong_use("--spans and --logs: expected two topics" if spans else "--spans and --logs are both empty")
    from detector.service.otlp.run import Inputs, serve

    raise typer.Exit(
        serve(settings, Inputs(spans=spans, logs=logs, encoding=encoding.value, max_age_s=max_age_s))
    )
