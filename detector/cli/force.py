"""`detector force` and `detector unforce`: an operator's override."""

import re
import time
from typing import Annotated

import typer

from detector.cli.connect import Bootstrap, SettingsFile, TopicPrefix, read_settings
from detector.cli.ordering import (
    Json,
    Scope,
    Wait,
    Who,
    doubt_of,
    give_order,
    known_scope,
    named,
    see_that_it_can_be_given,
)
from detector.cli.output import note, print_json, wrong_use
from detector.cli.words import judged_meanwhile, whereabouts

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_S = 7 * 86_400


def force(
    scope: Scope,
    wanted: Annotated[str, typer.Argument(metavar="on|off", help="on: serve fallbacks. off: the primary.")],
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 90s, 10m, 2h, 1d.")],
    reason: Annotated[str, typer.Option(help="Why; goes to gateways and into the audit.")],
    who: Who = None,
    wait: Wait = 10.0,
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
    settings_file: SettingsFile = None,
    json_output: Json = False,
) -> None:
    """Hold a scope in fallback, or on its primary, whatever is judged meanwhile; it ends by itself.

    The order lies on the override topic. The scope's owner applies it, renews it for gateways and ends it
    when its time is over; a worker that takes over does the same. With `on` a scope that is judged to be at
    fault keeps its probes; of any other no call goes to the primary.

    \b
    detector force chat on --for 10m --reason "provider says so" --bootstrap kafka:9092
    detector force chat off --for 2h --reason "false alarm, ticket 7"
    detector unforce chat

    Exit code 0: gateways see it. 1: no detector has applied it in time, or the broker cannot be reached. A
    scope of which no call was judged is held all the same, with a warning: its name may be mistyped. There
    is one, too, where `off` keeps a scope on a primary that is judged to be at fault.
    """
    from topics.control import Override

    state = {"on": "active", "off": "inactive"}.get(wanted)
    if state is None:
        wrong_use(f"{wanted!r} is neither on nor off")
    now = time.time()
    order = Override(
        scope=known_scope(scope),
        state=state,  # type: ignore[arg-type]  # one of the two that the dictionary holds
        until=now + _seconds(for_),
        who=named(who),
        reason=reason,
        issued_at=now,
    )
    see_that_it_can_be_given(order)
    settings = read_settings(bootstrap, topic_prefix, settings_file)
    record = give_order(scope, order, wait, settings)
    if doubt := doubt_of(scope, settings):
        note(f"detector: warning: {doubt}")
    if record.state == "inactive" and record.modes:
        note(f"detector: warning: {scope}: {judged_meanwhile(record.deployment, record.modes)}")
    if json_output:
        print_json(record)
        return
    from detector.lab.report import clock

    where = whereabouts(record.deployment, record.state, record.fallbacks)
    probes = (
        f", but for {record.primary_share:.0%} of its calls, which probe it,"
        if record.state == "active"
        else ""
    )
    by = order.who or "an operator"
    print(f"{scope} is {where}{probes} until {clock(order.until)}, by order of {by}: {reason}")


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

    Exit code 0: gateways see it. 1: nothing is forced there, no detector has applied it in time, or the
    broker cannot be reached.
    """
    known = known_scope(scope)
    record = give_order(known, None, wait, read_settings(bootstrap, topic_prefix, settings_file))
    if json_output:
        print_json(record)
        return
    where = whereabouts(record.deployment, record.state, record.fallbacks)
    print(f"{scope} is {where} again, as judged" + (f": {record.reason}" if record.reason else ""))


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if found is None or not 0 < (seconds := int(found[1]) * _UNITS[found[2]]) <= _LONGEST_S:
        wrong_use(f"--for {text}: a number of s, m, h or d, up to 7d; for example 10m")
    return float(seconds)
