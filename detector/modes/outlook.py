"""What a scope's state machine is told beside what holds: how the way back goes, and what probes can show."""

import math
from typing import Protocol

from detector.predicates.base import WayBack

NO_PROBE = "no probe with a verdict since the last attempt"


class Outlook(Protocol):
    """Answers of one route; see `Probing`."""

    @property
    def bad_take_s(self) -> float:
        """How long bad calls take to end, seconds: until then probes do not tell of them."""
        ...

    def progress(self, predicate: str) -> str:
        """Where a predicate's way back stands, in words; empty if there is nothing to say."""
        ...

    def way_back(self, predicate: str) -> WayBack:
        """The same in numbers."""
        ...

    def slow_probes(self) -> str:
        """That probes were bad for being slow, in words; empty if none was."""
        ...

    def probe_share(self, predicates: tuple[str, ...]) -> float:
        """Share of calls that should go to the primary while these hold, 0..1."""
        ...

    def probes_per_s(self, predicates: tuple[str, ...]) -> float:
        """Calls per second over the whole fleet that would carry enough verdicts."""
        ...

    def bound_s(self, predicates: tuple[str, ...]) -> float | None:
        """Seconds within which 19 of 20 recoveries are seen at that share, once bad calls have ended.

        None: not known.
        """
        ...

    def unharmed(self, lasted_s: float) -> bool | None:
        """Whether probes since the activation show the primary well; None: nothing measures harm."""
        ...


class Unknown:
    """Nothing is known: a scope whose route is not measured."""

    bad_take_s = 0.0

    def __init__(self, probe_share: float, probes_per_s: float) -> None:
        self._share, self._per_s = probe_share, probes_per_s

    def progress(self, predicate: str) -> str:
        """Nothing to say."""
        return ""

    def way_back(self, predicate: str) -> WayBack:
        """Nothing to say."""
        return WayBack()

    def slow_probes(self) -> str:
        """Nothing to say."""
        return ""

    def probe_share(self, predicates: tuple[str, ...]) -> float:
        """The contract's."""
        return self._share

    def probes_per_s(self, predicates: tuple[str, ...]) -> float:
        """As many as carry the evidence if each has a verdict."""
        return self._per_s

    def bound_s(self, predicates: tuple[str, ...]) -> float | None:
        """Not known."""
        return None

    def unharmed(self, lasted_s: float) -> bool | None:
        """Not shown."""
        return False


def attempt(before: tuple[int, int], now: WayBack, said: str) -> str:
    """How an attempt to revert ended that did not close the scope: `extended` by evidence, or `inconclusive`.

    Args:
        before: probes and bad ones that the attempt before had seen.
        now: what has been seen since the scope changed state.
        said: the way back in words, of a judge that counts no probes.

    >>> attempt((40, 2), WayBack(probes=90, bad=7), "")
    'extended: 5 of 50 probes bad since the last attempt'
    >>> attempt((40, 2), WayBack(probes=60, bad=2, needed=80), "")
    'inconclusive: 20 probes since the last attempt, none bad, of about 80 that it takes'
    """
    if now.probes == 0 and said:
        return f"extended: {said}"
    # A restart of the test in between has forgotten what was before.
    probes, bad = before if before[0] <= now.probes and before[1] <= now.bad else (0, 0)
    fresh = now.probes - probes
    if now.bad > bad:
        return f"extended: {now.bad - bad} of {fresh} probes bad since the last attempt"
    if not fresh:
        return f"inconclusive: {NO_PROBE}"
    return (
        f"inconclusive: {fresh} probes since the last attempt, none bad, "
        f"of about {math.ceil(now.needed)} that it takes"
    )
