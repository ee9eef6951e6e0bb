"""Is a breach of a ceiling a change, or was the traffic like that all along?

A ceiling that healthy traffic exceeds is a mistake in the contract: what breaks it then is no fault. So the
calls before a breach have to have been within the ceiling. Where they look a little beyond it, the test has
gathered evidence that was there all along; the breach then has to stand out from them as far as it should
from the ceiling.
"""

import math

from detector.predicates.interval import wilson

Share = tuple[int, int]  # calls, and bad ones among them

# Likelihood ratio of "within the ceiling" to half the rate of the breach, or to twice the ceiling if that is
# more, on the calls before it; below this the traffic may have been like that all along. Some calls of bad
# traffic always look good by chance: of a stream at nine times its ceiling, one in seven begins with ten.
_SURE = math.log(1e5)
# Times the ceiling: calls ten times likelier at this rate look beyond it, as many do from an eighth more on.
# Few hardly ever do: of 150 at the ceiling two are bad every other time.
_BEYOND = 1.25
_LIKELIER = math.log(10.0)
_Z = 3.0  # normal quantile of what they may have been like at most
_SHORT = 3.0  # nats that the best-supported excursion is short of, most often, when the alarm is raised


def is_change(before: Share, since: Share, ceiling: float, phi: float, run_length: float) -> bool:
    """Whether the calls before a breach say that it is one.

    Args:
        before: all calls that are known from before; `since`: those of the breach.
        ceiling: of the healthy rate, in (0, 1).
        phi: design effect of the calls, >= 1.
        run_length: that of the test which found the breach, records.
    """
    rate, highest = since[1] / since[0], (1 + ceiling) / 2
    if evidence(before, ceiling, min(max(2 * ceiling, rate / 2), highest)) / phi < _SURE:
        return False
    if evidence(before, ceiling, min(_BEYOND * ceiling, highest)) / phi > -_LIKELIER:
        return True
    usual = wilson(before[1] / phi, before[0] / phi, _Z)[1]
    return rate > usual and -evidence(since, usual, rate) / phi >= math.log(run_length) - _SHORT


def evidence(calls: Share, low: float, high: float) -> float:
    """Log likelihood ratio of the rate `low` to `high`, nats; 0 < `low` < `high` <= 1."""
    n, bad = calls
    good = n - bad
    return bad * math.log(low / high) + (good * math.log((1 - low) / (1 - high)) if good else 0.0)
