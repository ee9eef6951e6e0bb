"""Has the distribution of a field moved by more than it naturally wanders?

Every second, over windows of 3, 10, 30, 60 .. `window_s` seconds against a reference: the long windows
find small shifts, the short ones find large shifts in seconds. See `DriftStream`.

Input fields are judged on every call, whoever answered it; all others on the primary's calls alone.
With `by`, each of at most 20 strata is judged beside the whole; what exceeds them is one of them.
With `given`, answers are compared with answers to the like: see `GivenYardstick`.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from detector.contract.calibration import CalibratedPredicate
from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, JudgeBase, Outcome, Verdict
from detector.predicates.bins import TOKEN_IDS, Binner, binner_for
from detector.predicates.creep import Crept
from detector.predicates.drift import CLEAR_EVALUATIONS, DriftStream
from detector.predicates.limits import Limits
from detector.predicates.pair_bins import PairBins
from detector.predicates.strata import Strata
from detector.windows.array_segment import ArraySegment
from detector.windows.arrays import is_number
from detector.windows.segment import Segment

INPUT_FIELDS = frozenset({"input_tokens", "template", "tenant", "input_class"})
SPANS_S = (3, 10, 30, 60, 300)
TOLERANCE_NATS = 0.035
LEAST_RECORDS = 30
TOKEN_DESIGN_EFFECT = 6.0  # tokens of one answer are alike; measured 2.5 to 6 over 16 to 1024 buckets
TOP_BINS = 3
SOON_S = 10


class Divergence(JudgeBase):
    """`type: divergence`, default method."""

    def __init__(
        self,
        spec: PredicateSpec,
        budget: Budget,
        calibrated: CalibratedPredicate | None = None,
        known_until: float | None = None,
    ) -> None:
        super().__init__(spec)
        self._calibrated = calibrated
        self._binner: Binner
        if spec.given:
            self._binner = PairBins(spec.given, calibrated.categories if calibrated else None)
        else:
            self._binner = binner_for(spec.field, calibrated)
        limits = limits_of(spec, budget, self._binner, calibrated, known_until)
        self._stream = DriftStream(self._binner.bins, spans_of(spec), limits)
        self._strata = Strata(self._binner.bins, spans_of(spec), limits) if spec.by else None
        self._is_number = is_number(spec.field) and self._binner.numeric
        self._is_input = spec.field in INPUT_FIELDS or spec.field.startswith("features.")
        self.verdict = Verdict(self._stream.outcome)

    @property
    def identity(self) -> str:
        """See `JudgeBase.identity`; other bins make another judge."""
        return super().identity + (self._calibrated.layout if self._calibrated else "")

    def absorb(self, segment: Segment) -> None:
        """Count a segment's values into the panes of their seconds."""
        if self._strata is None and self._is_number and isinstance(segment, ArraySegment):
            self._absorb_numbers(segment)
            return
        positions = segment.succeeded() if self._is_input else segment.primary_ok()
        if not positions:
            return
        if self._stream.ring.boundary is None:
            self._stream.ring.start(segment.boundary)
        values = self._values(segment, positions)
        if not self._is_number:
            values = self._binner.meet(values)
        seconds = segment.seconds()
        groups = self._groups(segment, positions)
        if groups is None and len(seconds) == 1:
            self._add(seconds[0], values)
            return
        where = [seconds[0]] * len(positions) if len(seconds) == 1 else [seconds[i] for i in positions]
        by_second: dict[int, list[Any]] = {}
        for second, value in zip(where, values, strict=True):
            by_second.setdefault(second, []).append(value)
        for second, some in by_second.items():
            self._add(second, some)
        if groups is not None and self._strata is not None:
            self._strata.absorb(segment.boundary, where, groups, values, self._binner)

    def _values(self, segment: Segment, positions: Sequence[int]) -> Sequence[Any]:
        values = segment.pick(self.spec.field, positions)
        if not self.spec.given:
            return values
        given = segment.pick(self.spec.given, positions)
        pairs = zip(given, values, strict=True)
        return [None if one is None or value is None else (one, value) for one, value in pairs]

    def _absorb_numbers(self, segment: ArraySegment) -> None:
        ring = self._stream.ring
        if ring.boundary is None and (segment.succeeded() if self._is_input else segment.primary_ok()):
            ring.start(segment.boundary)
        positions, numbers = segment.numbers(self.spec.field, primary=not self._is_input)
        if not len(numbers):
            return
        seconds = segment.seconds()
        if len(seconds) == 1:
            ring.add(seconds[0], self._binner.count(numbers))
            return
        panes = np.array(seconds)[positions]
        for second in np.unique(panes).tolist():
            ring.add(second, self._binner.count(numbers[panes == second]))

    def _groups(self, segment: Segment, positions: Sequence[int]) -> list[str] | None:
        if not self.spec.by:
            return None
        columns = [segment.pick(name, positions) for name in self.spec.by]
        return ["/".join(map(str, names)) for names in zip(*columns, strict=True)]

    def _add(self, second: int, values: Sequence[Any]) -> None:
        if None in values:
            values = [value for value in values if value is not None]
        if values:
            self._stream.ring.add(second, self._binner.count(values))

    def close(self, boundary: int, *, frozen: bool) -> None:
        """Close the pane that ends at `boundary` and judge; see `Judge.close`."""
        before = self._stream.ring.boundary
        if before is None or before >= boundary:
            return
        learning = self._stream.outcome is Outcome.LEARNING
        self._stream.close(boundary, frozen=frozen)
        if self._strata is not None:
            self._strata.close(boundary, frozen=frozen)
        if learning and self._stream.outcome is not Outcome.LEARNING:
            self._binner.settle()
        self._tell()

    def _tell(self) -> None:
        """Put the finding of the whole, or of the stratum that strayed most, into words."""
        name, stream = "", self._stream
        if self._strata is not None and not stream.latched and (worst := self._strata.worst()):
            name, stream = worst
        self.latched = stream.latched
        self.verdict = Verdict(
            stream.outcome,
            stream.value,
            stream.threshold,
            stream.samples,
            None if stream.window is None else float(stream.spans[stream.window]),
            self._detail(name, stream) if stream.latched else {},
        )

    def _detail(self, stratum: str, stream: DriftStream) -> dict[str, float | str]:
        """What decided: the bins and strata that say most, what the records are worth, whose threshold."""
        detail: dict[str, float | str] = {}
        if stratum:
            detail[", ".join(self.spec.by)] = stratum
        if stream.window is not None and stream.yardstick is not None:
            totals = stream.ring.totals[stream.window]
            for i, share, was in stream.yardstick.contributions(totals, stream.samples, TOP_BINS):
                name = f"{self.spec.field} {self._binner.name(i)}"
                whose = "those calls" if self.spec.given else self._things()
                detail[name] = f"{share:.1%} of {whose}, was {was:.1%}"
        if self._strata is not None:
            detail |= {
                f"{'/'.join(self.spec.by)} {name}": f"{far:.2f} nats" for name, far in self._strata.top()
            }
        phi = stream.limits.design_effect
        return detail | {
            "design_effect": phi,
            "effective_samples": round(stream.samples / phi, 1),
            "threshold_from": stream.threshold_from,
        }

    def _things(self) -> str:
        return "tokens" if self.spec.field == TOKEN_IDS else "calls"

    def idle(self) -> bool:
        """No window has enough records, and closing empty panes can only take some away."""
        return self._stream.idle() and (self._strata is None or self._strata.idle())

    def skip(self, boundary: int, *, frozen: bool) -> None:
        """Jump over empty panes; what leaves the longest window still enters the reference."""
        if self._stream.ring.boundary is not None:
            self._stream.skip(boundary, frozen=frozen)
            if self._strata is not None:
                self._strata.skip(boundary, frozen=frozen)
            self._tell()

    def restart(self, at: float) -> None:
        """Only calls made from now on say how the primary is; inputs do not depend on who answers."""
        for stream in self._streams():
            stream.clear_run = 0
            if not self._is_input:
                stream.empty()

    def rebase(self) -> None:
        """The drift is accepted: what there is now becomes the reference."""
        if isinstance(self._binner, PairBins) and self._binner.forget():
            self._stream.ring.clear()
        for stream in self._streams():
            stream.rebase()
        self._tell()

    def accept_creep(self) -> None:
        """See `Judge.accept_creep`; of the whole, not of strata."""
        self._stream.creep.begin(self._stream.yardstick)

    def tolerate(self) -> None:
        """The drift was shown to do no harm."""
        for stream in self._streams():
            if stream.latched:
                stream.tolerate()

    def _streams(self) -> list[DriftStream]:
        return [self._stream, *(self._strata.streams.values() if self._strata is not None else ())]

    def finds(self, per_s: float) -> float | None:
        """See `Judge.finds`; of the whole, not of strata."""
        return self._stream.finds(per_s)

    @property
    def crept(self) -> Crept | None:
        """See `Judge.crept`; of the whole, not of strata."""
        return self._stream.crept

    def progress(self) -> str:
        """Where the way back stands, in words."""
        stream = next((each for each in self._streams() if each.latched), self._stream)
        said = f"{stream.clear_run} of {CLEAR_EVALUATIONS} evaluations clear"
        if stream.outcome is Outcome.INSUFFICIENT:
            things = f"{self._things()} to be compared" if self.spec.given else self._things()
            return f"{said}; fewer than {stream.limits.least:g} {things} in {stream.spans[-1]} s"
        bound = stream.clear_span + CLEAR_EVALUATIONS
        if bound > SOON_S + CLEAR_EVALUATIONS:
            said += f"; with so few {self._things()} that takes {bound} s from the recovery"
        return said

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        strata = None if self._strata is None else self._strata.state()
        return self._stream.state() | {"bins": self._binner.state(), "strata": strata}

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self._stream.load(state)
        self._binner.load(state["bins"])
        if self._strata is not None and state["strata"] is not None:
            self._strata.load(state["strata"])
        self.latched = any(stream.latched for stream in self._streams())
        self.verdict = Verdict(Outcome.BREACH if self.latched else self._stream.outcome)


