"""`detector label`: was an activation right?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.connect import Bootstrap, SettingsFile, TopicPrefix, read_settings, unreachable
from detector.cli.output import print_json, see_that_it_can_be_written, wrong_use

if TYPE_CHECKING:
    from detector.lab.label import Candidate

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def label(
    activation: Annotated[
        str,
        typer.Argument(
            metavar="ACTIVATION",
            help="Scope; or event_id; or place in the replay's list of activations, from 0.",
        ),
    ],
    verdict: Annotated[str, typer.Argument(metavar="true|false|benign", help="What it really was.")],
    incidents: Annotated[Path, typer.Option(metavar="CSV", help="Where to write; made if it is not there.")],
    replay: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Output of `detector replay --json`.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Of a scope's activations, the one open at this time.")
    ] = None,
    began: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="When the fault began, if you know.")
    ] = None,
    ended: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="When the fault ended, if you know.")
    ] = None,
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
    settings_file: SettingsFile = None,
    json_output: Json = False,
) -> None:
    """Write what an activation really was into the incidents that `detector sweep` reads.

    true: there was a fault. benign: something changed, and nobody was harmed. false: there was nothing.
    Without --from it is taken to have begun a minute, or the deciding window, before it was seen, but not
    before another row of its route ends: other thresholds see the same fault sooner. What is false begins as
    it was seen, and an activation that starts in it is false whatever other rows say. Activations come from a
    replay, or else from the transitions on a broker. Labelling again replaces the label. Times are Unix
    seconds or ISO 8601.

    \b
    detector replay calls.jsonl.gz --contract contract.yaml --json > out.json
    detector label chat true --incidents incidents.csv --replay out.json
    detector label 4f1d0c9a2b7e6635 false --incidents incidents.csv --bootstrap kafka:9092

    Exit code 1: the broker cannot be reached, or no detector has run on it.
    """
    from detector.lab.incidents import IncidentError
    from detector.lab.label import LabelError, candidates_of_replay, choose, write_label

    see_that_it_can_be_written(incidents, replay, settings_file)
    try:
        when, first, last = (_time(*given) for given in (("--at", at), ("--from", began), ("--to", ended)))
        if replay is not None:
            candidates = candidates_of_replay(replay)
        else:
            candidates = _from_broker(bootstrap, topic_prefix, settings_file)
        chosen = choose(candidates, activation, when)
        written, changed = write_label(incidents, chosen, verdict, start=first, end=last)
    except (LabelError, IncidentError, OSError) as error:
        wrong_use(str(error))
    if json_output:
        print_json(
            {
                "scope": written.scope,
                "mode": written.mode,
                "from": written.start,
                "to": written.end,
                "label": written.label,
                "changed": changed,
            }
        )
        return
    from detector.lab.report import clock

    said = f"{written.scope} {written.mode} {clock(written.start)} to {clock(written.end)}: {written.label}"
    print(said if changed else f"{said} (as it was)")


def _time(option: str, text: str | None) -> float | None:
    from detector.lab.incidents import parse_time
    from topics.errors import DecodeError

    try:
        return None if text is None else parse_time(text)
    except DecodeError as error:
        wrong_use(f"{option}: {error.expected}")


def _from_broker(bootstrap: str | None, topic_prefix: str | None, file: Path | None) -> "list[Candidate]":
    import asyncio

    from aiokafka.errors import KafkaError

    from detector.cli.output import found_wrong
    from detector.lab.label import candidates_of_transitions
    from detector.service.inspect import NothingHereError, transitions

    settings = read_settings(bootstrap, topic_prefix, file)
    try:
        return candidates_of_transitions(asyncio.run(transitions(settings)))
    except NothingHereError as error:
        found_wrong(str(error))
    except (KafkaError, OSError) as error:
        unreachable(settings, error)
