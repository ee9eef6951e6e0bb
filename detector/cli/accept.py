"""`detector accept`: a drift is the new normal."""

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
from detector.cli.output import found_wrong, print_json

_FIRST_SNAPSHOT_S = 8.0  # a route that has just come is known by then
_LOOK_AGAIN_S = 0.5


def accept(
    scope: Scope,
    reason: Annotated[str, typer.Option(help="Why; goes into the audit.")],
    who: Who = None,
    wait: Wait = 10.0,
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
    settings_file: SettingsFile = None,
    json_output: Json = False,
) -> None:
    """Take the drift that a scope shows for its new normal: references are learnt anew from here on.

    Divergences and shortfalls of the scope's route that hold are let go, and learn for some minutes before
    they judge again; of a slow creep the present is the beginning, and judging goes on. Whatever else holds
    goes on holding. An override of the scope ends.

    \b
    detector accept chat --reason "new prompt template, ticket 8" --bootstrap kafka:9092

    Exit code 0: done and in the audit. 1: no call of the scope was ever judged, so that nothing is ordered;
    no detector has applied it in time, or the broker cannot be reached.
    """
    from topics.control import Override

    now = time.time()
    order = Override(
        scope=known_scope(scope),
        state="inactive",
        until=now,
        who=named(who),
        reason=reason,
        issued_at=now,
        accept=True,
    )
    see_that_it_can_be_given(order)
    settings = read_settings(bootstrap, topic_prefix, settings_file)
    deadline = time.monotonic() + min(wait, _FIRST_SNAPSHOT_S)
    while (doubt := doubt_of(scope, settings)) and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN_S)
    if doubt:
        found_wrong(f"{doubt}; nothing is ordered")
    record = give_order(scope, order, wait, settings)
    if json_output:
        print_json(record)
        return
    print(f"{scope}: {record.reason}")
