"""`detector demo`: the whole loop, nothing needed."""

from typing import Annotated

import typer

from detector.cli.output import FOUND, note, print_json


def demo(
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Run the whole loop on an embedded broker with real traffic, and tell what happened.

    Broker, service and two gateways run on this machine and end with the command, within a minute. Traffic
    recorded on real systems is fed on five routes, its time pressed together; four of them go wrong.

    \b
    detector demo
    detector demo --json

    Exit code 0: every fault was found and nothing else. 1: one was missed, or an activation was false.
    """
    from rich.console import Console

    from detector.embedded.broker import EmbeddedBrokerError
    from detector.embedded.demo.run import DemoFailedError, run_demo

    console = Console(stderr=json_output, highlight=False, soft_wrap=True)
    try:
        summary = run_demo(console)
    except (DemoFailedError, EmbeddedBrokerError) as error:
        note(f"detector: {error}")
        raise typer.Exit(FOUND) from None
    if json_output:
        print_json(summary)
    if not summary["ok"]:
        raise typer.Exit(FOUND)
