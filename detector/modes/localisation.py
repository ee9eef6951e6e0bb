"""Which deployment alone is at fault? Each against its own past, then the changes against each other.

Never levels: one deployment may always be slower, or fail more often. Fewer than three deployments
with enough calls, or others that have changed too: not localised.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from detector.predicates.shift import HIGH_Z, SIGNALS, Level, Shift
from detector.windows.shares import LEAST_DEPLOYMENTS, NONE, Share

_KNOWN_CALLS = 200  # of a deployment's own, before it has a habit
_WELL = math.log(100.0)
_ALWAYS_BAD = 0.5  # siblings that fail so often are no measure of anything
_KNOWN_SIBLINGS = 1000  # calls of all others, whose habit a new deployment is held against


@dataclass(frozen=True, slots=True)
class Culprit:
    """A deployment that alone has changed: what it did, and what all others did meanwhile."""

    deployment: str
    share: Share
    others: Share


def at_fault(signals: Iterable[str], shifts: Mapping[str, Mapping[str, Shift]]) -> str:
    """The one deployment that changed, by the first of `signals` that tells; "" if none does.

    Args:
        signals: the most telling one first.
        shifts: of each deployment against its own past, by signal.
    """
    for signal in signals:
        measured = {
            name: mine[signal] for name, mine in shifts.items() if mine[signal].level is not Level.MISSING
        }
        if len(measured) < LEAST_DEPLOYMENTS:
            continue
        worst = max(measured, key=lambda name: (measured[name].z, name))
        rest = [shift for name, shift in measured.items() if name != worst]
        if measured[worst].level is not Level.HIGH or any(each.level is Level.HIGH for each in rest):
            continue
        second = max(rest, key=lambda each: each.z)
        apart = abs(measured[worst].change - second.change) >= SIGNALS[signal].matters
        if apart and measured[worst].z - max(second.z, 0.0) >= HIGH_Z / 2:
            return worst
    return ""


def culprit_of(
    recent: Mapping[str, Share], habit: Mapping[str, Share], ceiling: float, design_effect: float = 1.0
) -> Culprit | None:
    """The one deployment whose share of bad calls has risen, above the ceiling and above its habit.

    Each is judged by the signed root of the likelihood ratio of its share to the greater of ceiling and
    habit. All others together have to be shown to be within theirs, none of them may stand out, and at
    least two have to have had the calls to show the same fault: the test stops at its first ten bad calls or
    so, whomever they befall.

    Args:
        recent: what each did lately.
        habit: what each did while the route was well; a new one is held against the others'.
        ceiling: share of bad calls that a route may have, in (0, 1).
        design_effect: of the calls, >= 1; evidence is tempered by it.
    """
    named = {name: share for name, share in recent.items() if name and share.calls}
    if len(named) < LEAST_DEPLOYMENTS:
        return None
    scores = {}
    for name, share in named.items():
        usual = _usual(name, habit)
        if usual is None:
            continue
        scores[name] = rise(share, max(ceiling, usual), design_effect)
    if not scores:
        return None
    worst = max(scores, key=lambda name: (scores[name], name))
    mine = named.pop(worst)
    second = max((score for name, score in scores.items() if name != worst), default=0.0)
    if scores[worst] < HIGH_Z or second >= HIGH_Z or scores[worst] - second < HIGH_Z / 2:
        return None
    return _alone(worst, mine, named, habit, ceiling, design_effect)


def _alone(
    name: str,
    mine: Share,
    siblings: Mapping[str, Share],
    habit: Mapping[str, Share],
    ceiling: float,
    design_effect: float,
) -> Culprit | None:
    """The deployment `name` as the culprit if all its siblings are shown to be well."""
    rate = mine.bad / mine.calls
    able = sum(
        rise(Share(share.calls, rate * share.calls), ceiling, design_effect) >= HIGH_Z
        for share in siblings.values()
    )
    others = _together(siblings.values())
    theirs = _together(share for each, share in habit.items() if each in siblings)
    limit = max(ceiling, theirs.bad / theirs.calls if theirs.calls else 0.0)
    if limit >= _ALWAYS_BAD:
        return None
    if able < LEAST_DEPLOYMENTS - 1 or _shown_well(others, limit, rate) / design_effect < _WELL:
        return None
    return Culprit(name, mine, others)


def rise(share: Share, usual: float, design_effect: float = 1.0) -> float:
    """How far a share of bad calls lies above `usual`, in normal deviations (signed root); 0 below it.

    >>> round(rise(Share(100, 10), 0.01), 1), rise(Share(100, 1), 0.01)
    (5.4, 0.0)
    """
    if not share.calls or share.bad <= usual * share.calls:
        return 0.0
    rate = min(1.0, share.bad / share.calls)
    gain = rate * math.log(rate / usual)
    if rate < 1.0:
        gain += (1.0 - rate) * math.log((1.0 - rate) / (1.0 - usual))
    return math.sqrt(2.0 * share.calls * gain / design_effect)


def _shown_well(share: Share, limit: float, rate: float) -> float:
    """Log likelihood ratio of being within `limit` to being struck too, by a quarter of `rate`."""
    struck = min(max(2.0 * limit, rate / 4.0), (1.0 + limit) / 2.0)
    good = share.calls - share.bad
    return share.bad * math.log(limit / struck) + good * math.log((1.0 - limit) / (1.0 - struck))


def _usual(name: str, habit: Mapping[str, Share]) -> float | None:
    own = habit.get(name, NONE)
    if own.calls >= _KNOWN_CALLS:
        return own.bad / own.calls
    others = _together(share for each, share in habit.items() if each != name)
    return others.bad / others.calls if others.calls >= _KNOWN_SIBLINGS else None


def _together(shares: Iterable[Share]) -> Share:
    total = NONE
    for share in shares:
        total = total.plus(share)
    return total
