"""The command line: `detector VERB`. Exit 0 well, 1 found something wrong, 2 wrong use."""

import sys
from typing import TYPE_CHECKING

from detector import __version__

if TYPE_CHECKING:
    import typer

_NEEDS_SERVICE = (
    "detector: the bare package is the gateway's client; for this command: "
    "pip install 'llm-fallback-detector[service]'\n"
)


def build() -> "typer.Typer":
    """Assemble the command out of its verbs.

    Raises:
        ModuleNotFoundError: the `service` extra is not installed.
    """
    import typer

    from detector.cli import (
        accept,
        bench,
        budget,
        calibrate,
        check,
        demo,
        drill,
        force,
        label,
        mirror,
        otlp,
        replay,
        run,
        schema,
        state,
        sweep,
        tail,
    )

    app = typer.Typer(
        name="detector",
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )

    def show_version(wanted: bool) -> None:
        if wanted:
            print(f"detector {__version__}")
            raise typer.Exit

    @app.callback(help=_HELP)
    def _root(
        version: bool = typer.Option(
            False, "--version", callback=show_version, is_eager=True, help="Print the version and end."
        ),
    ) -> None: ...

    app.command("demo", short_help="see the whole loop work, nothing needed")(demo.demo)
    app.command("check", short_help="validate contract files")(check.check)
    app.command("replay", short_help="judge recorded telemetry")(replay.replay)
    app.command("calibrate", short_help="learn from healthy telemetry")(calibrate.calibrate)
    app.command("sweep", short_help="try thresholds on recorded telemetry")(sweep.sweep)
    app.command("label", short_help="say whether an activation was right")(label.label)
    app.command("budget", short_help="what the promised latency leaves for fallbacks")(budget.budget)
    app.command("drill", short_help="spikes of every mode through a real broker")(drill.drill)
    app.command("run", short_help="the service")(run.run)
    app.command("mirror", short_help="the state for those who do not read Kafka")(mirror.mirror)
    app.command("otlp", short_help="telemetry from OpenTelemetry's spans and logs")(otlp.otlp)
    app.command("schema", short_help="JSON Schemas, AsyncAPI document")(schema.schema)
    app.command("state", short_help="what is active now, and why")(state.state)
    app.command("tail", short_help="transitions as they happen")(tail.tail)
    app.command("accept", short_help="a drift is the new normal")(accept.accept)
    app.command("force", short_help="an operator's override")(force.force)
    app.command("unforce", short_help="take an override back")(force.unforce)
    app.add_typer(bench.bench, name="bench", short_help="figures beside a bare client")
    return app


_HELP = """Watches LLM calls on Kafka, tells failure modes apart and tells gateways when to use a fallback.

\b
  detector demo                                        see the whole loop, nothing needed
  detector run --contract contract.yaml --bootstrap kafka:9092
  detector replay calls.csv.gz --contract contract.yaml

Exit code 0: well. 1: something wrong was found. 2: wrong use. `detector VERB --help` has examples.
"""


def main() -> None:
    """Entry point of the `detector` command."""
    try:
        app = build()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("detector", "topics"):
            raise
        sys.stderr.write(_NEEDS_SERVICE)
        raise SystemExit(2) from None
    app(prog_name="detector")


if __name__ == "__main__":
    main()
