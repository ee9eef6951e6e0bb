"""What one record costs the core where all ten modes are judged and every signal is measured.

Each call has 32 token ids, and comes from one of 8 deployments and 20 tenants.

    make bench
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detector.bench.traffic import line
from detector.contract import load_contract
from detector.pipeline import Pipeline
from topics.codec import encode
from topics.telemetry import TelemetryRecord, decode_telemetry

CONTRACT = Path(__file__).parents[1] / "deploy" / "ten-modes.yaml"
T0 = 1_700_000_000.0
ROUTES = 8
PER_S = 20_000.0  # event time, over all routes
WARM_S, WARM_PER_S = 300, 80.0  # after this every predicate is armed
TAILS = 1999  # a prime: every route gets every tail


def _tail(draw: random.Random) -> bytes:
    inputs = min(8000, int(draw.lognormvariate(6, 0.5)))
    call = TelemetryRecord(
        event_time=1e9,
        route="r",
        request_id=f"{draw.getrandbits(64):016x}",
        deployment=f"eu-{draw.randrange(8)}",
        tenant=f"t{draw.randrange(20)}",
        finish_reason="stop",
        latency_s=draw.uniform(0.1, 0.8),
        ttft_s=draw.uniform(0.02, 0.05),
        queue_s=draw.expovariate(500.0),
        upstream_s=draw.uniform(0.01, 0.09),
        batch_size=float(draw.randrange(8, 24)),
        input_tokens=inputs,
        output_tokens=min(4000, int(draw.lognormvariate(5, 0.5))),
        hallucinated=draw.random() < 0.004,
        refused=draw.random() < 0.005,
        error="rate_limited" if draw.random() < 0.002 else "",
        logprob_mean=draw.gauss(-0.8, 0.1),
        token_ids=[draw.randrange(50_000) for _ in range(32)],
        clock_ratio=draw.uniform(0.97, 1.0),
        throttle_reasons=0,
    )
    return encode(call).partition(b'"route":"r",')[2]


def _calls(tails: list[bytes], start: int, count: int, at: float, per_s: float) -> Iterator[bytes]:
    for i in range(count):
        number = start + i
        yield line(at + i / per_s, f"route-{number % ROUTES}", tails[number % len(tails)])


def _judge(pipeline: Pipeline, raws: list[bytes], first: int) -> None:
    records = [decode_telemetry(raw) for raw in raws]
    pipeline.step(records, range(first, first + len(raws)), [record.event_time for record in records])


@pytest.mark.parametrize("size", [512, 20])
def test_decode_and_judge_all(benchmark: Any, size: int) -> None:
    """512 is a turn of a busy partition, 20 a quiet moment."""
    draw = random.Random(7)
    tails = [_tail(draw) for _ in range(TAILS)]
    pipeline, warm = Pipeline(load_contract(CONTRACT.read_text("utf-8"))), int(WARM_S * WARM_PER_S)
    raws = list(_calls(tails, 0, warm, T0, WARM_PER_S))
    for first in range(0, warm, 512):
        _judge(pipeline, raws[first : first + 512], first)
    rounds = max(20, 40_000 // size)
    raws = list(_calls(tails, warm, rounds * size, T0 + WARM_S, PER_S))
    turns = iter(range(0, rounds * size, size))

    def turn() -> tuple[tuple[Pipeline, list[bytes], int], dict[str, object]]:
        first = next(turns)
        return (pipeline, raws[first : first + size], warm + first), {}

    benchmark.pedantic(_judge, setup=turn, rounds=rounds)
    judged = warm + (rounds * size if benchmark.enabled else size)
    assert pipeline.counts.judged == judged
    assert not any(each.state == "active" for each in pipeline.judged())
    if benchmark.enabled:
        mean = benchmark.stats.stats.total / (rounds * size)
        benchmark.extra_info["us_per_record"] = round(mean * 1e6, 2)
        print(f"\nall ten modes, batches of {size}: {mean * 1e6:.2f} us per record, decoding included")
