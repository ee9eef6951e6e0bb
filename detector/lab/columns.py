"""Which column of a file goes to which field of a record, and what every record has in common."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from detector.lab.coerce import (
    FEATURE,
    FIELD_KINDS,
    DurationUnit,
    TimeUnit,
    from_text,
    from_value,
    is_field,
    time_of,
    to_seconds,
)
from detector.lab.json_lines import NO_OBJECT, build_struct, decode_object
from detector.lab.odd_times import read_time
from detector.lab.unread_columns import UnreadColumns
from topics.errors import DecodeError
from topics.telemetry import TelemetryRecord, decode_telemetry

REQUIRED = ("event_time", "route")


class MappingError(ValueError):
    """The columns as asked for do not make a record; the message says what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """How rows become records.

    Attributes:
        mapped: field -> column; a field that is not named here is read from the column of its own name,
            one that is comes from nowhere else.
        constants: field -> text, the same in every record; wins over a column.
        time_unit: unit of `event_time`; `iso` is ISO 8601 text, UTC unless it names a zone.
        start: Unix seconds to add to relative times.
        duration_unit: unit of the fields that are durations, constants too; not of `features`.
    """

    mapped: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    time_unit: TimeUnit = "s"
    start: float | None = None
    duration_unit: DurationUnit = "s"

    @property
    def plain(self) -> bool:
        """Whether rows are records as they stand."""
        in_seconds = self.time_unit == self.duration_unit == "s"
        return not self.mapped and not self.constants and in_seconds and self.start is None


def parse_columns(
    maps: Iterable[str] = (),
    sets: Iterable[str] = (),
    time_unit: str = "s",
    start: str | None = None,
    duration_unit: str = "s",
) -> Columns:
    """Read `--map FIELD=COLUMN`, `--set FIELD=VALUE`, `--time-unit`, `--start` and `--duration-unit`.

    Raises:
        MappingError: unknown field or unit, no `=`, or a constant of the wrong type.
    """
    if time_unit not in ("s", "ms", "us", "iso"):
        raise MappingError(f"--time-unit {time_unit}: expected s, ms, us or iso")
    if duration_unit not in ("s", "ms", "us"):
        raise MappingError(f"--duration-unit {duration_unit}: expected s, ms or us")
    begin = None
    if start is not None:
        if time_unit == "iso":
            raise MappingError("--start is for relative times, which --time-unit iso does not have")
        try:
            begin = time_of(start, "iso", None)
        except DecodeError as error:
            raise MappingError(f"--start: {error.expected}") from None
    columns = Columns(
        mapped=_pairs("--map", maps),
        constants=_pairs("--set", sets),
        time_unit=time_unit,  # type: ignore[arg-type]  # one of the four, as checked above
        start=begin,
        duration_unit=duration_unit,  # type: ignore[arg-type]  # one of the three, as checked above
    )
    try:
        _constants(columns)
    except DecodeError as error:
        raise MappingError(f"--set {error.path.removeprefix('$.')}: {error.expected}") from None
    return columns


def _pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and value):
            raise MappingError(
                f"{option} {text}: expected FIELD={'COLUMN' if option == '--map' else 'VALUE'}"
            )
        if not is_field(name):
            known = ", ".join(sorted(filter(is_field, FIELD_KINDS)))
            raise MappingError(f"{option} {text}: no field {name!r}; there are {known} and {FEATURE}<name>")
        pairs[name] = value
    return pairs


def _place(values: dict[str, Any], name: str, value: Any) -> None:
    if name.startswith("features") and not isinstance(found := values.get("features", {}), dict):
        raise DecodeError("$.features", f"expected an object, got {type(found).__name__}")
    if name == "features":
        values[name] = value | values.get(name, {})
    elif name.startswith(FEATURE):
        values.setdefault("features", {})[name.removeprefix(FEATURE)] = value
    else:
        values[name] = value


