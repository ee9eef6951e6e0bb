"""`replay`, `sweep` and `calibrate` for notebooks: files or frames in, frames and plots out.

Rows that are no records, and incidents of other traffic, are left out with a warning that names the first.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from detector.contract import load_contract
from detector.contract.model import Contract
from detector.lab.columns import Columns, MappingError, parse_columns
from detector.lab.doubts import Doubts
from detector.lab.files import Row, read_evaluations, read_rows
from detector.lab.frames import EXPECTED, backend_of, frame_of, is_frame, rows_of
from detector.lab.incidents import Incident, read_incidents
from detector.lab.overwritten import overwritten
from detector.lab.replay import ReplayResult, replay_rows
from detector.lab.report import few_malformed, unjudged
from detector.lab.settings_grid import Value, grid
from detector.lab.sweep import SweepResult, sweep_rows
from detector.lab.sweep_report import unused_said
from detector.lab.transitions import transitions_of
from topics.control import ControlRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from detector.lab.calibrate import CalibrateResult

Data = Any  # a path, paths, or a frame of pandas, polars or pyarrow
Source = str | Path | Contract  # a contract, its file, or its text
Truth = str | Path | Sequence[Incident] | None

_ACTIVATION = (
    "scope mode predicate disposition activated_at deactivated_at named_at "
    "value threshold samples window_s row"
).split()
_TRANSITION = "issued_at scope state mode primary_share disposition reason event_id".split()


def replay(data: Data, contract: Source, *, evaluations: Data = (), **columns: Any) -> "Replayed":
    """Judge recorded telemetry by the code that runs in production.

    Args:
        data: path or paths (.jsonl, .csv, .parquet), or a frame of pandas, polars or pyarrow.
        contract: a `Contract`, the path of a contract file, or its text.
        evaluations: path or paths (.jsonl) of late verdicts.
        columns: `map={field: column}`, `set={field: value}`, `time_unit="s"|"ms"|"us"|"iso"`,
            `duration_unit="s"|"ms"|"us"`, `start=ISO`.

    Raises:
        FileError, MappingError, TypeError: the data cannot be read as telemetry.
        ContractError: the contract cannot run.
    """
    rows, backend, doubts = _rows(data, columns)
    verdicts = list(read_evaluations(_paths(evaluations), doubts.tell))
    found = replay_rows(rows, _contract(contract), verdicts=verdicts, doubts=doubts)
    return Replayed(_warned(found, found.late, _files(data)), backend)


def sweep(
    data: Data,
    contract: str | Path,
    sets: Mapping[str, Iterable[Value]],
    *,
    incidents: Truth = None,
    split: float | None = None,
    workers: int = 1,
    evaluations: Data = (),
    **columns: Any,
) -> "Swept":
    """Try values of a contract's keys on recorded telemetry.

    Args:
        data: as for `replay`, and `evaluations` and `columns` likewise.
        contract: path of a contract file, or its text.
        sets: dotted path -> values, such as `{"predicates.errors.ceiling": [0.01, 0.02]}`; all combinations.
        incidents: csv of what was really wrong, or a list of `Incident`.
        split: share of the time to choose on; the rest is held out.
        workers: processes to share the settings over; more than 1 needs a `__main__` that can be imported.

    Raises:
        SettingError: a path leads nowhere, or a value makes no contract.
        FileError, MappingError, IncidentError, TypeError: what is given cannot be read.
    """
    rows, backend, doubts = _rows(data, columns)
    settings = grid(*_text(contract), sets)
    truth = read_incidents(Path(incidents)) if isinstance(incidents, str | Path) else incidents
    verdicts = list(read_evaluations(_paths(evaluations), doubts.tell))
    result = sweep_rows(
        rows, settings, incidents=truth, split=split, workers=workers, verdicts=verdicts, doubts=doubts
    )
    if unused := unused_said(result):
        warnings.warn(unused, stacklevel=2)
    return Swept(_warned(result, result.late, _files(data)), backend)


def calibrate(data: Data, contract: Source, **columns: Any) -> "Calibrated":
    """Learn references, ceilings and dependence from healthy telemetry; arguments as for `replay`.

    Raises:
        FileError, MappingError, TypeError: the data cannot be read as telemetry.
        NotHealthyError: there is nothing to learn from, or most of it looks like incidents.
    """
    from detector.lab.calibrate import calibrate_rows

    data = data if is_frame(data) else _paths(data)
    rows, backend, doubts = _rows(data, columns)
    files = () if backend else tuple(data)
    made_from = ["frame"] if backend else sorted(path.name for path in files)
    given = contract if isinstance(contract, Contract) else _text(contract)
    judged_by = given if isinstance(given, Contract) else load_contract(*given)
    found = calibrate_rows(rows, judged_by, made_from, doubts=doubts)
    return Calibrated(_warned(found), given, files, backend)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found; `result` has it all."""

    result: ReplayResult
    backend: str | None = None

    def activations(self, backend: str | None = None) -> Any:
        """A frame with a row for each activation; times in Unix seconds.

        `mode` is the cause as it was named last, and all else that tells of evidence is of that naming;
        `named_at` is when that was, missing where it was activated under that name.
        """
        rows = []
        for each in self.result.activations:
            found = msgspec.to_builtins(each)
            evidence = found.pop("evidence")
            rows.append(found | evidence | {"row": each.evidence.offset})
        return frame_of(rows, _ACTIVATION, backend or self.backend)

    def transitions(self, backend: str | None = None) -> Any:
        """A frame of the transitions, as they would stand on `detector.transitions`."""
        rows = [msgspec.to_builtins(each) for each in self.records()]
        return frame_of(rows, _TRANSITION, backend or self.backend)

    def records(self) -> list[ControlRecord]:
        """The transitions whole."""
        return list(transitions_of(self.result.decisions))

    def armed(self, backend: str | None = None) -> Any:
        """A frame of predicates and the share of records judged while each was armed, 0..1."""
        rows = [{"predicate": name, "armed": share} for name, share in self.result.armed.items()]
        return frame_of(rows, ("predicate", "armed"), backend or self.backend)

    def plot(self, ax: "Axes | None" = None, *, incidents: Truth = None) -> "Axes":
        """Draw when which scope was away from its primary, and what was really wrong if that is known.

        Args:
            ax: where; None makes a figure.
            incidents: as for `sweep`; benign ones are drawn paler, rows labelled false not at all.
        """
        from detector.lab.plots import plot_activations

        truth = read_incidents(Path(incidents)) if isinstance(incidents, str | Path) else incidents
        return plot_activations(self.result, truth or (), ax)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found; `result` has it all."""

    result: SweepResult
    backend: str | None = None

    def frame(self, backend: str | None = None) -> Any:
        """A frame with a row for each setting, and one more for the held-out part if there is one."""
        rows = []
        for each in self.result.tried:
            parts = [
                ("all" if each.held_out is None else "chosen on", each.measures),
                ("held out", each.held_out),
            ]
            for part, found in parts:
                if found is None:
                    continue
                low, high = found.false_per_week_interval
                row = {name: getattr(found, name) for name in found.__dataclass_fields__}
                del row["false_per_week_interval"]
                row |= {
                    "found_share": found.found_share,
                    "false_per_week_low": low,
                    "false_per_week_high": high,
                }
                marks = {
                    "pareto": each.pareto,
                    "chosen": each.chosen,
                    "armed": min(each.armed.values(), default=0.0),
                }
                rows.append({**each.setting.values, "part": part, **row, **marks})
        return frame_of(rows, list(rows[0]) if rows else (), backend or self.backend)

    def plot(self, ax: "Axes | None" = None, *, x: str = "delay_p50_s", y: str = "mistakes") -> "Axes":
        """Draw one number against another, a point per setting, the Pareto front joined up.

        Held-out points are hollow; bars are 95 % intervals of what is counted as false.

        Args:
            ax: where; None makes a figure.
            x: a field of `Measures`, or `mistakes`: missed and false; `y` likewise.
        """
        from detector.lab.plots import plot_pareto

        return plot_pareto(self.result, ax, x, y)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What was learnt; `result.calibration` is what a contract carries.

    Attributes:
        given: the contract as it was given, or its text and name.
        files: what it was learnt from; empty for a frame.
    """

    result: "CalibrateResult"
    given: Contract | tuple[str | bytes, str]
    files: tuple[Path, ...] = ()
    backend: str | None = None

    @property
    def contract(self) -> Contract:
        """The contract with what was learnt in it; one that was given as a `Contract` has no digest.

        Raises:
            SectionError: see `write`.
        """
        if isinstance(self.given, Contract):
            return replace(self.given, calibration=self.result.calibration, digest="")
        return load_contract(*self._written(self.given))

    def write(self, path: str | Path) -> None:
        """Write the contract's file as `detector calibrate --out` does; all else stays as it was written.

        Args:
            path: where; the file of the contract itself, or another.

        Raises:
            SectionError: the contract is written so that the section cannot be placed.
            ValueError: it was given as a `Contract`, which has no text; or `path` is a file of the data.
        """
        path = Path(path)
        if isinstance(self.given, Contract):
            raise ValueError(
                "a Contract has no text to write: give calibrate the path of its file, or its text"
            )
        if (lost := overwritten(path, self.files)) is not None:
            raise ValueError(f"{path} is a file of the data, {lost}: name another one to write to")
        path.write_bytes(self._written(self.given)[0].encode())

    def _written(self, given: tuple[str | bytes, str]) -> tuple[str, str]:
        from detector.lab.calibrate.section import dropped_said, with_calibration

        text, name = given
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        written, dropped = with_calibration(plain, self.result.calibration, name)
        if dropped:
            warnings.warn(dropped_said(dropped), stacklevel=3)
        return written, name

    def frame(self, backend: str | None = None) -> Any:
        """A frame with a row for each route and predicate."""
        fields = msgspec.to_builtins(self.result.calibration)["routes"]
        rows = [
            {"route": route, "predicate": name} | {key: one.get(key) for key in _LEARNT}
            for route, part in fields.items()
            for name, one in part["predicates"].items()
        ]
        return frame_of(rows, ("route", "predicate", *_LEARNT), backend or self.backend)


