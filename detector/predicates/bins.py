"""How values of a field fall into histogram bins.

Binary logarithms until there is a reference to take quantiles from: they catch shifts of location,
spread and tail alike (5 % of prompts at 32 k tokens: 0.22 of 0.26 nats; 16 quantile bins 0.016).
"""

from collections import Counter
from collections.abc import Sequence
from math import frexp
from typing import Any, Protocol

import msgspec

from topics.telemetry import TelemetryRecord

TOKEN_BINS = 18  # 0, 1, 2-3, 4-7, ... 65,536 and more
CATEGORIES = 16  # the first fifteen met, and the rest
_LOWEST, _HIGHEST = -14, 17  # exponents told apart on either side of zero


class Binner(Protocol):
    """Counts values into a fixed number of bins."""

    bins: int

    def count(self, values: Sequence[Any]) -> list[int]:
        """Histogram of values, none of them None; length `bins`."""
        ...

    def name(self, index: int) -> str:
        """What falls into a bin, for people."""
        ...

    def state(self) -> list[str]:
        """Plain values that `load` takes back."""
        ...

    def load(self, state: list[str]) -> None:
        """Take over what `state` returned."""
        ...


class _Fixed:
    def state(self) -> list[str]:
        """Nothing is learnt."""
        return []

    def load(self, state: list[str]) -> None:
        """Nothing was learnt."""


class TokenBins(_Fixed):
    """Counts >= 0 by their bit length."""

    bins = TOKEN_BINS

    def count(self, values: Sequence[Any]) -> list[int]:
        """See `Binner.count`."""
        counts = [0] * TOKEN_BINS
        for bits, times in Counter(map(int.bit_length, values)).items():
            counts[min(bits, TOKEN_BINS - 1)] += times
        return counts

    def name(self, index: int) -> str:
        """See `Binner.name`."""
        low = 1 << index >> 1
        return f"{low} and more" if index == TOKEN_BINS - 1 else f"{low}..{max(0, (1 << index) - 1)}"


class FloatBins(_Fixed):
    """Finite numbers by sign and binary exponent."""

    _half = _HIGHEST - _LOWEST + 1
    bins = 2 * _half + 1

    def count(self, values: Sequence[Any]) -> list[int]:
        """See `Binner.count`."""
        counts = [0] * self.bins
        for value in values:
            if value == 0:
                counts[self._half] += 1
                continue
            step = min(max(frexp(value)[1], _LOWEST), _HIGHEST) - _LOWEST + 1
            counts[self._half + (step if value > 0 else -step)] += 1
        return counts

    def name(self, index: int) -> str:
        """See `Binner.name`."""
        if index == self._half:
            return "0"
        exponent = abs(index - self._half) + _LOWEST - 1
        sign = "-" if index < self._half else ""
        return f"{sign}{2.0 ** (exponent - 1):g}..{sign}{2.0**exponent:g}"


class CategoryBins:
    """The first fifteen values met, each its own bin, and one for the rest: bounded whatever comes."""

    bins = CATEGORIES

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def count(self, values: Sequence[Any]) -> list[int]:
        """See `Binner.count`."""
        counts = [0] * CATEGORIES
        for value, times in Counter(map(str, values)).items():
            index = self._known.get(value)
            if index is None:
                index = len(self._known)
                if index < CATEGORIES - 1:
                    self._known[value] = index
                else:
                    index = CATEGORIES - 1
            counts[index] += times
        return counts

    def name(self, index: int) -> str:
        """See `Binner.name`."""
        return next((value for value, known in self._known.items() if known == index), "other")

    def state(self) -> list[str]:
        """See `Binner.state`."""
        return list(self._known)

    def load(self, state: list[str]) -> None:
        """See `Binner.load`."""
        self._known = {value: index for index, value in enumerate(state)}


class FeatureBins:
    """A feature may be a number or text: numbers as `FloatBins`, texts as `CategoryBins`, side by side."""

    bins = FloatBins.bins + CATEGORIES

    def __init__(self) -> None:
        self._numbers = FloatBins()
        self._texts = CategoryBins()

    def count(self, values: Sequence[Any]) -> list[int]:
        """See `Binner.count`."""
        texts = [value for value in values if isinstance(value, str)]
        numbers = values if not texts else [value for value in values if not isinstance(value, str)]
        return self._numbers.count(numbers) + self._texts.count(texts)

    def name(self, index: int) -> str:
        """See `Binner.name`."""
        numbers = self._numbers.bins
        return self._numbers.name(index) if index < numbers else self._texts.name(index - numbers)

    def state(self) -> list[str]:
        """See `Binner.state`."""
        return self._texts.state()

    def load(self, state: list[str]) -> None:
        """See `Binner.load`."""
        self._texts.load(state)


def _kinds() -> dict[str, type]:
    kinds: dict[str, type] = {}
    for field in msgspec.inspect.type_info(TelemetryRecord).fields:  # type: ignore[attr-defined]
        for described in getattr(field.type, "types", (field.type,)):
            member = getattr(described, "type", described)  # a description wraps the type proper
            if isinstance(member, msgspec.inspect.IntType):
                kinds[field.name] = int
            elif isinstance(member, msgspec.inspect.FloatType):
                kinds[field.name] = float
            elif isinstance(member, msgspec.inspect.StrType):
                kinds[field.name] = str
    return kinds


_KINDS = _kinds()


def binner_for(field: str) -> Binner:
    """The binner of a telemetry field or of `features.<name>`.

    Raises:
        ValueError: the field cannot be put into bins.
    """
    if field.startswith("features."):
        return FeatureBins()
    kind = _KINDS.get(field)
    if kind is int:
        return TokenBins()
    if kind is float:
        return FloatBins()
    if kind is str:
        return CategoryBins()
    raise ValueError(f"field {field!r} has no distribution to compare")
