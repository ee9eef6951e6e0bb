"""Bins of pairs: what was asked, as one of a few strata, and how much was answered."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from detector.contract.calibration import CalibratedPredicate
from detector.predicates.bins import NAMED, CategoryBins, ListedBins, TokenBins, Values
from detector.windows.kinds import KINDS

_SHORTEST, _LONGEST = 5, 13  # bit lengths: under 32 tokens is one stratum, 4,096 and more another


class Strata(Protocol):
    """Tells strata apart."""

    bins: int

    def place(self, value: Any) -> int:
        """The stratum of a value."""
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


class LengthStrata(TokenBins):
    """Token counts by octaves: under 32, 32-63, .. 2,048-4,095, and more."""

    bins = _LONGEST - _SHORTEST + 1

    def place(self, value: int) -> int:
        """See `Strata.place`."""
        return min(max(int(value).bit_length(), _SHORTEST), _LONGEST) - _SHORTEST

    def name(self, index: int) -> str:
        """See `Strata.name`."""
        bits = index + _SHORTEST
        if index == 0:
            return f"under {1 << bits}"
        low = 1 << bits - 1
        return f"{low} and more" if bits == _LONGEST else f"{low}..{2 * low - 1}"


class PairBins:
    """See `Binner`; a value is (what is given, token count), and pairs lie stratum by stratum.

    Callers beyond the first fifteen, or beyond those of a calibration, are not counted: all of them together
    are a mix again, which in simulated traffic strayed ten times as far as the fifteen did.

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
        self._strata: Strata
        if KINDS.get(given) is int:
            self._strata = LengthStrata()
            self.strata = LengthStrata.bins
        else:
            self._strata = ListedBins(categories) if categories else CategoryBins()
            self.strata = len(categories) if categories else NAMED
        self.bins = self.strata * self._tokens.bins

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


def pair_bins_for(given: str, calibrated: CalibratedPredicate | None = None) -> PairBins:
    """The bins of token counts given a field, with its calibrated categories if there are any."""
    return PairBins(given, None if calibrated is None else calibrated.categories)
