"""While calls come or go all at once, those that end are a part of those that began, and not any part.

Each call is counted when it ends. Where traffic stops, for the night or with its gateway, the windows that
follow hold the answers that were still on their way, and the longest of them last; where it comes back, the
short ones come first. A share f of the calls, whichever they are, diverges from all of them by at most -ln f.
"""

import math
from collections.abc import Sequence

COMPARED = 6  # times as long a window says how many calls there were just before
FACTOR = 2


def uneven_nats(sizes: Sequence[int], spans: Sequence[int], now: int, known_s: float) -> float:
    """Divergence, nats, that may come of a second having under half, or over twice, the calls of just before.

    Of fewer it is what the part that is left can come to; of more nobody knows what part they are: infinite.

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
    if FACTOR * here < before:
        return math.log(before / here) if here else math.inf
    return math.inf if here > FACTOR * before and known_s >= spans[longer] else 0.0
