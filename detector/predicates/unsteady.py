"""While calls come or go all at once, those that end are a part of those that began, and not any part.

Each call is counted when it ends. Where traffic stops, for the night or with its gateway, the windows that
follow hold the answers that were still on their way, and the longest of them last; where it comes back, the
short ones come first.
"""

from collections.abc import Sequence

COMPARED = 6  # times as long a window says how many calls there were just before
FACTOR = 2


def unsteady(sizes: Sequence[int], spans: Sequence[int], now: int, known_s: float) -> bool:
    """Whether a second has under half of the calls that it had just before, or over twice as many.

    Args:
        sizes: calls in each window; spans: its seconds, ascending.
        now: the window that says what happens now; if none is so much longer, the end of its own time does.
        known_s: for how long calls were counted; before, that there were none means nothing.
    """
    longer = next((i for i, span in enumerate(spans) if span >= COMPARED * spans[now]), None)
    if longer is None:
        ends = [i for i, span in enumerate(spans) if COMPARED * span <= spans[now]]
        now, longer = (ends[-1] if ends else now), now
    here = sizes[now] * (spans[longer] - spans[now])
    before = (sizes[longer] - sizes[now]) * spans[now]
    return FACTOR * here < before or (here > FACTOR * before and known_s >= spans[longer])
