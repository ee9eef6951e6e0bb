"""How verbs speak: results on stdout, everything else on stderr, three exit codes."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from detector.lab.overwritten import overwritten

if TYPE_CHECKING:
    from rich.console import Console

OK = 0
FOUND = 1  # the command worked and found something wrong
USAGE = 2  # the command was used wrongly
_WIDE = 240


def print_json(document: Any) -> None:
    """Print one JSON document on one line of stdout."""
    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    sys.stdout.flush()


def plain_console() -> "Console":
    """A console for tables of what people wrote: `[high]` and `:bug:` stand in them as they are.

    In a pipe or a file nobody needs lines to be short, unless COLUMNS says so.
    """
    from rich.console import Console

    narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, markup=False, emoji=False, width=None if narrow else _WIDE)


def note(message: str) -> None:
    """Say something that is not the result, on stderr."""
    print(message, file=sys.stderr, flush=True)


def nobody_reads() -> None:
    """Whoever read stdout has gone, as `head` does: what is left to write goes nowhere, also at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def see_that_it_can_be_written(path: Path, *others: Path | None) -> None:
    """End the command with exit code 2 if a file could not be written there; nothing is made or changed.

    What takes minutes to find out is worth asking where it goes to before, and half of the results is worse
    than none.

    Args:
        path: what is to be written.
        others: files that the command reads, or writes too, and that must not be lost by it.
    """
    if (lost := overwritten(path, filter(None, others))) is not None:
        what = "a file" if lost == path else str(lost)
        wrong_use(f"{path} is {what} that this command reads or writes too: name another one to write to")
    if path.is_dir():
        wrong_use(f"{path}: expected a file, this is a folder")
    if not path.parent.is_dir():
        wrong_use(f"{path}: there is no folder {path.parent}; make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        wrong_use(f"{path}: not allowed to write there")


def found_wrong(*messages: str) -> NoReturn:
    """End the command with exit code 1 and what was found on stderr."""
    for message in messages:
        note(f"detector: {message}")
    raise SystemExit(FOUND)


def wrong_use(message: str) -> NoReturn:
    """End the command with exit code 2 and the reason on stderr."""
    note(f"detector: {message}")
    raise SystemExit(USAGE)
