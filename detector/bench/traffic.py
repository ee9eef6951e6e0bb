"""Healthy calls and failing ones, as JSON of some 300 bytes with all that the example contract looks at.

Rendered from a few prepared tails, so that one process can make a hundred thousand a second.
"""

import random
from dataclasses import dataclass

from topics.codec import encode
from topics.telemetry import TelemetryRecord

# A prime: whatever the number of routes, each of them gets every tail equally often.
_TAILS = 1999


def healthy_tails(seed: int = 7) -> list[bytes]:
    """Everything behind `event_time` and `route`, with faults well below every ceiling of the example."""
    draw = random.Random(seed)
    return [_tail(_call(draw)) for _ in range(_TAILS)]


def failing_tail() -> bytes:
    """The same of a call that failed."""
    call = _call(random.Random(1))
    call.error, call.finish_reason = "timeout", ""
    call.latency_s = call.upstream_s = call.ttft_s = call.output_tokens = call.hallucinated = None
    return _tail(call)


def line(event_time: float, route: str, tail: bytes) -> bytes:
    """One record.

    Args:
        event_time: Unix seconds.
        route: needs no JSON escapes.
        tail: of `healthy_tails` or `failing_tail`.
    """
    return b'{"event_time":%.4f,"route":"%s",%s' % (event_time, route.encode(), tail)


def _call(draw: random.Random) -> TelemetryRecord:
    slow = draw.random() < 0.002
    return TelemetryRecord(
        event_time=1e9,
        route="r",
        request_id=f"{draw.getrandbits(64):016x}",
        deployment=f"eu-{draw.randrange(4)}",
        model="llama-70b-chat",
        provider="vllm",
        tenant=f"t{draw.randrange(37)}",
        finish_reason="stop",
        latency_s=round(draw.uniform(0.25, 0.4) if slow else draw.uniform(0.05, 0.19), 4),
        ttft_s=round(draw.uniform(0.02, 0.05), 4),
        upstream_s=round(draw.uniform(0.15, 0.2) if draw.random() < 0.002 else draw.uniform(0.01, 0.09), 4),
        input_tokens=min(32_000, int(draw.lognormvariate(6, 1))),
        output_tokens=min(8_000, int(draw.lognormvariate(5, 1))),
        hallucinated=draw.random() < 0.004,
        error="rate_limited" if draw.random() < 0.002 else "",
    )


def _tail(call: TelemetryRecord) -> bytes:
    return encode(call).partition(b'"route":"r",')[2]


@dataclass(frozen=True, slots=True)
class Calls:
    """A stream of healthy calls over routes in turn.

    Attributes:
        routes: their names.
        tails: as of `healthy_tails`.
    """

    routes: tuple[str, ...]
    tails: list[bytes]

    @classmethod
    def over(cls, count: int, name: str = "route") -> "Calls":
        """Calls to `count` routes."""
        return cls(tuple(f"{name}-{number}" for number in range(count)), healthy_tails())

    def nth(self, number: int, event_time: float) -> tuple[str, bytes]:
        """Route and record of the call with this number, 0 and up."""
        route = self.routes[number % len(self.routes)]
        return route, line(event_time, route, self.tails[number % len(self.tails)])
