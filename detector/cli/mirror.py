"""`detector mirror`: the state of the control topic where others read it."""

from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.connect import Bootstrap, SettingsFile, TopicPrefix, read_sources
from detector.cli.output import wrong_use

if TYPE_CHECKING:
    from detector.service.mirror.picture import Target

_NEEDS_REDIS = "for Redis: pip install 'llm-fallback-detector[service,redis]'"


def mirror(
    bootstrap: Bootstrap = None,
    redis: Annotated[
        str | None, typer.Option(envvar="DETECTOR_REDIS", show_envvar=False, help="redis://HOST:PORT/DB")
    ] = None,
    http_port: Annotated[int | None, typer.Option(help="Health and metrics; 0 is any free port.")] = None,
    http_host: Annotated[str | None, typer.Option(help="Address of health and metrics.")] = None,
    topic_prefix: TopicPrefix = None,
    settings_file: SettingsFile = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Keep others like the control topic, for those who do not read Kafka, until SIGTERM.

    \b
    detector mirror --bootstrap kafka:9092 --redis redis://redis:6379/0

    Redis has the record of each scope that is active under {detector}:scope:SCOPE, no longer than its lease
    lasts: no key, use the primary. A password belongs in DETECTOR_REDIS, not on the command line.

    Several processes may mirror to the same places.

    Exit code 0: told to stop. 1: no port for health and metrics. 2: wrong use.
    """
    from detector.service import logs
    from detector.service.mirror.run import mirror_id, serve

    flags = {
        "bootstrap": bootstrap,
        "http_port": http_port,
        "http_host": http_host,
        "topic_prefix": topic_prefix,
        "log_level": log_level,
    }
    settings, told = read_sources(flags, settings_file)
    if "bootstrap" not in told:
        wrong_use("where are the brokers? --bootstrap HOST:PORT")
    targets: list[Target] = []
    if redis:
        try:
            from detector.service.mirror.redis import RedisMirror
        except ModuleNotFoundError:
            wrong_use(_NEEDS_REDIS)
        try:
            targets.append(RedisMirror(redis, topic_prefix=settings.topic_prefix, mirror_id=mirror_id()))
        except ValueError as error:
            wrong_use(f"--redis: {error}")
    if not targets:
        wrong_use("mirror to what? --redis URL")
    logs.configure(settings.log_level)
    raise typer.Exit(serve(settings, targets))
