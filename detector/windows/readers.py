"""How each telemetry field is read out of many records.

Written out: looked up by name, as `attrgetter` does, they take twice as long, and every record is read.
"""

from collections.abc import Callable, Sequence
from typing import Any

from topics.telemetry import TelemetryRecord

READERS: dict[str, Callable[[Sequence[TelemetryRecord]], list[Any]]] = {
    "event_time": lambda records: [record.event_time for record in records],
    "route": lambda records: [record.route for record in records],
    "request_id": lambda records: [record.request_id for record in records],
    "deployment": lambda records: [record.deployment for record in records],
    "model": lambda records: [record.model for record in records],
    "provider": lambda records: [record.provider for record in records],
    "tenant": lambda records: [record.tenant for record in records],
    "template": lambda records: [record.template for record in records],
    "finish_reason": lambda records: [record.finish_reason for record in records],
    "input_class": lambda records: [record.input_class for record in records],
    "served_by": lambda records: [record.served_by for record in records],
    "probe": lambda records: [record.probe for record in records],
    "latency_s": lambda records: [record.latency_s for record in records],
    "ttft_s": lambda records: [record.ttft_s for record in records],
    "queue_s": lambda records: [record.queue_s for record in records],
    "upstream_s": lambda records: [record.upstream_s for record in records],
    "batch_size": lambda records: [record.batch_size for record in records],
    "input_tokens": lambda records: [record.input_tokens for record in records],
    "output_tokens": lambda records: [record.output_tokens for record in records],
    "error": lambda records: [record.error for record in records],
    "hallucinated": lambda records: [record.hallucinated for record in records],
    "refused": lambda records: [record.refused for record in records],
    "logprob_mean": lambda records: [record.logprob_mean for record in records],
    "token_ids": lambda records: [record.token_ids for record in records],
    "clock_ratio": lambda records: [record.clock_ratio for record in records],
    "throttle_reasons": lambda records: [record.throttle_reasons for record in records],
    "golden": lambda records: [record.golden for record in records],
    "golden_ok": lambda records: [record.golden_ok for record in records],
}
