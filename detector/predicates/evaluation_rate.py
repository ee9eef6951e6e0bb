"""Rate of bad verdicts that come later than their calls, on a topic of their own (`evaluation: NAME`).

A verdict counts if it has one: `failed`, or a `score` beyond `score_below` / `score_above`.
"""

from collections.abc import Sequence

from detector.predicates.bernoulli import BernoulliJudge
from detector.windows.segment import Segment
from topics.telemetry import Evaluation


class EvaluationRate(BernoulliJudge):
    """`type: rate` with an evaluation as its source."""

    walks = False  # not along telemetry

    def flags(self, segment: Segment) -> tuple[Sequence[int], Sequence[int]]:
        """Telemetry says nothing of evaluations."""
        return (), ()

    def judge_verdicts(self, positions: Sequence[int], evaluations: Sequence[Evaluation]) -> int | None:
        """Walk the evaluations at `positions`; return the position at which the judge flips, if it does."""
        judged: list[int] = []
        bad: list[int] = []
        for position in positions:
            verdict = self._is_bad(evaluations[position])
            if verdict is None:
                continue
            if verdict:
                bad.append(len(judged))
            judged.append(position)
        flip = self.take(judged, bad) if judged else None
        self._say_share()
        return flip

    def _is_bad(self, evaluation: Evaluation) -> bool | None:
        below, above = self.spec.score_below, self.spec.score_above
        if evaluation.score is not None and (below is not None or above is not None):
            return (below is not None and evaluation.score < below) or (
                above is not None and evaluation.score > above
            )
        return evaluation.failed