@lru_cache(maxsize=1024)
def spans_of(spec: PredicateSpec) -> tuple[int, ...]:
    """Window lengths, seconds, ascending."""
    longest = int(spec.window_s)
    return (*(span for span in SPANS_S if span < longest), longest)


def limits_of(
    spec: PredicateSpec,
    budget: Budget,
    binner: Binner,
    calibrated: CalibratedPredicate | None,
    known_until: float | None = None,
) -> Limits:
    """What the contract, and where it is silent the calibration, hold a stream to."""
    spans = spans_of(spec)
    phi = spec.design_effect
    if spec.field == TOKEN_IDS and calibrated is None and "design_effect" not in spec.stated:
        phi = max(phi, TOKEN_DESIGN_EFFECT)
    thresholds = reference = None
    tolerance = TOLERANCE_NATS
    if calibrated is not None:
        # A window that was not calibrated is held to what a longer one was not: the next shorter one's.
        learnt = calibrated.thresholds_nats
        shorter = {
            span: max((s for s in learnt if s <= span), default=min(learnt, default=0)) for span in spans
        }
        thresholds = tuple(learnt[shorter[span]] for span in spans) if learnt else None
        tolerance = max(tolerance, calibrated.tolerance_nats or 0.0)
        if calibrated.reference is not None and len(calibrated.reference) == binner.bins:
            reference = calibrated.reference
    return Limits(
        threshold_nats=spec.threshold_nats,
        tolerance_nats=tolerance,
        alpha=budget.alpha / len(spans),
        design_effect=phi,
        least=max(spec.min_samples or 0, LEAST_RECORDS * phi),
        mode=spec.reference.mode,
        calibrated=thresholds,
        reference=reference,
        known_until=math.inf if known_until is None else known_until,
        strata=binner.strata,
    )
