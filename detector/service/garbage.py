"""When Python looks for cycles among its objects: not in the middle of a decision.

A look at the young ones takes one to some microseconds for each of them (100,000 of them: 140 ms) and finds
nothing: what records leave behind is freed without it, which tests hold for a route's judge, a fetch, a bad
record and a producer. So it is done in spare moments, in small helpings, and thoroughly when partitions have
gone.
"""

import gc

_HELPING = 150  # objects: half a millisecond, seldom 3
# Where there is never a spare moment. Old objects are looked at in `thoroughly` only.
_AT_LATEST = 100_000
_NEVER = 1_000_000_000


def begin() -> None:
    """What was loaded by now is there to stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_AT_LATEST, _NEVER, _NEVER)


def in_a_spare_moment() -> None:
    """Look at what is new, if there is enough of it."""
    if gc.get_count()[0] >= _HELPING:
        gc.collect(0)


def thoroughly() -> None:
    """Look at everything: the state of partitions has just been let go."""
    gc.collect()
