"""What the demo feeds: one route each, a slice of real traffic, and what has to come of it."""

from dataclasses import dataclass

SILENT = "silent"
HEALTHY_S = 15.0  # a divergence learns for three times its longest window (4 s here) before it judges
FAULT_S = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Traffic of one route; seconds are since the feed began.

    Attributes:
        name: as in the summary.
        route: where it is fed.
        slice: which slice of real traffic.
        expected: failure mode that has to be acted on, or `silent`.
        story: what really happened there, in one line.
        calls_per_s: pace of the feed, not of the original.
        fault_at_s: when the faulty part begins; None if there is none.
        fault_share: share of calls that are faulty while it lasts, 0..1.
    """

    name: str
    route: str
    slice: str
    expected: str
    story: str
    calls_per_s: float = 150.0
    fault_at_s: float | None = None
    fault_share: float = 1.0

    def faulty(self, age_s: float) -> bool:
        """Whether the primary is at fault `age_s` seconds into the feed."""
        return self.fault_at_s is not None and self.fault_at_s <= age_s < self.fault_at_s + FAULT_S


SCENARIOS = (
    Scenario(
        name="provider throttles",
        route="llama-2-70b",
        slice="llmperf_429_burst",
        expected="error_spike",
        story="Lepton answers 116 calls in a row with 429 while the other providers are well (llmperf)",
        fault_at_s=HEALTHY_S,
        fault_share=0.5,
    ),
    Scenario(
        name="retrieval is lost",
        route="support-answers",
        slice="refchecker_lost_retrieval",
        expected="hallucination_spike",
        story="gpt4 loses its retrieval: 6 % of answers made up become 47 % (RefChecker, human verdicts)",
        fault_at_s=HEALTHY_S + 1.0,
    ),
    Scenario(
        name="silent model update",
        route="prime-numbers",
        slice="llmdrift_silent_update",
        expected="token_drift",
        story="gpt-4 changes under its name: answers shrink from 215 tokens to 3, and come faster (LLMDrift)",
        fault_at_s=HEALTHY_S + 2.0,
    ),
    Scenario(
        name="other questions",
        route="chat",
        slice="azure_conv_to_code",
        expected="input_drift",
        story="a chat deployment is suddenly asked for code (Azure production traces)",
        fault_at_s=HEALTHY_S + 3.0,
    ),
    Scenario(
        name="nothing happens",
        route="long-context",
        slice="mooncake_conversation",
        expected=SILENT,
        story="an hour of steady conversation (Mooncake production trace): nobody may be diverted",
    ),
)
LAST_FAULT_ENDS_S = max(scenario.fault_at_s or 0.0 for scenario in SCENARIOS) + FAULT_S
