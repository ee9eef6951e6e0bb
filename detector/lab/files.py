"""Recorded telemetry, streamed: .jsonl, .csv, .parquet, and .gz of the first two.

Memory is bounded by one row, or one batch of a parquet file, whatever the size of the file. Bad
rows are handed out as `Malformed` and never stop a file; one that ends in the middle (a truncated
.gz) is one bad row at its end.
"""

import codecs
import contextlib
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from detector.lab.columns import Columns, MappingError, Sought, line_builder, row_builder
from detector.lab.json_lines import verdict_of
from detector.lab.unread_columns import UnreadColumns
from detector.lab.words import counted
from topics.errors import DecodeError
from topics.telemetry import Evaluation, TelemetryRecord

SUFFIXES = (".jsonl", ".csv", ".parquet", ".jsonl.gz", ".csv.gz")
_LONGEST_ROW = 1 << 20  # bytes of a JSON line, characters of a csv cell
_PARQUET_BATCH = 4096  # rows


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row that is no record: where it stands (`row` from 0 in its file), and what was wrong where."""

    file: str
    row: int
    path: str
    expected: str

    @property
    def said(self) -> str:
        """The fault in one line."""
        return f"{self.file} row {self.row} at {self.path}: {self.expected}"


SHOWN = 5  # malformed rows that a result names
MANY_MALFORMED = 0.01  # of a file's rows

T = TypeVar("T")
Row = TelemetryRecord | Malformed
Progress = Callable[[int], None]  # bytes of the files read so far
Tell = Callable[[str], None]  # something odd about the files, in one sentence


class FileError(ValueError):
    """A file that cannot be read at all; the message names it."""


def read_rows(
    paths: Sequence[Path],
    columns: Columns,
    progress: Progress | None = None,
    tell: Tell | None = None,
    unread_columns: UnreadColumns | None = None,
) -> Iterator[Row]:
    """Yield every row of every file, in the order given; the position in this stream is the row's index.

    Args:
        paths: the files.
        columns: which column is which field.
        progress: told the bytes read so far, now and then.
        tell: told after the last row of mapped columns that no line of JSON holds. They are no reason to
            refuse a file: healthy traffic may well lack the key that tells of an error. Also told of each
            file of which more than one row in a hundred is malformed; of one that is all there is and mostly
            malformed the verbs tell anyway.
        unread_columns: told of each file's columns, and which of them are read.

    Raises:
        FileError: a file is missing, or of an unknown kind.
        MappingError: the columns asked for are not there; of JSON, one that every record needs.
    """
    for path in paths:
        if not path.is_file():
            raise FileError(f"{path}: no such file")
        if not path.name.endswith(SUFFIXES):
            raise FileError(f"{path}: expected one of {', '.join(SUFFIXES)}")
    done = 0
    sought = Sought(dict(columns.mapped))
    for path in paths:
        with path.open("rb") as raw:
            read = _rows(path, raw, columns, sought, unread_columns)
            for count, row in enumerate(telling(read, str(path), tell, alone=len(paths) == 1)):
                yield row
                if progress is not None and count % 1024 == 0:
                    progress(done + raw.tell())
        done += path.stat().st_size
        if progress is not None:
            progress(done)
    if (missed := sought.missed()) and tell is not None:
        tell(missed)


def telling(
    rows: Iterator[T | Malformed], name: str, tell: Tell | None, *, alone: bool = False
) -> Iterator[T | Malformed]:
    """Hand a file's rows on, and tell after the last one if many were malformed; see `read_rows`."""
    number = bad = 0
    first = None
    for number, row in enumerate(rows, start=1):  # noqa: B007  # the number of the last one is the sum
        if isinstance(row, Malformed):
            bad += 1
            first = first or row
        yield row
    mostly = alone and 2 * bad > number
    if tell is not None and first is not None and bad > MANY_MALFORMED * number and not mostly:
        are = "is" if bad == 1 else "are"
        place = f"row {first.row} at {first.path}: {first.expected}"
        said = f"{bad:,} of {counted(number, 'row')} {are} malformed and left out"
        tell(f"{name}: {said}, the first of them {place}")


def read_evaluations(
    paths: Sequence[Path], tell: Tell | None = None
) -> Iterator[tuple[int, Evaluation] | Malformed]:
    """Late verdicts of .jsonl and .jsonl.gz files, with the index of the row over all of them.

    Args:
        paths: the files.
        tell: told of each of which more than one row in a hundred is malformed.

    Raises:
        FileError: a file is missing, or of another kind.
    """
    index = 0
    for path in paths:
        if not path.name.endswith((".jsonl", ".jsonl.gz")):
            raise FileError(f"{path}: expected .jsonl or .jsonl.gz")
        if not path.is_file():
            raise FileError(f"{path}: no such file")
        with path.open("rb") as raw:
            for row in telling(_verdicts(path, raw), str(path), tell):
                yield row if isinstance(row, Malformed) else (index, row)
                index += 1


def _verdicts(path: Path, raw: IO[bytes]) -> Iterator[Evaluation | Malformed]:
    plain: Any = gzip.GzipFile(fileobj=raw) if path.name.endswith(".gz") else raw
    for row, line in enumerate(_guarded(_lines(plain))):
        try:
            if isinstance(line, DecodeError):
                raise line
            yield verdict_of(line)
        except DecodeError as error:
            yield Malformed(str(path), row, error.path, error.expected)


