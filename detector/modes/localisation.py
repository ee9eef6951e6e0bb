"""Which deployment alone is at fault? Each against its own reference, then the changes against each other.

Never levels: one deployment may always be slower. Fewer than three deployments with enough calls,
or others that have changed too: not localised.
"""

from collections.abc import Iterable, Mapping

from detector.predicates.shift import HIGH_Z, SIGNALS, Level, Shift

LEAST_DEPLOYMENTS = 3


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
