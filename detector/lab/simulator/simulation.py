"""One scenario with one seed: its records, its verdicts, and the truth, to read or to write to files."""

import csv
import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from detector.lab.simulator.catalogue import scenario_named
from detector.lab.simulator.faults import Incident
from detector.lab.simulator.scenario import Scenario
from detector.lab.simulator.simulator import Block, Simulator
from topics.telemetry import Evaluation, TelemetryRecord

_SUFFIXES = (".jsonl.gz", ".jsonl")
INCIDENT_COLUMNS = ("scope", "mode", "from", "to")


class Simulation:
    """A scenario and a seed. Every reading begins anew and gives the same stream.

    Attributes:
        scenario, seed: what runs.
        incidents: what is really wrong, oldest first. Ends and counts are those of the last reading, or as
            planned before the first one.
        transients: healthy events that may look like faults.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        planned = Simulator(scenario, seed)
        self.incidents: list[Incident] = planned.incidents
        self.transients: list[Incident] = planned.transients

    def simulator(self) -> Simulator:
        """One to step by hand, for closed loops; its incidents become those of the simulation."""
        fresh = Simulator(self.scenario, self.seed)
        self.incidents, self.transients = fresh.incidents, fresh.transients
        return fresh

    def blocks(self) -> Iterator[Block]:
        """Everything, block by block."""
        return self.simulator().run()

    def records(self) -> Iterator[TelemetryRecord]:
        """All telemetry, in the order in which calls ended."""
        for block in self.blocks():
            yield from block.records

    def evaluations(self) -> Iterator[Evaluation]:
        """All verdicts that come later than their calls, in time order; none with `judge_lag_s` 0."""
        for block in self.blocks():
            yield from block.evaluations

    def write(self, path: Path) -> list[Path]:
        """Write telemetry that `detector replay` reads, and beside it what was wrong.

        `NAME.jsonl` gets `NAME.incidents.csv`, and `NAME.evaluations.jsonl` if verdicts come late; `.gz` is
        kept.

        Returns:
            the files written.

        Raises:
            ValueError: the name ends in neither .jsonl nor .jsonl.gz.
        """
        suffix = next((each for each in _SUFFIXES if path.name.endswith(each)), None)
        if suffix is None:
            raise ValueError(f"{path}: expected a name that ends in {' or '.join(_SUFFIXES)}")
        stem = path.name.removesuffix(suffix)
        late, truth = path.with_name(f"{stem}.evaluations{suffix}"), path.with_name(f"{stem}.incidents.csv")
        written = [path]
        with _writer(path) as file:
            if not self.scenario.measured.judge_lag_s:
                for block in self.blocks():
                    _write_lines(file, block.records)
            else:
                with _writer(late) as verdicts:
                    for block in self.blocks():
                        _write_lines(file, block.records)
                        _write_lines(verdicts, block.evaluations)
                written.append(late)
        write_incidents(truth, self.incidents)
        return [*written, truth]


def simulate(name: str | Scenario, seed: int = 0, **changes: Any) -> Simulation:
    """A scenario of the catalogue, or one of your own, with changes.

    >>> simulation = simulate("hallucination_spike", seed=7, calls_per_s=50, fault_size=0.5)

    Args:
        name: of the catalogue, or a scenario.
        seed: equal seeds and changes give equal streams.
        changes: see `Scenario.changed`.

    Raises:
        ValueError: there is no such scenario or field, or it cannot have that value.
    """
    scenario = scenario_named(name) if isinstance(name, str) else name
    return Simulation(scenario.changed(**changes), seed)


def write_incidents(path: Path, incidents: Iterable[Incident]) -> None:
    """Write labels: scope, mode, from, to; times in Unix seconds."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(INCIDENT_COLUMNS)
        rows.writerows((each.scope, each.mode, repr(each.start), repr(each.end)) for each in incidents)


@contextmanager
def _writer(path: Path) -> Iterator[IO[bytes]]:
    with path.open("wb") as raw:
        if not path.name.endswith(".gz"):
            yield raw
            return
        # No name and no time in the header: equal streams make equal files.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as file:
            yield cast("IO[bytes]", file)


def _write_lines(file: IO[bytes], rows: Iterable[msgspec.Struct]) -> None:
    file.write(msgspec.json.Encoder().encode_lines(list(rows)))
