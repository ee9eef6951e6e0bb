"""What one record costs the core, and one turn of it: decoding and judging with the example contract.

    make bench

`extra_info` gives microseconds per record, which is the figure to look at: the mean over some seconds of
event time, panes that close included, after a second in which everything is met for the first time. The
collector of cycles is set as a worker sets it, and its turns are part of the cost; with Python's own setting
the objects of the test's process would be walked through, too (0.25 us per record).
"""

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from detector.bench.traffic import Calls
from detector.contract import example_text, load_contract
from detector.pipeline import Pipeline
from detector.service import garbage
from detector.service.decode import Kind
from topics.telemetry import TelemetryRecord, decode_telemetry

T0 = 1_700_000_000.0
PER_S = 20_000.0  # event time: as many records a second over all routes
HISTORY_S = 960  # after a quarter of an hour every predicate is armed
HISTORY_PER_ROUTE_S = 2
_DECODE = Kind(TelemetryRecord).quick


@dataclass
class Stream:
    """A pipeline in its daily life, and an endless supply of records for it."""

    pipeline: Pipeline
    calls: Calls
    number: int = 0
    at: float = T0

    @classmethod
    def over(cls, routes: int) -> "Stream":
        """Every route has the history of one: a thousand real ones would take minutes."""
        stream = cls(_pipeline(), Calls.over(routes))
        for data in histories(stream.calls.routes):
            stream.pipeline.restore(data)
        stream.at = T0 + HISTORY_S
        return stream

    def batches(self, size: int, count: int) -> Iterator[list[bytes]]:
        """`count` batches of `size` encoded records."""
        for _ in range(count):
            yield [self._next() for _ in range(size)]

    def _next(self) -> bytes:
        self.number += 1
        self.at += 1 / PER_S
        return self.calls.nth(self.number, self.at)[1]

    def judge(self, raws: list[bytes]) -> None:
        """Decode and step, as the service does."""
        records = [_DECODE(raw) for raw in raws]
        first = HISTORY_S * HISTORY_PER_ROUTE_S + self.number - len(raws)
        self.pipeline.step(
            records, range(first, first + len(raws)), [record.event_time for record in records]
        )
        garbage.in_a_spare_moment()


def _pipeline() -> Pipeline:
    return Pipeline(load_contract(example_text()))


def histories(routes: Sequence[str]) -> list[bytes]:
    """A snapshot of each route, after a quarter of an hour of one route's calls."""
    pipeline, calls, count = _pipeline(), Calls.over(1), HISTORY_S * HISTORY_PER_ROUTE_S
    for number in range(count):
        at = T0 + number / HISTORY_PER_ROUTE_S
        pipeline.step([decode_telemetry(calls.nth(number, at)[1])], [number], [at])
    state = msgspec.msgpack.decode(pipeline.snapshot(calls.routes[0]), strict=False)
    return [msgspec.msgpack.encode(state | {"route": route}) for route in routes]


@pytest.fixture(autouse=True)
def _collected_as_by_a_worker() -> Iterator[None]:
    before = gc.get_threshold()
    garbage.begin()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.parametrize(
    ("routes", "size"),
    [(8, 512), (100, 512), (100, 20)],
    ids=lambda value: str(value),
)
def test_decode_and_judge(benchmark: Any, routes: int, size: int) -> None:
    """Routes of one partition, records of one batch: 512 are judged at a time, 20 come in a quiet moment."""
    stream = Stream.over(routes)
    warmup, rounds = int(PER_S) // size, 200_000 // size
    before = stream.pipeline.counts.judged
    supply = stream.batches(size, warmup + rounds)
    benchmark.pedantic(stream.judge, setup=lambda: ((next(supply),), {}), rounds=rounds, warmup_rounds=warmup)
    assert stream.pipeline.counts.judged == before + stream.number
    if benchmark.enabled:
        mean = benchmark.stats.stats.total / (rounds * size)
        benchmark.extra_info["us_per_record"] = round(mean * 1e6, 2)
        print(f"\n{routes} routes, batches of {size}: {mean * 1e6:.2f} us per record, decoding included")
