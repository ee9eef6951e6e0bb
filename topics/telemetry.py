"""One LLM call, as a gateway or collector reports it on `llm.telemetry`.

A missing optional field means "not measured", never zero. No prompt or answer text is ever needed.
"""

from typing import Annotated

from msgspec import Meta, Struct

from topics.codec import decoder
from topics.types import Amount, Count, EventTime, Label, Name, Seconds

PRIMARY = "primary"
# HTTP codes of calls that tell nothing of the primary: malformed, too long, gone before the answer came.
CALLERS_FAULT = frozenset({"400", "413", "422", "499"})


class TelemetryRecord(Struct, kw_only=True, gc=False, omit_defaults=True):
    """A call that ended or failed at `event_time`. Durations in seconds.

    Attributes:
        event_time: when the call ended or failed, Unix seconds.
        route: what the caller asked for: model group or endpoint; the message key.
        template: id or hash of the prompt template.
        input_class: input-risk class given by the gateway.
        served_by: `primary`, or the name of the fallback that answered.
        probe: true for every call that goes to the primary while its scope is active.
        upstream_s: time in external APIs or tools.
        batch_size: sequences in the engine's running batch.
        error: OpenTelemetry `error.type`; empty is success.
        hallucinated: verdict given inline; None is "not judged". `refused` likewise.
        logprob_mean: mean token log-probability, nats.
        token_ids: a sample of token ids or hashes.
        clock_ratio: device clock over its maximum; `throttle_reasons` are NVML's bits.
        golden: golden-prompt id; `golden_ok` whether its answer was as expected.
        features: further features that a contract may name.
    """

    event_time: EventTime
    route: Name
    request_id: Label = ""
    deployment: Label = ""
    model: Label = ""
    provider: Label = ""
    tenant: Label = ""
    template: Label = ""
    finish_reason: Label = ""
    input_class: Label = "default"
    served_by: Label = PRIMARY
    probe: bool = False
    latency_s: Seconds | None = None
    ttft_s: Seconds | None = None
    queue_s: Seconds | None = None
    upstream_s: Seconds | None = None
    batch_size: Amount | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    error: Label = ""
    hallucinated: bool | None = None
    refused: bool | None = None
    logprob_mean: float | None = None
    token_ids: Annotated[list[int], Meta(max_length=4096)] | None = None
    clock_ratio: Amount | None = None
    throttle_reasons: Count | None = None
    golden: Label = ""
    golden_ok: bool | None = None
    features: dict[Label, float | Label] = {}


class Evaluation(Struct, kw_only=True, gc=False, omit_defaults=True):
    """A verdict that comes later than its call, on `llm.evaluations`.

    Attributes:
        event_time: when the verdict was made; `call_time` when the call ended, or None.
        name: what was judged, such as `hallucination`.
        failed: the verdict, None where only a `score` was given.
    """

    event_time: EventTime
    route: Name
    name: Name
    call_time: EventTime | None = None
    request_id: Label = ""
    deployment: Label = ""
    failed: bool | None = None
    score: float | None = None
    judge: Label = ""


decode_telemetry = decoder(TelemetryRecord)
decode_evaluation = decoder(Evaluation)