def _rows(
    path: Path, raw: IO[bytes], columns: Columns, sought: Sought, unread_columns: UnreadColumns | None
) -> Iterator[Row]:
    name = str(path)
    if path.name.endswith(".parquet"):
        yield from _parquet(name, raw, columns, unread_columns)
        return
    plain: Any = gzip.GzipFile(fileobj=raw) if path.name.endswith(".gz") else raw
    if path.name.removesuffix(".gz").endswith(".csv"):
        yield from _csv(name, plain, columns, unread_columns)
    else:
        yield from _jsonl(name, plain, columns, sought, unread_columns)


def _jsonl(
    name: str, file: IO[bytes], columns: Columns, sought: Sought, unread_columns: UnreadColumns | None
) -> Iterator[Row]:
    build = line_builder(columns, sought, unread_columns)
    for row, line in enumerate(_guarded(_lines(file))):
        if isinstance(line, DecodeError):
            yield Malformed(name, row, line.path, line.expected)
            continue
        try:
            yield build(line)
        except DecodeError as error:
            yield Malformed(name, row, error.path, error.expected)


def _lines(file: IO[bytes]) -> Iterator[bytes | DecodeError]:
    """Lines that are not blank; one that is too long is skipped to its end and reported as an error."""
    mark = codecs.BOM_UTF8
    while line := file.readline(_LONGEST_ROW + 1):
        line, mark = line.removeprefix(mark), b""
        if len(line) > _LONGEST_ROW and not line.endswith(b"\n"):
            while (rest := file.readline(_LONGEST_ROW)) and not rest.endswith(b"\n"):
                pass
            yield DecodeError("$", f"expected a line of at most {_LONGEST_ROW} bytes")
        elif not line.isspace():
            yield line


def _csv(name: str, file: IO[bytes], columns: Columns, unread_columns: UnreadColumns | None) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_ROW)
    # Bytes that are not UTF-8 come through as lone surrogates and are refused where they are used.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _csv_records(name, text, columns, unread_columns)
    finally:
        text.detach()  # the file is the caller's to close


def _csv_records(
    name: str, text: io.TextIOWrapper, columns: Columns, unread_columns: UnreadColumns | None
) -> Iterator[Row]:
    rows = _guarded(row for row in _csv_rows(text) if row)
    header = next(rows, None)
    if header is None:
        return
    if isinstance(header, DecodeError):
        raise FileError(f"{name}: no header: {header.expected}")
    build = _builder(name, columns, header, text=True, unread_columns=unread_columns)
    for row, cells in enumerate(rows):
        if isinstance(cells, DecodeError):
            yield Malformed(name, row, cells.path, cells.expected)
            continue
        try:
            yield build(cells)
        except DecodeError as error:
            yield Malformed(name, row, error.path, error.expected)


def _builder(
    name: str, columns: Columns, header: list[str], *, text: bool, unread_columns: UnreadColumns | None
) -> Callable[[tuple[Any, ...] | list[Any]], TelemetryRecord]:
    try:
        return row_builder(columns, header, text=text, unread_columns=unread_columns)
    except MappingError as error:
        raise MappingError(f"{name}: {error}") from None


def _csv_rows(text: io.TextIOWrapper) -> Iterator[list[str] | DecodeError]:
    rows = csv.reader(text)
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield DecodeError("$", str(error))


def _guarded(items: Iterator[T | DecodeError]) -> Iterator[T | DecodeError]:
    """End a stream that breaks off with an error as its last item."""
    try:
        yield from items
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield DecodeError("$", f"the file ends here: {error}")


def _parquet(
    name: str, raw: IO[bytes], columns: Columns, unread_columns: UnreadColumns | None
) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(raw)
    except pa.ArrowException as error:
        raise FileError(f"{name}: {error}") from None
    header = list(file.schema_arrow.names)
    build = _builder(name, columns, header, text=False, unread_columns=unread_columns)
    row = 0
    batches = file.iter_batches(batch_size=_PARQUET_BATCH)
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            yield Malformed(name, row, "$", f"the file ends here: {error}")
            return
        if batch is None:
            return
        lists = [_cells(_microseconds(column, pa), pa) for column in batch.columns]
        for cells in zip(*lists, strict=True):
            try:
                yield build(cells)
            except DecodeError as error:
                yield Malformed(name, row, error.path, error.expected)
            row += 1


def _cells(column: Any, pa: Any) -> list[Any]:
    """A column's values; an error in place of what Python has no value for, such as a date in year 20,000."""
    failures = (ValueError, OverflowError, pa.ArrowException)
    with contextlib.suppress(*failures):
        return list(column.to_pylist())
    found: list[Any] = []
    for cell in column:
        try:
            found.append(cell.as_py())
        except failures as error:
            found.append(DecodeError("$", f"expected a value that Python can hold: {error}"))
    return found


def _microseconds(column: Any, pa: Any) -> Any:
    """Python's times and durations end at microseconds; traces often carry nanoseconds."""
    if pa.types.is_duration(column.type) and column.type.unit == "ns":
        return column.cast(pa.duration("us"), safe=False)
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        return column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    return column
