"""What every predicate is to the rest: a `Judge` per route, with a latch and a verdict.

A judge latches when its signal breaches and unlatches when there is evidence that the breach is
over; in between, and while data are too few, it stays as it is. Sequential judges walk records and
may flip at any of them; windowed judges flip only when a pane closes.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, Protocol

from detector.contract.model import Contract, PredicateSpec, most_on_a_route
from detector.predicates.creep import Crept
from detector.windows.columns import Table
from detector.windows.segment import Segment
from detector.windows.shares import Flagged, Share

WEEK_S = 604_800.0
# Divergence is watched on at most so many streams (route x predicate) at the stated budget.
DIVERGENCE_STREAMS = 64
SEQUENTIAL = frozenset({"rate", "exceedance", "repetition", "shortfall"})


class Outcome(StrEnum):
    """What a judge can say. Too little data is never `clear`."""

    LEARNING = "learning"  # no reference yet
    INSUFFICIENT = "insufficient"  # too few records in every window
    CLEAR = "clear"
    BREACH = "breach"
    UNUSABLE = "unusable"  # traffic has been beyond the stated limit for as long as it is known


@dataclass(frozen=True, slots=True)
class Verdict:
    """A finding: `value` against `threshold` (same unit) over `samples` records and `window_s` seconds."""

    outcome: Outcome
    value: float | None = None
    threshold: float | None = None
    samples: int = 0
    window_s: float | None = None
    detail: dict[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WayBack:
    """Where the way back from a breach stands, for a judge that counts calls; all zero for one that does not.

    Attributes:
        judged: calls judged while healthy, as a running count.
        probes: calls that the test of recovery has seen since the scope changed state; `bad` of them were.
        needed: probes within which 19 of 20 recoveries are seen, from a healthy rate at the ceiling.
        last_bad: event time of the last bad one, Unix seconds.
    """

    judged: int = 0
    probes: int = 0
    bad: int = 0
    needed: float = 0.0
    last_bad: float = 0.0


@dataclass(frozen=True, slots=True)
class Budget:
    """False-alarm budget, shared out per record so that it holds however many scopes come and go.

    Attributes:
        run_length: mean records between false alarms of one sequential detector on healthy traffic.
        alpha: error probability of one evaluation of one divergence.
    """

    run_length: float
    alpha: float

    @classmethod
    def of(cls, contract: Contract) -> "Budget":
        """Share out the weekly budget: half to sequential detectors, half to divergences, if there are both.

        A = 604800 R K / F: R records per second of the fleet, K sequential detectors that one record
        updates on the route where they are most, F false activations per week that they may cause.
        """
        specs = contract.predicates.values()
        sequential = most_on_a_route(spec for spec in specs if spec.type in SEQUENTIAL)
        windowed = most_on_a_route(spec for spec in specs if spec.type == "divergence")
        weekly = contract.defaults.false_alarms_per_week / (2 if sequential and windowed else 1)
        return cls(
            run_length=WEEK_S * contract.fleet_records_per_s * max(1, sequential) / weekly,
            alpha=min(1e-4, weekly / (WEEK_S * DIVERGENCE_STREAMS * max(1, windowed))),
        )


class Judge(Protocol):
    """State of one predicate on one route."""

    walks: bool  # whether `observe` does anything
    spec: PredicateSpec

    @property
    def flagged(self) -> Flagged | None:
        """Of the segment observed last: positions of the judged calls, and indices into them of the bad ones.

        None from a judge that does not tell good calls from bad ones.
        """
        ...

    @property
    def latched(self) -> bool:
        """Whether the predicate holds."""
        ...

    @property
    def verdict(self) -> Verdict:
        """The last finding."""
        ...

    @property
    def identity(self) -> str:
        """What its state depends on: only a judge of the same identity can take it over."""
        ...

    @property
    def armed(self) -> bool:
        """Whether a breach would be noticed now."""
        ...

    @property
    def calm(self) -> bool:
        """Whether a call that is no suspect cannot make it flip now, so that it may be walked later."""
        ...

    @property
    def patience(self) -> int:
        """How many suspects cannot make it flip either while it is calm, whatever comes in between."""
        ...

    @property
    def local(self) -> bool:
        """Whether what it suspects depends on what it has learnt up to the last pane that closed."""
        ...

    def suspects(self, calls: Table) -> Iterable[int]:
        """Positions of the calls that may make a judge flip although it is calm; in doubt, all.

        Says the same on every route and whatever has been judged, unless it is `local`.

        Args:
            calls: to any routes; for a local judge to its own, and without names and times.
        """
        ...

    def observe(self, segment: Segment) -> int | None:
        """Walk a segment; return the position of the record at which the judge flips first, if it does.

        If another judge flipped earlier, the caller undoes it with `rollback` and observes again up to there.
        """
        ...

    def rollback(self) -> None:
        """Undo the last `observe`; once."""
        ...

    def absorb(self, segment: Segment) -> None:
        """Add a segment to windows; it may gather several that were observed, up to the next evaluation."""
        ...

    def close(self, boundary: int, *, frozen: bool) -> None:
        """Close the pane [boundary - 1, boundary) and judge the windows that end there.

        Args:
            boundary: Unix seconds.
            frozen: a breach is open or pending on this route: references must not learn from it.
        """
        ...

    def tick(self, now: float) -> None:
        """Time has come to `now` (Unix seconds, event time) and every record before it is in."""
        ...

    def idle(self) -> bool:
        """Whether closing further panes without records in them cannot change anything."""
        ...

    def skip(self, boundary: int, *, frozen: bool) -> None:
        """Jump to `boundary` over panes without records, only while `idle`; `frozen` as for `close`."""
        ...

    def restart(self, at: float) -> None:
        """The scope has changed state at `at`: only calls made after it count from now on."""
        ...

    def rebase(self) -> None:
        """What the windows hold now is the new normal: a reference is learnt from here on."""
        ...

    def accept_creep(self) -> None:
        """What healthy traffic has crept to is what it is measured from later; all else goes on."""
        ...

    def tolerate(self) -> None:
        """What the windows hold now does no harm: it is no news when it comes back soon."""
        ...

    def breach(self, share: Share, detail: Mapping[str, float | str]) -> None:
        """Somebody else has found a breach in these calls; only where `flagged` tells something."""
        ...

    def release(self) -> None:
        """What was found says nothing of these calls any more: judge afresh; as for `breach`."""
        ...

    def finds(self, per_s: float) -> float | None:
        """The smallest change, in the verdict's unit, that is found with 99 % power; None: none, or unknown.

        Within 10 s by a judge of single calls, by the window that sees most by a judge of windows.

        Args:
            per_s: calls a second that it has a verdict on.
        """
        ...

    @property
    def crept(self) -> Crept | None:
        """How far healthy traffic has slowly come from what it was at first, if that is worth a notice."""
        ...

    @property
    def alone(self) -> tuple[str, int]:
        """Which caller's bad calls were left out last, since they were of that one alone, and how many."""
        ...

    def progress(self) -> str:
        """Where the way back from a breach stands, in words; empty if there is nothing to say."""
        ...

    def way_back(self) -> WayBack:
        """The same in numbers."""
        ...

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        ...


