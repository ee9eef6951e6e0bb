"""Has the distribution of a field moved by more than it naturally wanders?

Every second, over windows of 3, 10, 30, 60 .. `window_s` seconds against the last hour's reference:

    breach  when the gate window (the shortest of >= 10 s with enough records) is beyond 0.7 of its threshold,
            so that it is still happening, and in some window with n >= 30 phi records the bias-corrected
            KL exceeds the threshold, and G exceeds its non-central chi-square bound at tolerance d0
    over    when three evaluations in a row find the shortest window of >= 100 phi records (else the
            gate window) under 0.7 of its threshold

The long windows find small shifts, the short ones find large shifts in seconds. A threshold is at
least what the contract says, and at least 1.25 times as far as windows of that length have strayed
on this very stream while nothing was wrong (half-life 1 h): a stream that wanders or cycles beyond
the wish would otherwise always fire. So a stream without calibration learns for three times the
longest window: what the windows hold, a reference of the same length, how far windows stray from it.

Input fields are judged on every call, whoever answered it; all others on the primary's calls alone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from detector.contract.calibration import CalibratedPredicate
from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, JudgeBase, Outcome, Verdict
from detector.predicates.bins import binner_for
from detector.predicates.kl import BiasTable, divergence, noncentral_chi2_quantile, reference_share
from detector.windows.panes import Counts, PaneRing
from detector.windows.reference import TrailingReference
from detector.windows.segment import Segment

INPUT_FIELDS = frozenset({"input_tokens", "template", "tenant", "input_class"})
SPANS_S = (3, 10, 30, 60, 300)
GATE_S = 10
GATE_SHARE = 0.7
CLEAR_EVALUATIONS = 3
TOLERANCE_NATS = 0.035
LEAST_RECORDS = 30
CLEAR_RECORDS = 100
LEAST_REFERENCE = 300
WANDER_MARGIN = 1.25
WANDER_HALF_LIFE_S = 3600.0


class Divergence(JudgeBase):
    """`type: divergence`, default method."""

    def __init__(
        self, spec: PredicateSpec, budget: Budget, calibrated: CalibratedPredicate | None = None
    ) -> None:
        super().__init__(spec)
        self._calibrated = calibrated
        longest = int(spec.window_s)
        self._spans = (*(span for span in SPANS_S if span < longest), longest)
        self._binner = binner_for(spec.field)
        self._ring = PaneRing(self._binner.bins, self._spans)
        self._reference = TrailingReference(self._binner.bins)
        self._q: Any = None
        self._reference_n = 0
        self._occupied: Any = None
        self._bias: Any = None
        self._is_input = spec.field in INPUT_FIELDS or spec.field.startswith("features.")
        self._least = max(spec.min_samples or 0, LEAST_RECORDS * spec.design_effect)
        self._alpha = budget.alpha / len(self._spans)
        self._clear_run = 0
        self._settled = False  # too little to judge: stays so until records come
        self._armed_from: int | None = None
        self._over_since = -np.inf
        self._lengths = np.array(self._spans)
        self._clean_since = -np.inf
        # Largest bias-corrected KL that each window has shown while nothing was wrong.
        self._wander = np.zeros(len(self._spans))
        # What it may come to later: a drift that creeps must not teach the detector to be deaf.
        self._most = self._wander + spec.threshold_nats / GATE_SHARE
        self._forget = 0.5 ** (1.0 / WANDER_HALF_LIFE_S)
        self.verdict = Verdict(Outcome.LEARNING)

    @property
    def identity(self) -> str:
        """See `JudgeBase.identity`; other bins make another judge."""
        return super().identity + (self._calibrated.layout if self._calibrated else "")

    def absorb(self, segment: Segment) -> None:
        """Count a segment's values into the panes of their seconds."""
        positions = segment.succeeded() if self._is_input else segment.primary_ok()
        if not positions:
            return
        values = segment.pick(self.spec.field, positions)
        if self._ring.boundary is None:
            self._ring.start(segment.boundary)
        seconds = segment.seconds()
        if len(seconds) == 1:
            self._add(seconds[0], values)
            return
        by_second: dict[int, list[Any]] = {}
        for position, value in zip(positions, values, strict=True):
            by_second.setdefault(seconds[position], []).append(value)
        for second, some in by_second.items():
            self._add(second, some)

    def _add(self, second: int, values: Sequence[Any]) -> None:
        if None in values:
            values = [value for value in values if value is not None]
        if values:
            self._ring.add(second, self._binner.count(values))

    def close(self, boundary: int, *, frozen: bool) -> None:
        """Close the pane that ends at `boundary` and judge; see `Judge.close`."""
        ring = self._ring
        if ring.boundary is None or ring.boundary >= boundary:
            return
        left = boundary - 1 - ring.longest
        evicted = ring.close()
        if frozen:
            self._clean_since = boundary
        else:
            self._admit(left, evicted)
        if evicted is not ring.nothing or not self._settled:
            self._judge(boundary, frozen)

    def _admit(self, second: int, counts: Counts) -> None:
        """Let a pane that left the longest window into the reference, which counts from the next minute on.

        A reference shorter than the window it is compared with has not seen the stream's wander.
        """
        if second < self._clean_since or not counts.any():
            return
        fresh = self._reference.admit(second, counts)
        if not fresh and self._q is not None:
            return
        n = int(self._reference.totals.sum())
        if n >= LEAST_REFERENCE and self._reference.span_s >= self._ring.longest:
            self._compare_with(self._reference.totals, n)

    def _compare_with(self, totals: Counts, n: int) -> None:
        self._reference_n = n
        self._q = reference_share(totals)
        self._occupied = totals > 0
        self._bias = BiasTable(self._q, n)

    def _judge(self, boundary: int, frozen: bool) -> None:
        self._settled = self._q is None
        if self._q is None:
            self.verdict = Verdict(Outcome.LEARNING, samples=int(self._reference.totals.sum()))
            return
        totals = self._ring.totals
        n = totals.sum(axis=1)
        if n[-1] < self._least:
            self._settled = True
            self.verdict = Verdict(Outcome.INSUFFICIENT, samples=int(n[-1]))
            self._clear_run = 0
            return
        if self._armed_from is None:
            self._armed_from = boundary + self._ring.longest
        phi = self.spec.design_effect
        safe_n = np.maximum(n, 1).astype(np.float64)
        raw = divergence(totals, self._q)
        corrected = raw - phi * self._bias(safe_n)
        # After a breach a window is asked again once it holds nothing of the breach.
        enough = (n >= self._least) & (self._lengths <= boundary - self._over_since)
        if not enough.any():
            self.verdict = Verdict(Outcome.INSUFFICIENT, samples=int(n[-1]))
            return
        if boundary < self._armed_from:
            self._learn(np.where(enough, corrected, 0.0))
            self._most = np.maximum(self._wander, self.spec.threshold_nats / GATE_SHARE)
            self.verdict = Verdict(Outcome.LEARNING, samples=int(n[-1]))
            return
        thresholds = np.maximum(self.spec.threshold_nats, WANDER_MARGIN * self._wander)
        usable = np.flatnonzero(enough)
        gate = next((i for i in usable if self._spans[i] >= GATE_S), usable[-1])
        still = corrected[gate] > GATE_SHARE * thresholds[gate]
        if self.latched:
            shown = next((i for i in range(len(n)) if n[i] >= CLEAR_RECORDS * phi), gate)
            over = corrected[shown] <= GATE_SHARE * thresholds[shown]
            self._clear_run = self._clear_run + 1 if over else 0
            if self._clear_run == CLEAR_EVALUATIONS:
                self.latched = False
                self._over_since = boundary
        else:
            self._clear_run = 0
            beyond = np.flatnonzero(enough & (corrected > thresholds)) if still else ()
            shown = next((i for i in beyond if self._certain(raw[i], n[i], totals[i])), None)
            self.latched = shown is not None
            if shown is None:
                shown = int(np.argmax(np.where(enough, corrected, -np.inf)))
                if not frozen:
                    self._learn(np.where(enough, np.minimum(corrected, self._most), 0.0))
        self.verdict = Verdict(
            Outcome.BREACH if self.latched else Outcome.CLEAR,
            float(corrected[shown]),
            float(thresholds[shown]),
            int(n[shown]),
            float(self._spans[shown]),
            self._contributions(totals[shown], int(n[shown])) if self.latched else {},
        )

    def _certain(self, raw: float, n: int, counts: Any) -> bool:
        """Whether chance and the tolerance together cannot explain a window."""
        scale = self.spec.design_effect * (1.0 / n + 1.0 / self._reference_n)
        freedom = max(1, int((self._occupied | (counts > 0)).sum()) - 1)
        statistic = 2.0 * raw / scale
        return bool(statistic > noncentral_chi2_quantile(freedom, 2.0 * TOLERANCE_NATS / scale, self._alpha))

    def _learn(self, strayed: Any) -> None:
        """Remember how far each healthy window strays; old excursions fade with a half-life of an hour."""
        self._wander *= self._forget
        np.maximum(self._wander, strayed, out=self._wander)

    def _contributions(self, counts: Any, n: int) -> dict[str, float | str]:
        """The three bins that say most: their share in the window and in the reference."""
        share = counts / n
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.where(share > 0, share * np.log(share / self._q), 0.0)
        top = np.argsort(-parts)[:3]
        return {
            f"{self.spec.field} {self._binner.name(int(i))}": f"{share[i]:.1%} of calls, was {self._q[i]:.1%}"
            for i in top
            if parts[i] > 0
        }

    def idle(self) -> bool:
        """No window has enough records, and closing empty panes can only take some away."""
        return not self.latched and self._ring.idle() and bool(self._ring.totals[-1].sum() < self._least)

    def skip(self, boundary: int) -> None:
        """Jump over empty panes; what leaves the longest window still enters the reference."""
        ring = self._ring
        if ring.boundary is None:
            return
        for left, evicted in ring.jump(boundary):
            self._admit(left, evicted)
        self._judge(boundary, frozen=False)

    def restart(self, at: float) -> None:
        """Only calls made from now on say how the primary is; inputs do not depend on who answers."""
        self._clear_run = 0
        if not self._is_input:
            self._ring.clear()

    def progress(self) -> str:
        """Where the way back stands, in words."""
        return f"{self._clear_run} of {CLEAR_EVALUATIONS} evaluations clear"

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        return {
            "ring": self._ring.state(),
            "reference": self._reference.state(),
            "reference_n": self._reference_n,
            "q": None if self._q is None else self._q.tolist(),
            "occupied": None if self._occupied is None else self._occupied.tolist(),
            "bins": self._binner.state(),
            "latched": self.latched,
            "clear_run": self._clear_run,
            "clean_since": float(self._clean_since),
            "over_since": float(self._over_since),
            "armed_from": self._armed_from,
            "wander": self._wander.tolist(),
            "most": self._most.tolist(),
            "outcome": self.verdict.outcome.value,
        }

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self._ring.load(state["ring"])
        self._reference.load(state["reference"])
        self._reference_n = state["reference_n"]
        self._q = None if state["q"] is None else np.array(state["q"])
        self._occupied = None if state["occupied"] is None else np.array(state["occupied"])
        self._bias = None if self._q is None else BiasTable(self._q, self._reference_n)
        self._binner.load(state["bins"])
        self.latched, self._clear_run = state["latched"], state["clear_run"]
        self._clean_since, self._over_since = state["clean_since"], state["over_since"]
        self._armed_from = state["armed_from"]
        self._wander, self._most = np.array(state["wander"]), np.array(state["most"])
        self.verdict = Verdict(Outcome(state["outcome"]))
