"""`detector run`: the service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.connect import Bootstrap, SettingsFile, read_sources
from detector.cli.output import wrong_use
from detector.cli.read_contract import read_contract

if TYPE_CHECKING:
    from detector.contract.model import Contract


def run(
    contract: Annotated[
        Path, typer.Option("--contract", envvar="DETECTOR_CONTRACT", show_envvar=False, help="Contract file.")
    ],
    bootstrap: Bootstrap = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Start the embedded broker; where brokers are named, join it.")
    ] = False,
    http_port: Annotated[int | None, typer.Option(help="Health and metrics; 0 is any free port.")] = None,
    http_host: Annotated[str | None, typer.Option(help="Address of health and metrics.")] = None,
    topic_prefix: Annotated[str | None, typer.Option(help="Put before every topic name.")] = None,
    settings_file: SettingsFile = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Judge the telemetry on Kafka and tell gateways when to use a fallback, until SIGTERM.

    \b
    detector run --contract contract.yaml --bootstrap kafka:9092
    detector run --contract contract.yaml --embedded

    Several processes with the same arguments share the work. Every option can be given as DETECTOR_NAME in
    the environment, security (DETECTOR_SECURITY_PROTOCOL, DETECTOR_SASL_USERNAME, ...) there or in the file.

    SIGHUP, or POST /-/reload, has it read its contract again; windows of what is the same go on, and a
    contract that cannot run is refused while the old one stays in force.

    Exit code 0: told to stop. 1: cannot start, with the reason. 2: wrong use.
    """
    from detector.service import logs
    from detector.service.settings import SettingsError

    flags = {
        "bootstrap": bootstrap,
        "http_port": http_port,
        "http_host": http_host,
        "topic_prefix": topic_prefix,
        "log_level": log_level,
        "embedded": embedded or None,
    }
    settings, told = read_sources(flags, settings_file)
    if "bootstrap" not in told and not settings.embedded:
        wrong_use("where are the brokers? --bootstrap HOST:PORT, or --embedded for one of its own")
    loaded = read_contract(contract)
    try:
        settings.check_lease(loaded.defaults.lease_s)
    except SettingsError as error:
        wrong_use(str(error))
    logs.configure(settings.log_level)
    from detector.contract import load_contract
    from detector.service.run import run as start

    def reread() -> "Contract":
        return load_contract(contract.read_bytes(), str(contract))

    raise typer.Exit(start(settings, loaded, reread=reread, own_broker="bootstrap" not in told))
