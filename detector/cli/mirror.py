"""`detector mirror`: the state of the control topic where others read it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.connect import Bootstrap, SettingsFile, TopicPrefix, read_process
from detector.cli.output import wrong_use

if TYPE_CHECKING:
    from detector.service.mirror.picture import Target

_NEEDS_REDIS = "for Redis: pip install 'llm-fallback-detector[service,redis]'"


def mirror(
    bootstrap: Bootstrap = None,
    redis: Annotated[
        str | None, typer.Option(envvar="DETECTOR_REDIS", show_envvar=False, help="redis://HOST:PORT/DB")
    ] = None,
    flags: Annotated[
        Path | None,
        typer.Option(envvar="DETECTOR_FLAGS", show_envvar=False, help="File of feature flags, for flagd."),
    ] = None,
    alertmanager: Annotated[
        list[str] | None,
        typer.Option(
            envvar="DETECTOR_ALERTMANAGER", show_envvar=False, help="http://HOST:PORT, each of a cluster."
        ),
    ] = None,
    hold_max_s: Annotated[
        float, typer.Option(min=0.0, max=86_400.0, help="The most that `on_expiry: hold` outlives a lease.")
    ] = 86_400.0,
    http_port: Annotated[int | None, typer.Option(help="Health and metrics; 0 is any free port.")] = None,
    http_host: Annotated[str | None, typer.Option(help="Address of health and metrics.")] = None,
    topic_prefix: TopicPrefix = None,
    settings_file: SettingsFile = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Keep others like the control topic, for those who do not read Kafka, until SIGTERM.

    \b
    detector mirror --bootstrap kafka:9092 --redis redis://redis:6379/0
    detector mirror --bootstrap kafka:9092 --flags /flags/llm.json --alertmanager http://alertmanager:9093

    \b
    --redis         {detector}:scope:SCOPE is the record of each scope that is active,
                    no longer than its lease lasts: no key, use the primary. A password
                    belongs in DETECTOR_REDIS, not on the command line.
    --flags         llm.fallback.ROUTE and llm.avoid.SCOPE, whose rules end with the
                    lease too.
    --alertmanager  LLMFallbackActive for each scope that is active; may be given
                    several times.

    Several processes may mirror to the same places; each file of flags has one. Redis needs
    `pip install 'llm-fallback-detector[service,redis]'`.

    Exit code 0: told to stop. 1: no port for health and metrics. 2: wrong use.
    """
    from detector.service.mirror.alertmanager import AlertmanagerMirror
    from detector.service.mirror.flagd import FlagFile
    from detector.service.mirror.run import serve

    given = {
        "bootstrap": bootstrap,
        "http_port": http_port,
        "http_host": http_host,
        "topic_prefix": topic_prefix,
        "log_level": log_level,
    }
    settings = read_process(given, settings_file)
    targets: list[Target] = []
    if redis:
        targets.append(_made("--redis", lambda: _redis(redis, settings.topic_prefix)))
    if flags:
        targets.append(_made("--flags", lambda: FlagFile(flags)))
    urls = dict.fromkeys(alertmanager or ())
    targets += [_made("--alertmanager", partial(AlertmanagerMirror, url)) for url in urls]
    if not targets:
        wrong_use("mirror to what? --redis, --flags or --alertmanager, or several of them")
    raise typer.Exit(serve(settings, targets, hold_max_s=hold_max_s))


def _made(option: str, make: "Callable[[], Target]") -> "Target":
    try:
        return make()
    except ValueError as error:
        wrong_use(f"{option}: {error}")


def _redis(url: str, topic_prefix: str) -> "Target":
    try:
        from detector.service.mirror.redis import RedisMirror
    except ModuleNotFoundError:
        wrong_use(_NEEDS_REDIS)
    from detector.service.mirror.run import mirror_id

    return RedisMirror(url, topic_prefix=topic_prefix, mirror_id=mirror_id())