_LEARNT = (
    "records rate ceiling design_effect run_length tolerance_nats smallest_detectable_nats "
    "smallest_detectable_rate false_per_week basis"
).split()


def _contract(source: Source) -> Contract:
    return source if isinstance(source, Contract) else load_contract(*_text(source))


def _text(source: str | Path) -> tuple[str | bytes, str]:
    """A contract's text and name; a string of more than one line is the text itself."""
    if isinstance(source, str) and "\n" in source:
        return source, "contract"
    return Path(source).read_bytes(), str(source)


def _columns(options: Mapping[str, Any]) -> Columns:
    unknown = options.keys() - {"map", "set", "time_unit", "duration_unit", "start"}
    if unknown:
        known = "map, set, time_unit, duration_unit and start"
        raise MappingError(f"no option {', '.join(sorted(unknown))}; there are {known}")
    pairs = {each: options.get(each) or {} for each in ("map", "set")}
    for name, given in pairs.items():
        if not isinstance(given, Mapping):
            what = "{field: column}" if name == "map" else "{field: value}"
            raise MappingError(f"{name}: expected a mapping {what}, got a {type(given).__name__}")
    maps, sets = ([f"{name}={value}" for name, value in given.items()] for given in pairs.values())
    time_unit, duration_unit = (options.get(name, "s") for name in ("time_unit", "duration_unit"))
    return parse_columns(maps, sets, time_unit, options.get("start"), duration_unit)


