"""How fast calls come when traffic is quiet: what is said to be found must be found then too."""

import numpy as np

from detector.lab.calibrate.tally import Ints

_STRETCH_S = 300
_QUIETEST = 0.01  # as rare as what is missed at 99 % power


def quiet_share(seconds: Ints, counts: Ints, left_out: Ints) -> float:
    """Calls of a quiet stretch of five minutes over those of a usual one, in (0, 1].

    One in a hundred of the stretches that hold any is quieter still. Those at either end, and those of which
    minutes were left out, are not whole and do not count.

    Args:
        seconds: ascending, of the calls that are judged; `counts`: how many there were in each.
        left_out: minutes taken for incidents.
    """
    stretches = seconds // _STRETCH_S
    held = np.bincount(stretches - stretches[0], weights=counts)
    whole = held > 0
    whole[[0, -1]] = False
    cut = left_out * 60 // _STRETCH_S - stretches[0]
    whole[cut[(cut >= 0) & (cut < len(whole))]] = False
    if not whole.any():
        return 1.0
    return min(1.0, float(np.quantile(held[whole], _QUIETEST) / held[whole].mean()))
