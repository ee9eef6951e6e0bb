"""What was really wrong, as labels in a csv: `scope,mode,from,to` and, if there is one, `label`.

`from` and `to` are Unix seconds or ISO 8601 (UTC unless they name a zone), in the years 2000 to 2100.
`label` is `true` (a fault; also what a row without a label means), `benign` (a change that harmed nobody) or
`false` (nothing: a reviewed false alarm). Further columns are kept as they are.
"""

import csv
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from detector.lab.coerce import in_range, time_of
from topics.errors import DecodeError
from topics.scope import split_scope

Label = Literal["true", "false", "benign"]
LABELS: tuple[Label, ...] = get_args(Label)
COLUMNS = ("scope", "mode", "from", "to")
_LABEL = "label"


class IncidentError(ValueError):
    """A file of incidents that cannot be used; the message names the row."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One stretch of time in which something was the matter with a scope, Unix seconds.

    Attributes:
        scope: `route`, or `route@deployment`.
        mode: failure mode; for people, since truth goes by route and time.
        start: when the first call was affected; `end` when the last one was.
        label: see the module.
        more: further columns of its row.
    """

    scope: str
    mode: str
    start: float
    end: float
    label: Label = "true"
    more: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def route(self) -> str:
        """The route whose activations it is compared with."""
        return split_scope(self.scope)[0]


def read_incidents(path: Path) -> list[Incident]:
    """Read a csv of incidents in the file's order.

    Raises:
        IncidentError: no such file, a column is missing, or a row does not make sense.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise IncidentError(f"{path}: no column {', '.join(missing)}; expected {','.join(COLUMNS)}")
            return [_incident(path, number, row) for number, row in enumerate(rows, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise IncidentError(f"{path}: {error}") from None


def _incident(path: Path, line: int, row: dict[str, str | None]) -> Incident:
    cells = {name: (cell or "").strip() for name, cell in row.items() if name}
    label = cells.get(_LABEL) or "true"
    if label not in LABELS:
        raise IncidentError(f"{path}:{line}: label {label!r}; expected true, false or benign")
    if not cells["scope"]:
        raise IncidentError(f"{path}:{line}: no scope")
    start, end = (_time(path, line, name, cells[name]) for name in ("from", "to"))
    if end < start:
        raise IncidentError(f"{path}:{line}: it ends before it begins")
    more = {name: cell for name, cell in cells.items() if name not in (*COLUMNS, _LABEL)}
    return Incident(cells["scope"], cells["mode"], start, end, label, more)


def _time(path: Path, line: int, name: str, cell: str) -> float:
    try:
        return parse_time(cell)
    except DecodeError as error:
        raise IncidentError(f"{path}:{line}: {name}: {error.expected}") from None


def parse_time(text: str) -> float:
    """Unix seconds of a number or an ISO 8601 time.

    Raises:
        DecodeError: neither, or outside the years 2000 to 2100.

    >>> parse_time("2020-01-01T00:01:00"), parse_time("1577836860.5")
    (1577836860.0, 1577836860.5)
    """
    try:
        seconds = time_of(text, "s", None)
    except DecodeError:
        seconds = time_of(text, "iso", None)
    if not in_range(seconds):
        raise DecodeError("$", f"expected Unix seconds in the years 2000 to 2100, got {text[:40]}")
    return seconds


def write_labels(path: Path, incidents: Iterable[Incident]) -> None:
    """Write incidents; readers see the old file or the new one, never a part."""
    incidents = list(incidents)
    further = list(dict.fromkeys(name for each in incidents for name in each.more))
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", text=True)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow((*COLUMNS, _LABEL, *further))
            for each in incidents:
                times = (repr(each.start), repr(each.end))
                rest = (each.more.get(name, "") for name in further)
                rows.writerow((each.scope, each.mode, *times, each.label, *rest))
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(name, path.stat().st_mode & 0o7777)
        else:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