def _rows(data: Data, options: Mapping[str, Any]) -> tuple[Iterator[Row], str | None, Doubts]:
    columns = _columns(options)
    doubts = Doubts(columns)
    if is_frame(data):
        rows = rows_of(data, columns, unread_columns=doubts.unread_columns, tell=doubts.tell)
        return rows, backend_of(data), doubts
    rows = read_rows(_paths(data), columns, tell=doubts.tell, unread_columns=doubts.unread_columns)
    return rows, None, doubts


def _files(data: Data) -> int:
    return 1 if is_frame(data) else len(_paths(data))


def _paths(data: Data) -> list[Path]:
    several = isinstance(data, Iterable) and not isinstance(data, str | Path | Mapping)
    paths = list(data) if several else [data]
    for each in paths:
        if not isinstance(each, str | Path):
            what = f"{type(each).__name__}{' among others' if several else ''}"
            raise TypeError(f"expected {EXPECTED}, got {what}; pandas.DataFrame(...) makes a frame of rows")
    return [Path(each) for each in paths]


R = TypeVar("R", ReplayResult, SweepResult, "CalibrateResult")


def _warned(result: R, late: int = 0, files: int = 1) -> R:
    """Say that some rows were no records, or the whole is odd: nobody in a notebook looks for it."""
    few: str = few_malformed(result.records, result.malformed, result.shown)
    wrong: tuple[str, ...] = unjudged(result.records, late, result.malformed, result.shown, files)
    for said in filter(None, (few, *result.warnings, *wrong)):
        warnings.warn(said, stacklevel=3)
    return result
