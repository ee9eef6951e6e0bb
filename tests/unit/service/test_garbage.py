"""What is freed without the collector of cycles, and when the collector is asked."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from detector.contract import example_text, load_contract
from detector.pipeline import Caps, Pipeline
from detector.service import garbage
from topics.telemetry import TelemetryRecord


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No collection but by order, as before afterwards."""
    before = gc.get_threshold()
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("uncollected")
def test_a_route_that_is_evicted_needs_no_collector() -> None:
    """Where thousands come and go the memory would grow: old objects are looked at after a rebalance only."""
    pipeline = Pipeline(load_contract(example_text()), caps=Caps(routes=2))
    judges = []
    for number in range(300):
        route = f"r{number // 50}"
        at = 1.7e9 + 0.2 * number
        record = TelemetryRecord(event_time=at, route=route, error="timeout" if number % 7 == 0 else "")
        pipeline.step([record], [number], [at])
        if number % 50 == 49:
            judges.append(weakref.ref(pipeline.route(route)))

    assert [judge() is not None for judge in judges] == [False] * 4 + [True] * 2


@pytest.mark.usefixtures("uncollected")
def test_the_young_are_looked_at_where_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is done for a few."""
    asked: list[int] = []
    monkeypatch.setattr(garbage.gc, "collect", asked.append)
    monkeypatch.setattr(garbage.gc, "get_count", lambda: (3, 0, 0))
    garbage.in_a_spare_moment()
    monkeypatch.setattr(garbage.gc, "get_count", lambda: (3000, 0, 0))
    garbage.in_a_spare_moment()

    assert asked == [0]
