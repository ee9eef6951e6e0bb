"""Frames of pandas, polars and pyarrow as rows of telemetry, and results as frames, through narwhals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from detector.lab.columns import Columns, MappingError, row_builder
from detector.lab.files import Malformed, Row, Tell, telling
from detector.lab.unread_columns import UnreadColumns
from topics.errors import DecodeError
from topics.telemetry import TelemetryRecord

BACKENDS = ("pandas", "polars", "pyarrow")


EXPECTED = "a path, paths, or a frame of pandas, polars or pyarrow"


def is_frame(data: object) -> bool:
    """Whether `data` comes from one of the libraries of frames; `rows_of` says whether it is one."""
    return type(data).__module__.split(".")[0] in BACKENDS


def backend_of(data: object) -> str | None:
    """The library that a frame is of; None if it is no frame."""
    return type(data).__module__.split(".")[0] if is_frame(data) else None


def rows_of(
    frame: Any,
    columns: Columns,
    name: str = "frame",
    unread_columns: UnreadColumns | None = None,
    tell: Tell | None = None,
) -> Iterator[Row]:
    """Yield a frame's rows as records, in its order; a row that is none is handed out as `Malformed`.

    A missing value of any kind, NaN included, is "not measured". `tell` is told if many rows are malformed,
    as by `read_rows`.

    Raises:
        MappingError: a column that was asked for is not there, or columns cannot be told apart by name.
        TypeError: it is no frame, or one that is still to be computed.
    """
    import narwhals as nw

    frame = _eager(frame)
    header = list(frame.column_names if hasattr(frame, "column_names") else frame.columns)
    _check_names(header)
    table = nw.from_native(frame, eager_only=True)
    build = row_builder(columns, header, text=False, unread_columns=unread_columns)
    yield from telling(_built(table, build, name), name, tell, alone=True)


def _built(table: Any, build: Callable[[list[Any]], TelemetryRecord], name: str) -> Iterator[Row]:
    for index, cells in enumerate(table.iter_rows()):
        try:
            yield build([_plain(cell) for cell in cells])
        except DecodeError as error:
            yield Malformed(name, index, error.path, error.expected)


def _eager(frame: Any) -> Any:
    """The frame with its cells in it; one batch of pyarrow is made a table."""
    kind = type(frame).__name__
    if kind in ("DataFrame", "Table"):
        return frame
    if kind == "RecordBatch":
        import pyarrow as pa

        return pa.Table.from_batches([frame])
    advice = "call .collect() on it" if kind == "LazyFrame" else f"give {EXPECTED}"
    raise TypeError(f"a {kind} of {backend_of(frame)} is no frame with rows to read: {advice}")


def _check_names(header: Sequence[Any]) -> None:
    odd = next((name for name in header if not isinstance(name, str)), None)
    if odd is not None:
        raise MappingError(f"column {odd!r} has no text for a name: rename it, such as to {str(odd)!r}")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise MappingError(f"there are {header.count(twice)} columns {twice!r}: keep or rename all but one")


def _plain(cell: Any) -> Any:
    """A Python value: missing ones are None, arrays lists, numbers of numpy Python's own."""
    if cell is None or isinstance(cell, str):
        return cell
    if type(cell).__name__ in ("NAType", "NaTType") or (isinstance(cell, float) and cell != cell):
        return None
    if hasattr(cell, "tolist"):
        return cell.tolist()
    return cell


def frame_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], backend: str | None) -> Any:
    """A frame with a row for each mapping.

    Args:
        rows: cells by column.
        columns: their order; they are there even without rows.
        backend: `pandas`, `polars` or `pyarrow`; None: the first of them that is installed.
    """
    import narwhals as nw

    cells = {name: [row.get(name) for row in rows] for name in columns}
    return nw.from_dict(cells, backend=backend or _installed()).to_native()


def _installed() -> str:
    from importlib.util import find_spec

    return next(name for name in BACKENDS if find_spec(name) is not None)
