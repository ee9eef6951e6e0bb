"""Whether writing a file would destroy one that is read: by any name of it, also through links."""

import os
from collections.abc import Iterable
from pathlib import Path


def overwritten(path: Path, reads: Iterable[Path]) -> Path | None:
    """The first of `reads` that is the file at `path`; None if none is, or nothing is there yet."""
    return next((each for each in reads if _same(path, each)), None)


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one is not there yet: two that are still to be written may be the same all the same
        return os.path.realpath(one) == os.path.realpath(other)
