"""Who measures what: the fields that reach the detector, how often they are missing, and who judges."""

from dataclasses import dataclass

_GATEWAY = frozenset(
    "request_id model provider tenant template finish_reason input_class latency_s ttft_s input_tokens "
    "output_tokens error hallucinated refused".split()
)
_ENGINE = frozenset("deployment queue_s upstream_s batch_size clock_ratio throttle_reasons".split())
_INSIDE = frozenset("logprob_mean token_ids golden golden_ok".split())
# Left out of a record now and then; what names a call, and whether it failed, never is.
SPOTTY = frozenset(
    "latency_s ttft_s queue_s upstream_s batch_size input_tokens output_tokens logprob_mean token_ids "
    "clock_ratio throttle_reasons".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is measured of a call.

    Attributes:
        fields: of TelemetryRecord; event_time, route, served_by and probe always are.
        missing: probability that a measured field of a call is missing all the same.
        noise: relative error of measured durations.
        judge_sensitivity: share of made-up answers that the judge calls so.
        judge_specificity: share of sound answers that it calls sound.
        judge_coverage: share of answers that it is shown.
        judge_lag_s: median seconds from answer to verdict; 0: the verdict is part of the record.
        golden_every_s: seconds between two golden prompts to each deployment; 0: none.
        tells: failure modes whose evidence is among the fields, so that a detector could name them.
    """

    fields: frozenset[str]
    tells: frozenset[str]
    missing: float = 0.01
    noise: float = 0.005
    judge_sensitivity: float = 0.95
    judge_specificity: float = 0.998
    judge_coverage: float = 1.0
    judge_lag_s: float = 0.0
    golden_every_s: float = 0.0


_SEEN_OUTSIDE = frozenset(
    "input_drift token_drift hallucination_spike latency_spike error_spike telemetry_silence".split()
)
_SEEN_INSIDE = _SEEN_OUTSIDE | {"inference_overload", "external_api_latency", "hardware_throttling"}

PROFILES = {
    "api_only": Profile(fields=_GATEWAY, tells=_SEEN_OUTSIDE),
    "self_hosted": Profile(fields=_GATEWAY | _ENGINE, tells=_SEEN_INSIDE),
    "all_signals": Profile(
        fields=_GATEWAY | _ENGINE | _INSIDE, tells=_SEEN_INSIDE | {"parameter_corruption"}, golden_every_s=3.0
    ),
}
