"""A predicate that sees only some of the calls: `where: {field: value or [values]}`.

Whatever the judge, it is given segments from which the other calls have been left out. A contract
without `where` never comes here: its judges are used as they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detector.contract.model import PredicateSpec
from detector.predicates.base import Judge, Verdict, WayBack
from detector.predicates.creep import Crept
from detector.predicates.shortfall import READ_WITH
from detector.windows.columns import Table
from detector.windows.segment import Segment
from detector.windows.shares import Flagged, Share


def fields_of(spec: PredicateSpec) -> tuple[str, ...]:
    """All telemetry fields that a predicate reads; an empty name stands for none."""
    beside = READ_WITH if spec.type == "shortfall" else ()
    return (spec.field, *spec.by, spec.given, spec.unless_alone, *beside, *(name for name, _ in spec.where))


class Filtered:
    """A judge that is shown the calls whose fields all have one of the wanted values; see `Judge`."""

    def __init__(self, judge: Judge) -> None:
        self.spec = judge.spec
        self.walks = judge.walks
        self.local = judge.local
        self._judge = judge
        self._positions: Sequence[int] = ()
        self._wanted = {name: frozenset(values) for name, values in judge.spec.where}

    @property
    def latched(self) -> bool:
        """Whether the predicate holds."""
        return self._judge.latched

    @property
    def verdict(self) -> Verdict:
        """The last finding."""
        return self._judge.verdict

    @property
    def identity(self) -> str:
        """See `Judge.identity`; the filter is part of what a predicate is."""
        return f"{self._judge.identity} where {self.spec.where}"

    @property
    def armed(self) -> bool:
        """See `Judge.armed`."""
        return self._judge.armed

    @property
    def calm(self) -> bool:
        """See `Judge.calm`."""
        return self._judge.calm

    @property
    def patience(self) -> int:
        """See `Judge.patience`."""
        return self._judge.patience

    def suspects(self, calls: Table) -> Iterable[int]:
        """A call that is not seen raises no suspicion."""
        found, columns = self._judge.suspects(calls), calls.columns
        return [i for i in found if all(columns[name][i] in values for name, values in self._wanted.items())]

    def observe(self, segment: Segment) -> int | None:
        """See `Judge.observe`."""
        positions = self._positions = self._seen(segment)
        flip = self._judge.observe(segment.only(positions))
        return None if flip is None else positions[flip]

    @property
    def flagged(self) -> Flagged | None:
        """See `Judge.flagged`; calls that are left out are not judged."""
        found = self._judge.flagged
        return None if found is None else ([self._positions[i] for i in found[0]], found[1])

    def breach(self, share: Share, detail: Mapping[str, float | str]) -> None:
        """See `Judge.breach`."""
        self._judge.breach(share, detail)

    def release(self) -> None:
        """See `Judge.release`."""
        self._judge.release()

    def absorb(self, segment: Segment) -> None:
        """See `Judge.absorb`."""
        positions = self._seen(segment)
        if positions:
            self._judge.absorb(segment.only(positions))

    def _seen(self, segment: Segment) -> Sequence[int]:
        positions: Sequence[int] = range(len(segment))
        for name, values in self._wanted.items():
            column = segment.columns[name]
            positions = [i for i in positions if column[i] in values]
        return positions

    def rollback(self) -> None:
        """See `Judge.rollback`."""
        self._judge.rollback()

    def close(self, boundary: int, *, frozen: bool) -> None:
        """See `Judge.close`."""
        self._judge.close(boundary, frozen=frozen)

    def tick(self, now: float) -> None:
        """See `Judge.tick`."""
        self._judge.tick(now)

    def idle(self) -> bool:
        """See `Judge.idle`."""
        return self._judge.idle()

    def skip(self, boundary: int, *, frozen: bool) -> None:
        """See `Judge.skip`."""
        self._judge.skip(boundary, frozen=frozen)

    def restart(self, at: float) -> None:
        """See `Judge.restart`."""
        self._judge.restart(at)

    def rebase(self) -> None:
        """See `Judge.rebase`."""
        self._judge.rebase()

    def accept_creep(self) -> None:
        """See `Judge.accept_creep`."""
        self._judge.accept_creep()

    def tolerate(self) -> None:
        """See `Judge.tolerate`."""
        self._judge.tolerate()

    def finds(self, per_s: float) -> float | None:
        """See `Judge.finds`; of calls that it sees there are as many as it has verdicts on."""
        return self._judge.finds(per_s)

    @property
    def crept(self) -> Crept | None:
        """See `Judge.crept`."""
        return self._judge.crept

    @property
    def alone(self) -> tuple[str, int]:
        """See `Judge.alone`."""
        return self._judge.alone

    def progress(self) -> str:
        """See `Judge.progress`."""
        return self._judge.progress()

    def way_back(self) -> WayBack:
        """See `Judge.way_back`."""
        return self._judge.way_back()

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        return self._judge.state()

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self._judge.load(state)
