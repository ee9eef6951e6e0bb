"""Options and settings that the verbs share which look at a running installation."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from detector.cli.output import FOUND, note, wrong_use

if TYPE_CHECKING:
    from detector.service.settings import Settings

Bootstrap = Annotated[str | None, typer.Option(help="Brokers, HOST:PORT separated by commas.")]
TopicPrefix = Annotated[str | None, typer.Option(help="Put before every topic name.")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", envvar="DETECTOR_SETTINGS", show_envvar=False, help="TOML file.")
]


def read_settings(bootstrap: str | None, topic_prefix: str | None, file: Path | None) -> "Settings":
    """Flag, then environment, then file; a setting that cannot be used ends the command with exit code 2.

    What clients log stays off the screen, unless the log level is `debug`: verbs say it themselves.
    """
    import logging

    from detector.service import logs

    settings, _ = read_sources({"bootstrap": bootstrap, "topic_prefix": topic_prefix}, file)
    if settings.log_level.lower() == "debug":
        logs.configure("debug")
    else:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return settings


def read_sources(flags: Mapping[str, Any], file: Path | None) -> "tuple[Settings, Collection[str]]":
    """The same for any flags, with the names of those settings that one of the sources gives."""
    from detector.service.settings import Settings, SettingsError, strangers

    for name, near in strangers(os.environ).items():
        meant = f"; is {near} meant?" if near else ""
        note(f"detector: warning: {name} is no setting{meant}")
    try:
        text = file.read_text("utf-8") if file else None
        given = Settings.given(flags, os.environ, text, named=str(file or ""))
        settings = Settings.from_sources(flags, os.environ, text, named=str(file or ""))
        settings.ssl_context()  # certificates that cannot be read are told of here, not by every client
        return settings, given.keys()
    except (SettingsError, OSError, UnicodeDecodeError) as error:
        wrong_use(str(error))


def read_process(flags: Mapping[str, Any], file: Path | None) -> "Settings":
    """For a process beside the workers: brokers have to be named, and it logs at the level that is told."""
    from detector.service import logs

    settings, told = read_sources(flags, file)
    if "bootstrap" not in told:
        wrong_use("where are the brokers? --bootstrap HOST:PORT")
    logs.configure(settings.log_level)
    return settings


def unreachable(settings: "Settings", error: BaseException) -> NoReturn:
    """End the command with exit code 1 and why: there is no broker, or it does not answer."""
    from detector.service.reach import find_out, tells_nothing

    if tells_nothing(error):
        note(f"detector: no answer from {settings.bootstrap}")
        for sentence in find_out(settings):
            note(f"detector: {sentence}")
    else:
        note(f"detector: no answer from {settings.bootstrap}: {error}")
    raise typer.Exit(FOUND) from None
