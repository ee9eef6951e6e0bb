"""The ceiling at which the test would have been silent on the recording itself.

An upper limit of the rate between blocks knows how far blocks usually wander; a burst that comes once in
some hours it does not know. What happened while all was well must not alarm when it happens again, so the
ceiling is raised until the recording brings the test no further than half of the evidence of an alarm:
the next burst may be larger. What chance alone brings it to in a recording of that length is no burst: by
the law of the test n records hardly reach 3 n. Where that is more than the alarm itself needs,
the recording cannot tell, and the ceiling stays as it is.
"""

from collections.abc import Iterator, Sequence
from math import sqrt

from detector.lab.calibrate.tally import Ints
from detector.predicates.shiryaev_roberts import MixtureShiryaevRoberts

_STEP = 1.1
_BY_CHANCE = 3.0


def silent_ceiling(
    minutes: Sequence[tuple[int, Ints]], ceiling: float, run_length: float, phi: float, highest: float
) -> float:
    """The least ceiling from `ceiling` to `highest` that the recording keeps.

    Args:
        minutes: (judged calls, positions of the bad ones among them), in the order of time.
        run_length: A of the test, records; `phi`: its design effect.
    """
    gaps = list(_gaps(minutes))
    by_chance = _BY_CHANCE * sum(judged for judged, _ in minutes)
    level = max(sqrt(run_length), by_chance)
    while level < run_length and ceiling < highest and not _silent(gaps, ceiling, level, phi):
        ceiling *= _STEP
    return min(ceiling, highest)


def _silent(gaps: Sequence[int], ceiling: float, level: float, phi: float) -> bool:
    test = MixtureShiryaevRoberts(ceiling, level, phi)
    return all(test.observe(good + 1, (good,)) is None for good in gaps)


def _gaps(minutes: Sequence[tuple[int, Ints]]) -> Iterator[int]:
    """Good calls before each bad one."""
    good = 0
    for judged, bad in minutes:
        last = -1
        for position in bad.tolist():
            yield good + position - last - 1
            good, last = 0, position
        good += judged - last - 1
