"""A cause, as a predicate that a mode can rest on: holds while the route's attribution names it.

The judge itself sees no calls: telling causes apart takes all signals and symptoms of a route at once.
"""

from typing import Any

from detector.contract.model import PredicateSpec
from detector.predicates.base import Budget, JudgeBase, Outcome, Verdict


class Attributed(JudgeBase):
    """`type: attribution`."""

    def __init__(self, spec: PredicateSpec, budget: Budget) -> None:
        super().__init__(spec)

    def name(self, verdict: Verdict) -> None:
        """The cause has been named, with the evidence for it."""
        self.latched = True
        self.verdict = verdict

    def watch(self, *, known: bool) -> None:
        """Not the cause as far as can be told; `known`: there is a reference to tell it by."""
        self.latched = False
        self.verdict = Verdict(Outcome.CLEAR if known else Outcome.LEARNING)

    def progress(self) -> str:
        """Where the way back stands, in words."""
        return "its symptoms still hold" if self.latched else "recovered"

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        verdict = self.verdict
        numbers = (verdict.value, verdict.threshold, verdict.samples, verdict.window_s)
        return {
            "latched": self.latched,
            "outcome": verdict.outcome.value,
            "numbers": numbers,
            "detail": verdict.detail,
        }

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self.latched = state["latched"]
        value, threshold, samples, window_s = state["numbers"]
        outcome = Outcome(state["outcome"])
        self.verdict = Verdict(outcome, value, threshold, samples, window_s, dict(state["detail"]))
