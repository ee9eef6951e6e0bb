"""Share of answers that say the same tokens over and over, against the contract's ceiling.

An answer is bad if more than `above_share` of its sampled token ids (the first 32) had occurred
before in the sample: a damaged model falls into loops while every call still ends well. An answer of
healthy text repeats, too: calibrate `above_share`, 0.7 is far beyond prose.
"""

from collections.abc import Sequence

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget
from detector.predicates.bernoulli import BernoulliJudge
from detector.windows.columns import Table
from detector.windows.segment import Segment

SAMPLED = 32
LEAST_SAMPLED = 8


class Repetition(BernoulliJudge):
    """`type: repetition`."""

    acts_on_total_failure = False  # a limit below the typical answer is a mistake in the contract

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec, budget)
        if spec.above_share is None:
            raise ValueError(f"predicate {spec.name} needs above_share")
        self._limit = spec.above_share

    def suspects(self, calls: Table) -> Sequence[int]:
        """See `Judge.suspects`."""
        limit = self._limit
        return [
            i
            for i, sample in enumerate(calls.columns[self.spec.field])
            if judged(sample) and repeated(sample) > limit
        ]

    def flags(self, segment: Segment) -> tuple[Sequence[int], Sequence[int]]:
        """See `BernoulliJudge.flags`."""
        samples = segment.columns[self.spec.field]
        positions = [i for i in segment.primary_ok() if judged(samples[i])]
        limit = self._limit
        return positions, [at for at, i in enumerate(positions) if repeated(samples[i]) > limit]


def judged(sample: Sequence[int] | None) -> bool:
    """Whether a sample is long enough to say something."""
    return sample is not None and len(sample) >= LEAST_SAMPLED


def repeated(sample: Sequence[int]) -> float:
    """Share of the first tokens that had occurred before among them, 0..1.

    >>> repeated([1, 2] * 8), repeated(range(16))
    (0.875, 0.0)
    """
    some = sample[:SAMPLED]
    return 1.0 - len(set(some)) / len(some)
