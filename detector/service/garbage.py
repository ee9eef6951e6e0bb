"""When Python looks for cycles among its objects: not in the middle of a decision.

A look at the young ones takes about a microsecond for each of them, and as often as Python would do it by
itself it finds nothing: what a record leaves behind is freed without it (a test holds that for a route's
judge). So it is done in spare moments, in small helpings, and thoroughly when partitions have gone.
"""

import gc

_HELPING = 500  # objects: some 3 ms
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
