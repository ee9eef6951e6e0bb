"""Which calls say whether a fault is over: answers count, and when they came."""

from collections.abc import Sequence

from detector.windows.segment import Positions
from detector.windows.shares import Flagged


def with_slow(judged: Positions, bad: Sequence[int], slow: Sequence[bool]) -> Flagged:
    """Add the probes whose answer was slow, whether they had a verdict or not, to the bad ones."""
    late = {position for position, is_slow in enumerate(slow) if is_slow}
    if not late:
        return judged, bad
    wrong = late | {judged[i] for i in bad}
    every = sorted(late.union(judged))
    return every, [i for i, position in enumerate(every) if position in wrong]


def without_early(judged: Positions, bad: Sequence[int], early: Sequence[bool]) -> Flagged:
    """Leave out the good calls that ended early: of those made with them only the good ones have ended."""
    wrong = {judged[i] for i in bad}
    every = [position for position in judged if position in wrong or not early[position]]
    return every, [i for i, position in enumerate(every) if position in wrong]
