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
    """Flag, then environment, then file; a setting that cannot be used ends the command with exit code 2."""
    settings, _ = read_sources({"bootstrap": bootstrap, "topic_prefix": topic_prefix}, file)
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


def unreachable(bootstrap: str, error: BaseException) -> NoReturn:
    """End the command with exit code 1: there is no broker, or it does not answer."""
    note(f"detector: no answer from {bootstrap}: {error}")
    raise typer.Exit(FOUND) from None
