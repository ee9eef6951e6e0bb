"""How many calls each deployment of a route had, and how many of them were bad, by predicate.

Counted between pane closings, as the calls come; the last ten are what is asked about, or the last five
minutes where one of many deployments has few calls. What is older than ten and was healthy is each
deployment's habit, against which it is held. Counts are whole numbers,
so that batches make no difference. A route of fewer than three deployments has nothing to compare.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from detector.windows.segment import Positions

RECENT_PANES = 10
BLOCKS = 29  # of ten panes each, before those
LONG_PANES = RECENT_PANES * (1 + BLOCKS)
LEAST_DEPLOYMENTS = 3
MOST_DEPLOYMENTS = 64
_HALVED_AT = 1_000_000  # calls of a habit; older ones count half from then on

# Positions of the judged calls, indices into them of the bad.
Flagged = tuple[Positions, Sequence[int]]


class Share(NamedTuple):
    """Judged calls, and how many of them were bad."""

    calls: float
    bad: float

    def plus(self, other: "Share") -> "Share":
        """Both together."""
        return Share(self.calls + other.calls, self.bad + other.bad)


NONE = Share(0, 0)


class _Tally:
    """Calls by deployment; by predicate, those that were not judged, and the bad ones."""

    __slots__ = ("bad", "calls", "unjudged")

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.unjudged: dict[str, Counter[str]] = {}
        self.bad: dict[str, Counter[str]] = {}

    def add(self, other: "_Tally") -> None:
        self.calls.update(other.calls)
        for mine, theirs in ((self.unjudged, other.unjudged), (self.bad, other.bad)):
            for name, counts in theirs.items():
                mine.setdefault(name, Counter()).update(counts)

    def take_off(self, other: "_Tally") -> None:
        """Take out what was added."""
        self.calls -= other.calls
        for mine, theirs in ((self.unjudged, other.unjudged), (self.bad, other.bad)):
            for name, counts in theirs.items():
                mine[name] -= counts

    def of(self, predicate: str) -> dict[str, Share]:
        nobody: Counter[str] = Counter()
        unjudged, bad = self.unjudged.get(predicate, nobody), self.bad.get(predicate, nobody)
        return {name: Share(calls - unjudged[name], bad[name]) for name, calls in self.calls.items()}

    def halve(self) -> None:
        for counts in (self.calls, *self.unjudged.values(), *self.bad.values()):
            for name in counts:
                counts[name] //= 2

    def keep(self, most: int) -> None:
        """Leave out deployments beyond the `most` with the most calls."""
        if len(self.calls) > most:
            for name in sorted(self.calls, key=lambda name: (-self.calls[name], name))[most:]:
                self.forget(name)

    def forget(self, name: str) -> None:
        for counts in (self.calls, *self.unjudged.values(), *self.bad.values()):
            counts.pop(name, None)

    def state(self) -> list[Any]:
        return [
            dict(self.calls),
            {k: dict(v) for k, v in self.unjudged.items()},
            {k: dict(v) for k, v in self.bad.items()},
        ]

    @classmethod
    def made_of(cls, state: Sequence[Any]) -> "_Tally":
        made = cls()
        made.calls = Counter(state[0])
        made.unjudged = {name: Counter(counts) for name, counts in state[1].items()}
        made.bad = {name: Counter(counts) for name, counts in state[2].items()}
        return made


class DeploymentShares:
    """Of one route."""

    def __init__(self) -> None:
        self._open = _Tally()
        self._uncounted: list[Sequence[str]] = []  # deployments of calls: many are counted faster at once
        self._panes: deque[_Tally] = deque()
        self._blocks: deque[_Tally] = deque()  # what the panes before those were put together to
        self._in_block = 0
        self._long = _Tally()  # all blocks
        self._habit = _Tally()

    def add(self, deployments: Sequence[str], flagged: Iterable[tuple[str, Flagged]]) -> None:
        """Count calls that have been judged.

        Args:
            deployments: of each call.
            flagged: by predicate, which of them were judged and which of those were bad; where it is missing
                all were judged and good.
        """
        self._uncounted.append(deployments)
        size = len(deployments)
        for name, (judged, bad) in flagged:
            if len(judged) < size:
                left_out = np.ones(size, dtype=np.bool_)
                left_out[np.asarray(judged, dtype=np.int64)] = False
                unjudged = [deployments[i] for i in np.flatnonzero(left_out).tolist()]
                self._open.unjudged.setdefault(name, Counter()).update(unjudged)
            if bad:
                counts = self._open.bad.setdefault(name, Counter())
                for i in bad:
                    counts[deployments[judged[i]]] += 1

    def _count(self) -> _Tally:
        """The pane that is open, with all of its calls counted."""
        if self._uncounted:
            self._open.calls.update(chain.from_iterable(self._uncounted))
            self._uncounted = []
        return self._open

    def close(self, *, frozen: bool) -> None:
        """A pane is closed; what leaves the last ones becomes habit, unless `frozen`."""
        habit = self._habit
        oldest, self._open = self._count(), _Tally()
        oldest.keep(MOST_DEPLOYMENTS)
        if self._panes or len(habit.calls.keys() | oldest.calls.keys()) >= LEAST_DEPLOYMENTS:
            self._panes.append(oldest)
            if len(self._panes) <= RECENT_PANES:
                return
            oldest = self._panes.popleft()
            self._put_together(oldest)
        if frozen or not oldest.calls:
            return
        habit.add(oldest)
        for name in oldest.calls:  # those seen last come last
            habit.calls[name] = habit.calls.pop(name)
        while len(habit.calls) > MOST_DEPLOYMENTS:
            habit.forget(next(iter(habit.calls)))
        if habit.calls.total() > _HALVED_AT:
            habit.halve()

    def skip(self, panes: int, *, frozen: bool) -> None:
        """Close so many panes, the open one and empty ones: the same as `close` again and again."""
        beyond = panes - LONG_PANES - 1  # by then nothing is left in any but for where a block begins
        if beyond > RECENT_PANES:
            panes -= beyond // RECENT_PANES * RECENT_PANES
        for _ in range(panes):
            self.close(frozen=frozen)

    def _put_together(self, pane: _Tally) -> None:
        if not self._blocks or self._in_block == RECENT_PANES:
            self._blocks.append(_Tally())
            self._in_block = 0
            if len(self._blocks) > BLOCKS:
                self._long.take_off(self._blocks.popleft())
        self._blocks[-1].add(pane)
        self._long.add(pane)
        self._in_block += 1

    @property
    def filled(self) -> bool:
        """Whether any of the panes that may be asked for holds a call, the open one left out."""
        return any(pane.calls for pane in self._panes) or bool(self._long.calls)

    @property
    def known(self) -> Mapping[str, int]:
        """Calls of each deployment that has a habit."""
        return self._habit.calls

    def recent(self, predicate: str, panes: int) -> dict[str, Share]:
        """What each did in the pane that is open and the last so many before it; beyond ten, `LONG_PANES`."""
        total = _Tally()
        if panes > RECENT_PANES:
            total.add(self._long)
        for tally in (*list(self._panes)[max(0, len(self._panes) - panes) :], self._count()):
            total.add(tally)
        return total.of(predicate)

    def habit(self, predicate: str) -> dict[str, Share]:
        """What each deployment did while the route was well, the last ten panes left out."""
        return self._habit.of(predicate)

    def state(self) -> list[Any]:
        """Plain values that `load` takes back."""
        panes, blocks = ([tally.state() for tally in tallies] for tallies in (self._panes, self._blocks))
        return [self._count().state(), panes, self._habit.state(), blocks, self._in_block]

    def load(self, state: Sequence[Any]) -> None:
        """Take over what `state` returned."""
        self._open, self._habit = _Tally.made_of(state[0]), _Tally.made_of(state[2])
        self._panes, self._blocks = (deque(map(_Tally.made_of, tallies)) for tallies in (state[1], state[3]))
        self._in_block, self._long = state[4], _Tally()
        for block in self._blocks:
            self._long.add(block)

    @staticmethod
    def named_in(state: Sequence[Any]) -> set[str]:
        """Deployments that a saved state has counted calls of."""
        tallies = (state[0], *state[1], state[2], *state[3])
        return {name for tally in tallies for name in _Tally.made_of(tally).calls}
