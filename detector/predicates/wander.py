"""How far a healthy stream strays from its reference, given how far it has strayed so far."""

import math

WANDER_MARGIN = 1.25
MOST_FURTHER = 5.0
TAIL = 0.36
_DAY_S = 86_400.0


def further(seen_s: float) -> float:
    """How many times as far as in `seen_s` seconds a stream strays later on, 1.25 .. 5.

    The mix of callers has a heavy tail: the greatest distance grows with a power of the time, not with its
    logarithm. In two weeks of the simulator's own regimes (`benchmarks/wander.py`, 24 seeds) what follows
    exceeds it 0.03 (large) to 0.6 (small) times a week at five times what a day has shown, and 0.00 to 0.12
    times at two and a half times what a week has. Less than a day would call for more than five times, at
    which a drift that matters could not be found either.
    """
    days = max(seen_s, 1.0) / _DAY_S
    return min(MOST_FURTHER, max(WANDER_MARGIN, MOST_FURTHER * math.pow(days, -TAIL)))
