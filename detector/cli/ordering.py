"""What the verbs that order something share: options, and giving the order."""

import getpass
import time
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.connect import unreachable
from detector.cli.output import found_wrong, wrong_use

if TYPE_CHECKING:
    from detector.service.settings import Settings
    from topics.control import ControlRecord, Override
    from topics.errors import DecodeError

_LOOKED_FOR_S = 5.0  # a great snapshot topic takes longer; the order stands by then
_TOO_LONG = "Expected `str` of length <= "  # as msgspec says it

Scope = Annotated[str, typer.Argument(metavar="SCOPE", help="Route, or route@deployment.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Wait = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a detector to apply it.")]
Who = Annotated[str | None, typer.Option(help="Who orders it; default: you.")]


def give_order(
    scope: str,
    order: "Override | None",
    wait: float,
    settings: "Settings",
) -> "ControlRecord":
    """Give it and wait; ends the command with what is wrong where nobody applies it."""
    import asyncio

    from aiokafka.errors import KafkaError

    from detector.service.inspect import NothingHereError
    from detector.service.orders import NotAppliedError, NothingForcedError, give

    try:
        return asyncio.run(give(settings, scope, order, within_s=wait))
    except NotAppliedError as error:
        what = "the order stands and is applied" if order is not None else "what is taken back is so"
        found_wrong(f"{error}; {what} by the next that runs")
    except (NothingHereError, NothingForcedError) as error:
        found_wrong(str(error))
    except (KafkaError, OSError) as error:
        unreachable(settings, error)


def doubt_of(scope: str, settings: "Settings") -> str | None:
    """What to say where no call of the scope was ever judged; None also where that cannot be found out."""
    import asyncio

    from aiokafka.errors import KafkaError

    from detector.service.inspect import NothingHereError
    from detector.service.known import doubt

    try:
        return asyncio.run(asyncio.wait_for(doubt(settings, scope), _LOOKED_FOR_S))
    except (KafkaError, NothingHereError, OSError):
        return None


def known_scope(scope: str) -> str:
    """The scope itself, or wrong use: also where gateways would refuse every record of it."""
    from topics.codec import encode
    from topics.control import ControlRecord, decode_control
    from topics.errors import DecodeError
    from topics.scope import scope_of, split_scope

    _see_that_it_is_text("SCOPE", scope)
    route, deployment = split_scope(scope)
    if not scope or scope != scope_of(route, deployment):
        wrong_use(f"{scope!r} is no scope: a route, or route@deployment")
    record = ControlRecord(
        scope=scope, route=route, deployment=deployment, state="inactive", issued_at=time.time()
    )
    try:
        decode_control(encode(record))
    except DecodeError as error:
        half = {"$.route": "SCOPE, its route", "$.deployment": "SCOPE, its deployment"}.get(
            error.path, "SCOPE"
        )
        wrong_use(f"{half}: {_in_words(error)}")
    return scope


def see_that_it_can_be_given(order: "Override") -> None:
    """Wrong use where every worker would refuse the order, which would lie on its topic and never be applied.

    So is an order without a reason: whoever finds it in the audit could not ask why.
    """
    from topics.codec import encode
    from topics.control import decode_override
    from topics.errors import DecodeError

    if not order.reason.strip():
        wrong_use("--reason: say why; it goes to gateways and into the audit")
    _see_that_it_is_text("--reason", order.reason)
    _see_that_it_is_text("--who", order.who)
    try:
        decode_override(encode(order))
    except DecodeError as error:
        option = {"$.reason": "--reason", "$.who": "--who"}.get(error.path, error.path)
        wrong_use(f"{option}: {_in_words(error)}")


def _see_that_it_is_text(option: str, given: str) -> None:
    """Python hands over bytes that are not UTF-8 as halves of surrogate pairs."""
    try:
        given.encode()
    except UnicodeEncodeError:
        wrong_use(f"{option}: expected UTF-8 text, got {given!r}")


def _in_words(error: "DecodeError") -> str:
    most = error.expected.removeprefix(_TOO_LONG)
    return error.expected if most == error.expected else f"at most {most} characters, no detector reads more"


def named(who: str | None) -> str:
    """Whoever orders: as told, else the user."""
    if who is not None:
        return who
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
