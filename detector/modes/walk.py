"""Sequential judges walk a segment together, up to the first record at which one of them flips."""

from collections.abc import Sequence

from detector.predicates.base import Judge
from detector.windows.array_segment import Part
from detector.windows.columns import Calls, Columns
from detector.windows.inbox import Inbox
from detector.windows.segment import Segment


def walk(judges: Sequence[Judge], segment: Segment) -> tuple[Segment, bool]:
    """Return what they walked, and whether one flipped at its last record."""
    first = None
    for judge in judges:
        flip = judge.observe(segment)
        if flip is not None and (first is None or flip < first):
            first = flip
    if first is None:
        return segment, False
    if first < len(segment) - 1:
        for judge in judges:
            judge.rollback()
        segment = segment.head(first + 1)
        for judge in judges:
            judge.observe(segment)
    return segment, True


def let_wait(judges: Sequence[Judge], columns: Columns, calls: Calls, inbox: Inbox, *, many: bool) -> bool:
    """Put calls that let no pane close into their inbox if all may wait; `many` are laid out as arrays."""
    table = columns.of(calls.rows)
    if not inbox.calm or min(table.times) < inbox.since:
        return False
    for judge in judges:
        if not all(inbox.bears(judge.spec.name) for _ in judge.suspects(table)):
            return False
    if many:
        inbox.lay(Part.of(table, calls.offsets, columns.layout))
    else:
        inbox.add(calls.rows, calls.offsets)
    return True


def bad_calls(judges: Sequence[Judge], segment: Segment) -> list[int]:
    """Positions of the calls of the segment walked last that were bad to any of its judges."""
    found: set[int] = set()
    for judge in judges:
        if judge.flagged is not None and judge.flagged[1]:
            judged, wrong = judge.flagged
            found.update(int(judged[i]) for i in wrong)
    return sorted(found)
