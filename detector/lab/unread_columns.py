"""Columns of a file that no field is read from: one that was not mapped is missed by nobody else."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

_LINES = 100  # of a file of JSON, whose keys are looked at: lines have no header
_NAMED = 10


class UnreadColumns:
    """What the readers of one command's files leave aside."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}  # in the order of the files
        self._header = False
        self._error = False  # there is somewhere that `error` comes from
        self._lines = 0  # of the file that is read

    def header(self, header: Iterable[str], read: Collection[str], fields: Collection[str]) -> None:
        """Take the columns of a file, those of them that are read, and the fields that they make."""
        self._header = True
        self._take(header, read, fields)

    def begin_lines(self) -> None:
        """A file of JSON begins."""
        self._lines = 0

    def wants_next(self, line: bytes) -> bool:
        """Whether the next line should be shown; to be asked once of each, be it a record or not."""
        self._lines += 1
        return self._lines <= _LINES or (not self._error and b'"error"' in line)

    def line(self, document: Mapping[str, Any], read: Collection[str], fields: Collection[str]) -> None:
        """Take the keys of a line, likewise; of a late one only whether there is `error` among its fields."""
        self._take(document if self._lines <= _LINES else (), read, fields)

    def _take(self, header: Iterable[str], read: Collection[str], fields: Collection[str]) -> None:
        self._names |= dict.fromkeys(name for name in header if name and name not in read)
        self._error = self._error or "error" in fields

    def said(self, *, failed: bool) -> str:
        """What to say, in one line; empty if there is nothing to say.

        Args:
            failed: whether any call carries an error, or there is none.
        """
        names = [name if name.isprintable() else repr(name) for name in self._names]
        more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        listed = f"columns that nothing is read from: {', '.join(names[:_NAMED])}{more}" if names else ""
        # A line of JSON that leaves out what is empty, and has no other key, is one of our own.
        if failed or self._error or not (self._header or names):
            return listed
        return f"no row has an error (nothing is mapped to it): is that right? {listed}".rstrip()
