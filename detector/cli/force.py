"""`detector force` and `detector unforce`: an operator's override."""

import getpass
import re
import time
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.connect import Bootstrap, SettingsFile, TopicPrefix, read_settings, unreachable
from detector.cli.output import found_wrong, print_json, wrong_use

if TYPE_CHECKING:
    from topics.control import ControlRecord, Override

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_S = 7 * 86_400

Scope = Annotated[str, typer.Argument(metavar="SCOPE", help="Route, or route@deployment.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Wait = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a detector to apply it.")]


def force(
    scope: Scope,
    wanted: Annotated[str, typer.Argument(metavar="on|off", help="on: serve fallbacks. off: the primary.")],
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 90s, 10m, 2h, 1d.")],
    reason: Annotated[str, typer.Option(help="Why; goes to gateways and into the audit.")],
    who: Annotated[str | None, typer.Option(help="Who orders it; default: you.")] = None,
    wait: Wait = 10.0,
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
    settings_file: SettingsFile = None,
    json_output: Json = False,
) -> None:
    """Hold a scope in fallback, or on its primary, whatever is judged meanwhile; it ends by itself.

    The order lies on the override topic. The scope's owner applies it, renews it for gateways and ends it
    when its time is over; a worker that takes over does the same.

    \b
    detector force chat on --for 10m --reason "provider says so" --bootstrap kafka:9092
    detector force chat off --for 2h --reason "false alarm, ticket 7"
    detector unforce chat

    Exit code 0: gateways see it. 1: no detector has applied it in time, or the broker cannot be reached.
    """
    from topics.control import Override

    state = {"on": "active", "off": "inactive"}.get(wanted)
    if state is None:
        wrong_use(f"{wanted!r} is neither on nor off")
    now = time.time()
    order = Override(
        scope=_known(scope),
        state=state,  # type: ignore[arg-type]  # one of the two that the dictionary holds
        until=now + _seconds(for_),
        who=who if who is not None else _user(),
        reason=reason,
        issued_at=now,
    )
    record = _give(scope, order, wait, bootstrap, topic_prefix, settings_file)
    if json_output:
        print_json(record)
        return
    from detector.lab.report import clock

    print(f"{scope} is {record.state} until {clock(order.until)}: {record.reason}")


def unforce(
    scope: Scope,
    wait: Wait = 10.0,
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
    settings_file: SettingsFile = None,
    json_output: Json = False,
) -> None:
    """Take an override back: from now on the scope is as it is judged.

    \b
    detector unforce chat --bootstrap kafka:9092

    Exit code 0: gateways see it. 1: no detector has applied it in time, or the broker cannot be reached.
    """
    record = _give(_known(scope), None, wait, bootstrap, topic_prefix, settings_file)
    if json_output:
        print_json(record)
        return
    print(f"{scope} is {record.state} again, as judged" + (f": {record.reason}" if record.reason else ""))


def _give(
    scope: str,
    order: "Override | None",
    wait: float,
    bootstrap: Bootstrap,
    topic_prefix: TopicPrefix,
    settings_file: SettingsFile,
) -> "ControlRecord":
    import asyncio

    from aiokafka.errors import KafkaError

    from detector.service.inspect import NothingHereError
    from detector.service.orders import NotAppliedError, give

    settings = read_settings(bootstrap, topic_prefix, settings_file)
    try:
        return asyncio.run(give(settings, scope, order, within_s=wait))
    except NotAppliedError as error:
        found_wrong(f"{error}; the order stands and is applied by the next that runs")
    except NothingHereError as error:
        found_wrong(str(error))
    except (KafkaError, OSError) as error:
        unreachable(settings.bootstrap, error)


def _known(scope: str) -> str:
    from topics.scope import scope_of, split_scope

    if not scope or scope != scope_of(*split_scope(scope)):
        wrong_use(f"{scope!r} is no scope: a route, or route@deployment")
    return scope


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if found is None or not 0 < (seconds := int(found[1]) * _UNITS[found[2]]) <= _LONGEST_S:
        wrong_use(f"--for {text}: a number of s, m, h or d, up to 7d; for example 10m")
    return float(seconds)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
