"""What `bench` and `drill` share: a broker that is given or started, topics under a prefix of their own."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from detector.cli.connect import read_sources, unreachable

if TYPE_CHECKING:
    from detector.bench.place import Place

Found = TypeVar("Found")


def on_broker(
    work: "Callable[[Place], Awaitable[Found]]",
    *,
    bootstrap: str | None,
    settings_file: Path | None,
    partitions: int,
    contract: bytes | None = None,
) -> Found:
    """Do some work at a place of its own, and end the command with exit code 1 if that cannot be.

    Args:
        work: what to do there.
        bootstrap, settings_file: as given on the command line; where nothing names a broker, one is started.
        partitions: of the telemetry.
        contract: what the worker judges by, as a file's content; None: the example.
    """
    import asyncio

    from aiokafka.errors import KafkaError

    from detector.bench.place import BenchError, prepare
    from detector.cli.output import FOUND, note
    from detector.service import logs
    from detector.service.kafkajars import LocalKafkaUnavailableError
    from detector.service.reach import tells_nothing

    logs.configure("warning")
    settings, told = read_sources({"bootstrap": bootstrap}, settings_file)
    given = "bootstrap" in told

    async def run(place: "Place") -> Found:
        try:
            return await work(place)
        finally:
            if given:
                await place.remove_topics()

    try:
        with prepare(settings, given=given, partitions=partitions, say=note) as place:
            if contract is not None:
                place.contract.write_bytes(contract)
            return asyncio.run(run(place))
    except (BenchError, LocalKafkaUnavailableError, KafkaError, OSError) as error:
        if given and isinstance(error, KafkaError) and tells_nothing(error):
            unreachable(settings, error)
        note(f"detector: {error}")
        raise typer.Exit(FOUND) from None
