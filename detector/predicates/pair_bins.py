"""Bins of pairs: what was asked, as one of a few strata, and how much was answered."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from detector.predicates.bins import NAMED, TokenBins, Values
from detector.windows.kinds import KINDS

_SHORTEST, _LONGEST = 5, 13  # bit lengths: under 32 tokens is one stratum, 4,096 and more another
_MET_FIRST = 500  # calls


class Stratifier(Protocol):
    """Tells strata apart; `bins`: how many they are."""

    bins: int

    def meet(self, values: Sequence[Any]) -> int:
        """Take note of values, in the order in which they come; return how many of them came too early."""
        ...

    def place(self, value: Any) -> int:
        """The stratum of a value; as many as there are: it belongs to none."""
        ...

    def name(self, index: int) -> str:
        """What falls into a stratum, for people."""
        ...

    def settle(self) -> None:
        """See `Binner.settle`."""
        ...

    def state(self) -> list[Any]:
        """Plain values that `load` takes back."""
        ...

    def load(self, state: list[Any]) -> None:
        """Take over what `state` returned."""
        ...


class _Known:
    def meet(self, values: Sequence[Any]) -> int:
        """Every stratum is known."""
        return 0

    def settle(self) -> None:
        """Nothing is learnt."""

    def state(self) -> list[Any]:
        """Nothing is learnt."""
        return []

    def load(self, state: list[Any]) -> None:
        """Nothing was learnt."""


class LengthStrata(_Known):
    """Token counts by octaves: under 32, 32-63, .. 2,048-4,095, and more."""

    bins = _LONGEST - _SHORTEST + 1

    def place(self, value: int) -> int:
        """See `Stratifier.place`."""
        return min(max(int(value).bit_length(), _SHORTEST), _LONGEST) - _SHORTEST

    def name(self, index: int) -> str:
        """See `Stratifier.name`."""
        bits = index + _SHORTEST
        if index == 0:
            return f"under {1 << bits}"
        low = 1 << bits - 1
        return f"{low} and more" if bits == _LONGEST else f"{low}..{2 * low - 1}"


class ListedStrata(_Known):
    """Values that a calibration has named; all others belong to no stratum."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._index = {name: number for number, name in enumerate(names)}
        self.bins = len(names)

    def place(self, value: Any) -> int:
        """See `Stratifier.place`."""
        return self._index.get(value, self.bins)

    def name(self, index: int) -> str:
        """See `Stratifier.name`."""
        return self._names[index]


class FrequentStrata:
    """The fifteen values with the most of the first 500 calls; all others belong to no stratum.

    Whoever called first would not do: health checks do. Until they are known no call belongs to one.
    """

    bins = NAMED

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._met: Counter[str] = Counter()
        self._left = _MET_FIRST

    def meet(self, values: Sequence[Any]) -> int:
        """See `Stratifier.meet`."""
        if not self._left:
            return 0
        early = values[: self._left]
        self._met.update(early)
        self._left -= len(early)
        if not self._left:
            self.settle()
        return len(early)

    def settle(self) -> None:
        """See `Binner.settle`."""
        if not self._names:
            self._names = {name: number for number, (name, _) in enumerate(self._met.most_common(NAMED))}
            self._met, self._left = Counter(), 0

    def place(self, value: Any) -> int:
        """See `Stratifier.place`."""
        return self._names.get(value, NAMED)

    def name(self, index: int) -> str:
        """See `Stratifier.name`."""
        return next((name for name, number in self._names.items() if number == index), "")

    def state(self) -> list[Any]:
        """See `Stratifier.state`."""
        return [list(self._names), list(self._met.items()), self._left]

    def load(self, state: list[Any]) -> None:
        """See `Stratifier.load`."""
        self._names = {name: number for number, name in enumerate(state[0])}
        self._met, self._left = Counter(dict(state[1])), state[2]


class PairBins:
    """See `Binner`; a value is (what is given, token count), and pairs lie stratum by stratum.

    What belongs to no stratum is not counted: all such calls together are a mix again, which in simulated
    traffic strayed ten times as far as the fifteen most frequent tenants did.

    Args:
        given: name of the field that is given.
        categories: its strata if they are known.

    Attributes:
        strata: how many.
        bins: of all of them.
    """

    numeric = False

    def __init__(self, given: str, categories: Sequence[str] | None = None) -> None:
        self._given = given
        self._tokens = TokenBins()
        self._strata: Stratifier
        if KINDS.get(given) is int:
            self._strata = LengthStrata()
        else:
            self._strata = ListedStrata(categories) if categories else FrequentStrata()
        self.strata = self._strata.bins
        self.bins = self.strata * self._tokens.bins

    def meet(self, values: Sequence[Any]) -> Sequence[Any]:
        """See `Binner.meet`."""
        there = [place for place, pair in enumerate(values) if pair is not None]
        early = self._strata.meet([values[place][0] for place in there])
        if not early:
            return values
        first = there[early - 1] + 1
        return [None] * first + list(values[first:])

    def forget(self) -> bool:
        """Learn anew who calls, if that was learnt; what was counted so far is of others then."""
        if not isinstance(self._strata, FrequentStrata):
            return False
        self._strata = FrequentStrata()
        return True

    def count(self, values: Values) -> list[int]:
        """See `Binner.count`."""
        given, tokens = zip(*values, strict=True)
        strata = np.fromiter(map(self._strata.place, given), np.int64, len(given))
        places = strata * self._tokens.bins + self._tokens.places(tokens)
        counts: list[int] = np.bincount(places, minlength=self.bins)[: self.bins].tolist()
        return counts

    def name(self, index: int) -> str:
        """See `Binner.name`."""
        stratum, place = divmod(index, self._tokens.bins)
        return f"{self._tokens.name(place)} at {self._given} {self._strata.name(stratum)}"

    def settle(self) -> None:
        """See `Binner.settle`."""
        self._strata.settle()

    def state(self) -> list[Any]:
        """See `Binner.state`."""
        return self._strata.state()

    def load(self, state: list[Any]) -> None:
        """See `Binner.load`."""
        self._strata.load(state)
