"""`detector tail`: the transitions as they happen."""

from typing import Annotated

import typer

from detector.cli.connect import Bootstrap, SettingsFile, TopicPrefix, read_settings, unreachable
from detector.cli.output import found_wrong, print_json


def tail(
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
    settings_file: SettingsFile = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Those on the topic first.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document per line.")] = False,
) -> None:
    """Follow the transitions until interrupted: what was decided, what came of it, and why.

    \b
    detector tail --bootstrap kafka:9092
    detector tail --bootstrap kafka:9092 --from-beginning --json | jq .reason

    Exit code 0: interrupted. 1: the broker cannot be reached, or no detector has run on it.
    """
    import asyncio
    from contextlib import suppress

    from aiokafka.errors import KafkaError

    from detector.lab.report import clock
    from detector.service.inspect import NothingHereError
    from detector.service.inspect import tail as follow

    settings = read_settings(bootstrap, topic_prefix, settings_file)

    async def show() -> None:
        async for record in follow(settings, from_beginning=from_beginning):
            if json_output:
                print_json(record)
                continue
            said = f"{record.scope} {record.state} {record.mode} ({record.disposition}): {record.reason}"
            print(f"{clock(record.issued_at)} {said}", flush=True)

    with suppress(KeyboardInterrupt):
        try:
            asyncio.run(show())
        except NothingHereError as error:
            found_wrong(str(error))
        except (KafkaError, OSError) as error:
            unreachable(settings.bootstrap, error)
