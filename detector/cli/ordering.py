"""What the verbs that order something share: options, and giving the order."""

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.connect import Bootstrap, SettingsFile, TopicPrefix, read_settings, unreachable
from detector.cli.output import found_wrong, wrong_use

if TYPE_CHECKING:
    from topics.control import ControlRecord, Override

Scope = Annotated[str, typer.Argument(metavar="SCOPE", help="Route, or route@deployment.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Wait = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a detector to apply it.")]
Who = Annotated[str | None, typer.Option(help="Who orders it; default: you.")]


def give_order(
    scope: str,
    order: "Override | None",
    wait: float,
    bootstrap: Bootstrap,
    topic_prefix: TopicPrefix,
    settings_file: SettingsFile,
) -> "ControlRecord":
    """Give it and wait; ends the command with what is wrong where nobody applies it."""
    import asyncio

    from aiokafka.errors import KafkaError

    from detector.service.inspect import NothingHereError
    from detector.service.orders import NotAppliedError, NothingForcedError, give

    settings = read_settings(bootstrap, topic_prefix, settings_file)
    try:
        return asyncio.run(give(settings, scope, order, within_s=wait))
    except NotAppliedError as error:
        what = "the order stands and is applied" if order is not None else "what is taken back is so"
        found_wrong(f"{error}; {what} by the next that runs")
    except (NothingHereError, NothingForcedError) as error:
        found_wrong(str(error))
    except (KafkaError, OSError) as error:
        unreachable(settings.bootstrap, error)


def known_scope(scope: str) -> str:
    """The scope itself, or wrong use."""
    from topics.scope import scope_of, split_scope

    if not scope or scope != scope_of(*split_scope(scope)):
        wrong_use(f"{scope!r} is no scope: a route, or route@deployment")
    return scope


def named(who: str | None) -> str:
    """Whoever orders: as told, else the user."""
    if who is not None:
        return who
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
