"""River's drift detectors as methods: `adwin`, `kswin`, `page_hinkley`.

They detect that a mean or distribution has changed, in either direction, and then take the new
level for normal; here a detection latches only if the level rose (rates and exceedances) or moved
at all (divergences), and the latch ends `window_s` seconds of event time after the last detection.
None of them has a false-alarm rate that follows from the contract. Their state is not part of
snapshots: after a takeover they learn again.

Source: River, `river.drift` (A. Bifet, R. Gavalda 2007; C. Raab et al. 2020; E. S. Page 1954).
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

from river import drift

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, JudgeBase, Outcome, Verdict
from detector.predicates.divergence import INPUT_FIELDS
from detector.predicates.exceedance import limit_of, measured
from detector.predicates.rate import GOOD_WHEN_TRUE
from detector.windows.columns import FEATURE
from detector.windows.segment import Segment

_MAKE: dict[str, Callable[[], Any]] = {
    "adwin": drift.ADWIN,
    "kswin": lambda: drift.KSWIN(seed=1),
    "page_hinkley": lambda: drift.PageHinkley(mode="up"),
}
_MEAN_OF = 200  # records that the present level is taken over
_WARM_UP = 30  # records before a detection counts


class RiverJudge(JudgeBase):
    """One of River's detectors behind the judge's protocol."""

    walks = True

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec)
        self._begin()
        self._undo: Any = None

    def _begin(self) -> None:
        """Nothing has been seen yet."""
        self._detector = _MAKE[self.spec.method]()
        self._seen = 0
        self._slow = self._fast = 0.0
        self._detected_at = -math.inf
        self.latched = False
        self.verdict = Verdict(Outcome.LEARNING)

    def observe(self, segment: Segment) -> int | None:
        """Feed the detector record by record."""
        rest = (self._seen, self._slow, self._fast, self._detected_at, self.latched, self.verdict)
        self._undo = (copy.deepcopy(self._detector), rest)
        positions, values = self._values(segment)
        for position, value in zip(positions, values, strict=True):
            self._detector.update(value)
            self._seen += 1
            self._slow += (value - self._slow) / min(self._seen, 10 * _MEAN_OF)
            self._fast += (value - self._fast) / min(self._seen, _MEAN_OF // 4)
            if self._detector.drift_detected and self._seen > _WARM_UP:
                rose = self.spec.type == "divergence" or self._fast > max(self._slow, self.spec.ceiling)
                if rose:
                    self._detected_at = segment.times[position]
                    if not self.latched:
                        self.latched = True
                        self.verdict = Verdict(Outcome.BREACH, self._fast, self._slow, self._seen)
                        return position
        if self._seen > _WARM_UP and not self.latched:
            self.verdict = Verdict(Outcome.CLEAR, self._fast, self._slow, self._seen)
        return None

    def _values(self, segment: Segment) -> tuple[Sequence[int], list[float]]:
        spec = self.spec
        if spec.type == "exceedance":
            positions, values = measured(segment, spec.field)
            limit = limit_of(spec)
            return positions, [float(value > limit) for value in values]
        if spec.type == "divergence":
            is_input = spec.field in INPUT_FIELDS or spec.field.startswith(FEATURE)
            positions = segment.succeeded() if is_input else segment.primary_ok()
            picked = segment.pick(spec.field, positions)
            pairs = [
                (p, math.copysign(math.log1p(abs(v)), v))
                for p, v in zip(positions, picked, strict=True)
                if v is not None and not isinstance(v, str)
            ]
            return [p for p, _ in pairs], [v for _, v in pairs]
        positions = segment.primary()
        picked = segment.pick(spec.field, positions)
        good = spec.field in GOOD_WHEN_TRUE
        pairs = [(p, float(bool(v) != good)) for p, v in zip(positions, picked, strict=True) if v is not None]
        return [p for p, _ in pairs], [v for _, v in pairs]

    def close(self, boundary: int, *, frozen: bool) -> None:
        """A detection holds for `window_s`."""
        if self.latched and boundary - self._detected_at > self.spec.window_s:
            self.latched = False
            self.verdict = Verdict(Outcome.CLEAR, self._fast, self._slow, self._seen)

    def rebase(self) -> None:
        """See `Judge.rebase`; what a detector has seen is its own, so it learns from here on."""
        self._begin()

    def progress(self) -> str:
        """Until when it holds."""
        return f"a detection holds for {self.spec.window_s:g} s"

    def rollback(self) -> None:
        """See `Judge.rollback`."""
        self._detector, rest = self._undo
        self._seen, self._slow, self._fast, self._detected_at, self.latched, self.verdict = rest

    def idle(self) -> bool:
        """A latch ends with time."""
        return not self.latched

    def state(self) -> dict[str, Any]:
        """Only what a scope's state depends on."""
        return {"latched": self.latched, "detected_at": self._detected_at}

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self.latched, self._detected_at = state["latched"], state["detected_at"]
