"""Has the distribution of a field moved by more than it naturally wanders?

Every second, over windows of 3, 10, 30, 60 .. `window_s` seconds against the last hour's reference:
the long windows find small shifts, the short ones find large shifts in seconds. See `DriftStream`.

Input fields are judged on every call, whoever answered it; all others on the primary's calls alone.
"""

from collections.abc import Sequence
from typing import Any

from detector.contract.calibration import CalibratedPredicate
from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, JudgeBase, Outcome, Verdict
from detector.predicates.bins import binner_for
from detector.predicates.drift import CLEAR_EVALUATIONS, DriftStream, Limits
from detector.windows.segment import Segment

INPUT_FIELDS = frozenset({"input_tokens", "template", "tenant", "input_class"})
SPANS_S = (3, 10, 30, 60, 300)
TOLERANCE_NATS = 0.035
LEAST_RECORDS = 30
CLEAR_RECORDS = 100
TOP_BINS = 3


class Divergence(JudgeBase):
    """`type: divergence`, default method."""

    def __init__(
        self, spec: PredicateSpec, budget: Budget, calibrated: CalibratedPredicate | None = None
    ) -> None:
        super().__init__(spec)
        self._calibrated = calibrated
        longest = int(spec.window_s)
        spans = (*(span for span in SPANS_S if span < longest), longest)
        phi = spec.design_effect
        limits = Limits(
            threshold_nats=spec.threshold_nats,
            tolerance_nats=TOLERANCE_NATS,
            alpha=budget.alpha / len(spans),
            design_effect=phi,
            least=max(spec.min_samples or 0, LEAST_RECORDS * phi),
            clear=CLEAR_RECORDS * phi,
        )
        self._binner = binner_for(spec.field)
        self._stream = DriftStream(self._binner.bins, spans, limits)
        self._is_input = spec.field in INPUT_FIELDS or spec.field.startswith("features.")
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
        if self._stream.ring.boundary is None:
            self._stream.ring.start(segment.boundary)
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
            self._stream.ring.add(second, self._binner.count(values))

    def close(self, boundary: int, *, frozen: bool) -> None:
        """Close the pane that ends at `boundary` and judge; see `Judge.close`."""
        before = self._stream.ring.boundary
        if before is not None and before < boundary:
            self._stream.close(boundary, frozen=frozen)
            self._tell()

    def _tell(self) -> None:
        """Put the stream's finding into words."""
        stream = self._stream
        self.latched = stream.latched
        self.verdict = Verdict(
            stream.outcome,
            stream.value,
            stream.threshold,
            stream.samples,
            None if stream.window is None else float(stream.spans[stream.window]),
            self._contributions() if stream.latched else {},
        )

    def _contributions(self) -> dict[str, float | str]:
        """The bins that say most: their share in the window and in the reference."""
        stream = self._stream
        if stream.window is None or stream.yardstick is None:
            return {}
        found = stream.yardstick.contributions(stream.ring.totals[stream.window], stream.samples, TOP_BINS)
        return {
            f"{self.spec.field} {self._binner.name(i)}": f"{share:.1%} of calls, was {was:.1%}"
            for i, share, was in found
        }

    def idle(self) -> bool:
        """No window has enough records, and closing empty panes can only take some away."""
        return self._stream.idle()

    def skip(self, boundary: int) -> None:
        """Jump over empty panes; what leaves the longest window still enters the reference."""
        if self._stream.ring.boundary is not None:
            self._stream.skip(boundary)
            self._tell()

    def restart(self, at: float) -> None:
        """Only calls made from now on say how the primary is; inputs do not depend on who answers."""
        self._stream.clear_run = 0
        if not self._is_input:
            self._stream.ring.clear()

    def progress(self) -> str:
        """Where the way back stands, in words."""
        return f"{self._stream.clear_run} of {CLEAR_EVALUATIONS} evaluations clear"

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        return self._stream.state() | {"bins": self._binner.state()}

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self._stream.load(state)
        self._binner.load(state["bins"])
        self.latched = self._stream.latched
        self.verdict = Verdict(self._stream.outcome)