@lru_cache(maxsize=1024)
def _identity(spec: PredicateSpec) -> str:
    """A short name of all that a predicate states: each snapshot carries it."""
    return hashlib.blake2b(repr(spec).encode(), digest_size=12).hexdigest()


class JudgeBase:
    """Defaults for judges that need only part of the protocol."""

    walks = False
    local = False
    flagged: Flagged | None = None

    def __init__(self, spec: PredicateSpec) -> None:
        self.spec = spec
        self.latched = False
        self.verdict = Verdict(Outcome.INSUFFICIENT)

    @property
    def identity(self) -> str:
        """The predicate as it is judged: as stated, and as calibrated where nothing is stated."""
        return _identity(self.spec)

    @property
    def armed(self) -> bool:
        """Whether a breach would be noticed now."""
        return self.verdict.outcome in (Outcome.CLEAR, Outcome.BREACH)

    @property
    def calm(self) -> bool:
        """Whoever walks and says nothing else has to see every call at once."""
        return not self.walks

    @property
    def patience(self) -> int:
        """The first suspect may make it flip."""
        return 0

    def suspects(self, calls: Table) -> Iterable[int]:
        """Whoever walks and says nothing else is never calm."""
        return ()

    def observe(self, segment: Segment) -> int | None:
        """Nothing to walk."""
        return None

    def rollback(self) -> None:
        """Nothing to undo."""

    def absorb(self, segment: Segment) -> None:
        """No windows."""

    def close(self, boundary: int, *, frozen: bool) -> None:
        """No windows."""

    def tick(self, now: float) -> None:
        """Time alone changes nothing."""

    def idle(self) -> bool:
        """Nothing changes when panes close."""
        return True

    def skip(self, boundary: int, *, frozen: bool) -> None:
        """No windows."""

    def restart(self, at: float) -> None:
        """Nothing kept."""

    def rebase(self) -> None:
        """No reference."""

    def accept_creep(self) -> None:
        """No reference."""

    def tolerate(self) -> None:
        """No windows."""

    def breach(self, share: Share, detail: Mapping[str, float | str]) -> None:
        """No calls are told apart."""
        raise ValueError(f"predicate {self.spec.name} does not tell good calls from bad ones")

    def release(self) -> None:
        """No calls are told apart."""

    def finds(self, per_s: float) -> float | None:
        """Not known."""
        return None

    @property
    def alone(self) -> tuple[str, int]:
        """Every bad call counts."""
        return "", 0

    @property
    def crept(self) -> Crept | None:
        """Not known."""
        return None

    def progress(self) -> str:
        """Nothing to say."""
        return ""

    def way_back(self) -> WayBack:
        """Nothing counted."""
        return WayBack()
