"""What several predicates mean together: `all`, `any` or `at_least` n of them.

A condition on n predicates holds from the record on at which the n-th of them came to hold: that
one's evidence is the condition's. With `any` it is the earliest, with `all` the latest.
"""

from collections.abc import Mapping

from detector.contract.model import Mode
from topics.control import Evidence


def evidence_of(mode: Mode, latched: Mapping[str, Evidence]) -> Evidence | None:
    """The evidence that a mode's condition was met, from that of each predicate that holds; None: it is not.

    >>> from detector.contract.model import Condition
    >>> seen = {name: Evidence(predicate=name, event_time=at) for name, at in (("slow", 1.0), ("bad", 2.0))}
    >>> evidence_of(Mode(name="x", when=Condition(2, ("slow", "bad", "odd"))), seen).predicate
    'bad'
    >>> evidence_of(Mode(name="x", when=Condition(3, ("slow", "bad", "odd"))), seen) is None
    True
    """
    when = mode.when
    if isinstance(when, str):
        return latched.get(when)
    found = [latched[name] for name in when.of if name in latched]
    if len(found) < when.least:
        return None
    # Ties keep the contract's order.
    return sorted(found, key=lambda each: (each.event_time or 0.0, each.offset))[when.least - 1]


def holding(mode: Mode, latched: Mapping[str, Evidence]) -> tuple[str, ...]:
    """Those of a mode's predicates that hold, in the contract's order."""
    return tuple(name for name in mode.predicates if name in latched)