def _unmapped(features: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """The features but those that are to come from a column of another name."""
    return {name: value for name, value in features.items() if f"{FEATURE}{name}" not in columns.mapped}


def _constants(columns: Columns) -> dict[str, Any]:
    return {name: _constant(name, text, columns) for name, text in columns.constants.items()}


def _constant(name: str, text: str, columns: Columns) -> Any:
    if name == "event_time":
        return time_of(text, columns.time_unit, columns.start)
    value = from_text(name, text)
    if value is None:
        raise DecodeError(f"$.{name}", f"expected a value; {text!r} stands for none")
    return value


def row_builder(
    columns: Columns, header: list[str], *, text: bool, unread_columns: UnreadColumns | None = None
) -> Callable[[tuple[Any, ...] | list[Any]], TelemetryRecord]:
    """Build the function from one row (cells in `header` order) to a record.

    Args:
        columns: the mapping.
        header: column names of the file.
        text: cells are text (csv) rather than typed (parquet).
        unread_columns: told of the header, and what of it is read.

    Raises:
        MappingError: a mapped column is not there, or a required field comes from nowhere.
    """
    place = {name: index for index, name in enumerate(header)}
    for name, column in columns.mapped.items():
        if column not in place:
            raise MappingError(f"--map {name}={column}: no such column; there are {', '.join(header)}")
    own = (name for name in header if is_field(name) or (name == "features" and not text))
    sources = {name: name for name in own} | dict(columns.mapped)
    for name in REQUIRED:
        if name not in sources and name not in columns.constants:
            raise MappingError(
                f"no column {name!r}: say --map {name}=COLUMN or --set {name}=VALUE;"
                f" there are {', '.join(header)}"
            )
    constants = _constants(columns)
    cells = [(name, place[column]) for name, column in sources.items() if name not in constants]
    if unread_columns is not None:
        unread_columns.header(header, {header[index] for _, index in cells}, {*sources, *constants})
    read = from_text if text else from_value
    width = len(header)

    def build(row: tuple[Any, ...] | list[Any]) -> TelemetryRecord:
        if len(row) != width:
            raise DecodeError("$", f"expected {width} cells, got {len(row)}")
        values: dict[str, Any] = {}
        for name, index in cells:
            cell = row[index]
            if cell is None or cell == "":
                continue
            if isinstance(cell, DecodeError):  # the file's reader could not make a value of it
                raise DecodeError(f"$.{name}", cell.expected)
            if name == "event_time":
                values[name] = read_time(cell, columns.time_unit, columns.start)
            elif (value := read(name, cell)) is not None:
                _place(values, name, _unmapped(value, columns) if name == "features" else value)
        for name, value in constants.items():
            _place(values, name, value)
        if columns.duration_unit != "s":
            to_seconds(values, columns.duration_unit)
        return build_struct(values, TelemetryRecord)

    return build


_decode_keys = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode  # the values may be anything
_ABSENT = object()


@dataclass(slots=True)
class Sought:
    """Mapped columns that no line of JSON has held so far.

    Lines have no header, and one may well lack what the next one holds: only after the last one is it known
    that a column is nowhere.

    Attributes:
        columns: field -> column; one whose value is null is there.
        header: the keys of the first line, None before it.
    """

    columns: dict[str, str]
    header: list[str] | None = None

    def look(self, document: Mapping[str, Any]) -> None:
        """Take out the columns that a line holds."""
        if self.header is None:
            self.header = list(document)
        self.columns = {
            name: column for name, column in self.columns.items() if _find(document, column) is _ABSENT
        }

    def missed(self) -> str:
        """What to say of the columns that are nowhere; empty if there is nothing to say.

        Raises:
            MappingError: a field that every record needs was to come from one of them.
        """
        if not self.columns or self.header is None:
            return ""
        maps = ", ".join(f"--map {name}={column}" for name, column in self.columns.items())
        said = f"{maps}: no such column in any row; the first row has {', '.join(self.header)}"
        if any(each in self.columns for each in REQUIRED):
            raise MappingError(said)
        return said


def _find(document: Mapping[str, Any], column: str) -> Any:
    if column in document:
        return document[column]
    node: Any = document
    for part in column.split("."):
        node = node.get(part, _ABSENT) if isinstance(node, dict) else _ABSENT
    return node


def _fitted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of JSON as those of a column are read that was stored as another type; a time is one already."""
    fitted = {
        name: value
        if name == "event_time" or (name == "features" and not isinstance(value, dict | str))
        else from_value(name, value)
        for name, value in values.items()
    }
    return {name: value for name, value in fitted.items() if value is not None}


def line_builder(
    columns: Columns, sought: Sought | None = None, unread_columns: UnreadColumns | None = None
) -> Callable[[bytes], TelemetryRecord]:
    """Build the function from one line of a file of JSON to a record; a mapped column may be a dotted path.

    Null and NaN are "not measured" whatever the field, as an empty cell is, and so is text that says nothing
    where no text belongs: who writes files writes every key. What a topic would refuse is fitted as the typed
    cells of other files are, mapped or not.

    Args:
        columns: the mapping.
        sought: told of every line, as long as it seeks a column.
        unread_columns: told of the first lines, and what of them is read.
    """
    if unread_columns is not None:
        unread_columns.begin_lines()
    constants = _constants(columns)
    own = [name for name in FIELD_KINDS if name not in columns.mapped and name not in constants]
    mapped = [(name, column) for name, column in columns.mapped.items() if name not in constants]
    known = {*own, *(part for _, column in mapped for part in (column, column.partition(".")[0]))}
    given = {*constants, *(name for name, _ in mapped)}

    def show(document: Mapping[str, Any], unread_columns: UnreadColumns) -> None:
        unread_columns.line(document, known, given.union(document.keys() & own))

    def build(line: bytes) -> TelemetryRecord:
        wanted = unread_columns is not None and unread_columns.wants_next(line)
        document = decode_object(line)
        if sought is not None and sought.columns:
            sought.look(document)
        if unread_columns is not None and wanted:
            show(document, unread_columns)
        values = {name: value for name in own if (value := document.get(name)) is not None}
        if isinstance(features := values.get("features"), dict):
            features = {name: value for name, value in features.items() if value is not None}
            values["features"] = _unmapped(features, columns)
        for name, column in mapped:
            if (value := _find(document, column)) is _ABSENT:
                continue
            if (value := value if name == "event_time" else from_value(name, value)) is not None:
                _place(values, name, value)
        if "event_time" in values:
            values["event_time"] = read_time(values["event_time"], columns.time_unit, columns.start)
        for name, value in constants.items():
            _place(values, name, value)
        if columns.duration_unit != "s":
            to_seconds(values, columns.duration_unit)
        try:
            return build_struct(values, TelemetryRecord)
        except DecodeError:
            return build_struct(
                _fitted(values), TelemetryRecord
            )  # the fault that is told is one that no file may have

    def build_plain(line: bytes) -> TelemetryRecord:
        try:
            record = decode_telemetry(line)
        except DecodeError:
            return build(line)  # more is taken from a file than from a topic, or the fault is told alike
        if unread_columns is not None and unread_columns.wants_next(line):
            with suppress(*NO_OBJECT):  # it is a record whatever comes of looking at its keys
                show(_decode_keys(line), unread_columns)
        return record

    return build_plain if columns.plain else build
