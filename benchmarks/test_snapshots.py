"""A partition of 1,000 routes: the longest turn that a snapshot takes, and a whole restore."""

import time
from typing import Any

import pytest

from benchmarks.test_core import Stream
from detector.contract import example_text, load_contract
from detector.pipeline import Pipeline

ROUTES = 1000


@pytest.fixture(scope="module")
def stream() -> Stream:
    """All routes with a quarter of an hour behind them."""
    return Stream.over(ROUTES)


def test_snapshot_of_a_route(benchmark: Any, stream: Stream) -> None:
    """One route is the least that a turn can take."""
    names = iter(list(stream.pipeline.routes))
    sizes: list[int] = []
    benchmark.pedantic(lambda: sizes.append(len(stream.pipeline.snapshot(next(names)))), rounds=ROUTES)
    if benchmark.enabled:
        longest = benchmark.stats.stats.max
        benchmark.extra_info["longest_turn_ms"] = round(longest * 1e3, 2)
        print(f"\nlongest snapshot {longest * 1e3:.2f} ms of {ROUTES}; largest {max(sizes):,} bytes")


def test_restore_of_a_partition(benchmark: Any, stream: Stream) -> None:
    """Everything that a takeover has to load before it may judge."""
    saved = [stream.pipeline.snapshot(route) for route in stream.pipeline.routes]

    def restore() -> Pipeline:
        pipeline = Pipeline(load_contract(example_text()))
        for data in saved:
            pipeline.restore(data)
        return pipeline

    began = time.perf_counter()
    pipeline = benchmark.pedantic(restore, rounds=3)
    assert pipeline.counts.judged == stream.pipeline.counts.judged
    size = sum(map(len, saved)) / 2**20
    print(f"\nrestore of {ROUTES} routes, {size:.1f} MiB: {(time.perf_counter() - began) / 3:.2f} s")


def test_tick_of_a_partition(benchmark: Any, stream: Stream) -> None:
    """What time alone costs while nothing comes in: twenty such ticks a second."""
    at = iter(stream.at + 3 + number * 0.05 for number in range(200))
    benchmark.pedantic(lambda: stream.pipeline.tick(next(at)), rounds=200)
    if benchmark.enabled:
        print(f"\ntick of {ROUTES} routes: {benchmark.stats.stats.mean * 1e3:.2f} ms")
