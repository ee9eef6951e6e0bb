"""`detector tail`: the transitions as they happen."""

from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.connect import Bootstrap, SettingsFile, TopicPrefix, read_settings, unreachable
from detector.cli.output import found_wrong, nobody_reads, note, print_json
from detector.cli.words import whereabouts

if TYPE_CHECKING:
    from topics.control import ControlRecord

_REMEMBERED = 10_000


def line(record: "ControlRecord") -> str:
    """A transition in one line; what is only said does not change the scope's state, so that is not told."""
    if record.disposition in ("act", "stale"):
        share = f", {record.primary_share:.0%} to the primary" if record.state == "active" else ""
        mode = f": {record.mode}" if record.mode else ""  # an operator's order may have none
        where = whereabouts(record.deployment, record.state, record.fallbacks)
        said = f"{record.scope} {where}{share}{mode} ({record.disposition}): {record.reason}"
    else:
        said = ": ".join(filter(None, (f"{record.scope} {record.disposition}", record.mode, record.reason)))
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in said)


class Told:
    """Transitions that were shown: a worker that takes over judges the last ones again, and tells so."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], None] = {}

    def again(self, record: "ControlRecord") -> bool:
        """Whether a record repeats one of the last that were asked for."""
        key = record.event_id, record.disposition
        if not record.event_id or key not in self._known:
            self._known[key] = None
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
            return False
        return True


def tail(
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
    settings_file: SettingsFile = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Those on the topic first.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document per line.")] = False,
) -> None:
    """Follow the transitions until interrupted: what was decided, what came of it, and why; each once.

    \b
    detector tail --bootstrap kafka:9092
    detector tail --bootstrap kafka:9092 --from-beginning --json | jq .reason

    Exit code 0: interrupted, or nobody reads on. 1: the broker cannot be reached, or no detector has run on
    it.
    """
    import asyncio
    from contextlib import aclosing, suppress

    from aiokafka.errors import KafkaError

    from detector.lab.report import clock
    from detector.service.inspect import NothingHereError
    from detector.service.inspect import tail as follow

    settings = read_settings(bootstrap, topic_prefix, settings_file)

    def told(answers: bool) -> None:
        how = "answers again" if answers else "does not answer any more; still trying"
        note(f"detector: {settings.bootstrap} {how}")

    shown = Told()

    async def show() -> None:
        async with aclosing(follow(settings, from_beginning=from_beginning, told=told)) as records:
            async for record in records:
                if shown.again(record):
                    continue
                try:
                    if json_output:
                        print_json(record)
                    else:
                        print(f"{clock(record.issued_at)} {line(record)}", flush=True)
                except BrokenPipeError:  # an OSError like those that tell of the broker
                    nobody_reads()
                    return

    with suppress(KeyboardInterrupt):
        try:
            asyncio.run(show())
        except NothingHereError as error:
            found_wrong(str(error))
        except (KafkaError, OSError) as error:
            unreachable(settings, error)
