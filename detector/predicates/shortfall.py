"""Share of answers that fall short of what answers to such questions usually are.

Usual is the mean over healthy calls with an input of about the same length (a stratum for each power
of two), half-life an hour, so that other questions alone set nothing off; or the lowest mean of two hours
of the last day, if that is less: answers that were long for some hours, or by day, do not make those
that are as they were before look short.
For `output_tokens` the mean is geometric and an answer is bad under `below_share` of it (length
collapse); for `logprob_mean` it is bad by more than `below_nats` under it (the model is unsure of what
it says).

A stratum of fewer than 30 calls is not judged, and none before there are 300. Nothing is learnt
while anything is open or pending on the route.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, Outcome, Verdict
from detector.predicates.bernoulli import BernoulliJudge
from detector.windows.columns import Table
from detector.windows.segment import Segment
from detector.windows.shares import Flagged
from detector.windows.signals import FARTHEST_LOGPROB

STRATA = 18
LEAST_IN_STRATUM = 30
LEAST_CALLS = 300
HALF_LIFE_S = 3600.0
BLOCK_S = 7200
BLOCKS = 12
LEAST_IN_BLOCK = 100
READ_WITH = ("input_tokens", "golden")  # columns that are needed beside the field itself
_FORGET_EVERY_S = 60
_KEPT = 0.5 ** (_FORGET_EVERY_S / HALF_LIFE_S)
_Sums = list[list[float]]
_FINEST = 65536.0  # sums of multiples of 1/65536 are exact, whatever their order


class Shortfall(BernoulliJudge):
    """`type: shortfall`."""

    local = True  # what is short depends on what is usual on the route
    acts_on_total_failure = False  # a limit above the typical answer is a mistake in the contract

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec, budget)
        if spec.below_share is not None:
            self._short = -math.log2(spec.below_share)
        elif spec.below_nats is not None:
            self._short = spec.below_nats
        else:
            raise ValueError(f"predicate {spec.name} needs below_share or below_nats")
        self._in_octaves = spec.below_share is not None
        # Calls and sum of each stratum: of healthy panes, of those not closed, of two hours, of those before.
        self._sums, self._fresh, self._block = _nothing(), _nothing(), _nothing()
        self._blocks: deque[_Sums] = deque(maxlen=BLOCKS)
        self._lowest = [math.inf] * STRATA  # mean of a block, by stratum
        self._limits: list[float | None] = [None] * STRATA

    def suspects(self, calls: Table) -> Sequence[int]:
        """See `Judge.suspects`."""
        return [i for i, (stratum, y) in self._measured(calls.columns) if self._is_short(stratum, y)]

    def flags(self, segment: Segment) -> Flagged:
        """See `BernoulliJudge.flags`."""
        limits = self._limits
        positions: list[int] = []
        bad: list[int] = []
        for i, (stratum, y) in self._measured(segment.columns, segment.primary_ok()):
            if limits[stratum] is None:
                continue
            if self._is_short(stratum, y):
                bad.append(len(positions))
            positions.append(i)
        return positions, bad

    def absorb(self, segment: Segment) -> None:
        """Learn what is usual, for when the pane is closed."""
        for _, (stratum, y) in self._measured(segment.columns, segment.primary_ok()):
            sums = self._fresh[stratum]
            sums[0] += 1.0
            sums[1] += y

    def close(self, boundary: int, *, frozen: bool) -> None:
        """See `Judge.close`."""
        super().close(boundary, frozen=frozen)
        if boundary % _FORGET_EVERY_S == 0:
            self._sums = [[n * _KEPT, y * _KEPT] for n, y in self._sums]
        if boundary % BLOCK_S == 0:
            self._blocks.append(self._block)
            self._block = _nothing()
            self._look_back()
        if self.idle():
            return
        if not frozen:
            for sums in (self._sums, self._block):
                for each, fresh in zip(sums, self._fresh, strict=True):
                    each[0] += fresh[0]
                    each[1] += fresh[1]
            self._set_limits()
        self._fresh = _nothing()

    def rebase(self) -> None:
        """See `Judge.rebase`; nothing is short before what is usual is known again."""
        self._sums, self._fresh, self._block = _nothing(), _nothing(), _nothing()
        self._blocks.clear()
        self._lowest, self._limits = [math.inf] * STRATA, [None] * STRATA
        self.release()

    def idle(self) -> bool:
        """What has been learnt in the open pane waits for its end."""
        return not any(n for n, _ in self._fresh)

    def _set_limits(self) -> None:
        if sum(n for n, _ in self._sums) < LEAST_CALLS:
            return
        self._limits = [
            min(y / n, lowest) - self._short if n >= LEAST_IN_STRATUM else None
            for (n, y), lowest in zip(self._sums, self._lowest, strict=True)
        ]

    def _look_back(self) -> None:
        self._lowest = [
            min((y / n for n, y in stratum if n >= LEAST_IN_BLOCK), default=math.inf)
            for stratum in zip(*self._blocks, strict=True)
        ]

    def _is_short(self, stratum: int, y: float) -> bool:
        limit = self._limits[stratum]
        return limit is not None and y < limit

    def _measured(
        self, columns: Mapping[str, Sequence[Any]], positions: Sequence[int] | None = None
    ) -> list[tuple[int, tuple[int, float]]]:
        """(position, (stratum, value as averaged)) of calls that measured both, golden ones left out."""
        values, inputs, golden = columns[self.spec.field], columns["input_tokens"], columns["golden"]
        octaves, log2 = self._in_octaves, math.log2
        found = []
        for i in range(len(values)) if positions is None else positions:
            value, size = values[i], inputs[i]
            if value is None or size is None or golden[i]:
                continue
            y = log2(1.0 + value) if octaves else max(-FARTHEST_LOGPROB, min(FARTHEST_LOGPROB, value))
            y = round(y * _FINEST) / _FINEST
            found.append((i, (min(size.bit_length(), STRATA - 1), y)))
        return found

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        return super().state() | {
            "sums": self._sums,
            "fresh": self._fresh,
            "block": self._block,
            "blocks": list(self._blocks),
            "limits": self._limits,
        }

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        super().load(state)
        self._sums, self._fresh, self._block = map(_sums_of, (state["sums"], state["fresh"], state["block"]))
        self._blocks = deque(map(_sums_of, state["blocks"]), maxlen=BLOCKS)
        if self._blocks:
            self._look_back()
        self._limits = list(state["limits"])
        if self.verdict.outcome is Outcome.CLEAR and not self.armed:
            self.verdict = Verdict(Outcome.INSUFFICIENT, threshold=self.spec.ceiling)


def _nothing() -> _Sums:
    return [[0.0, 0.0] for _ in range(STRATA)]


def _sums_of(saved: Sequence[Sequence[float]]) -> _Sums:
    return [list(each) for each in saved]
