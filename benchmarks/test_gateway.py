"""What a gateway pays: one decision from memory, and catching up with ten minutes of a busy control topic."""

from typing import Any

import pytest

from detector.gateway.decision import Decider
from detector.gateway.view import ControlView
from topics.cloudevents import Headers
from topics.codec import encode
from topics.control import ControlRecord, Evidence, OwnerRecord, owner_key

SCOPES = 2000
PARTITIONS = 8
# What compaction leaves of ten minutes with 2,000 active scopes and the declared settings, as measured.
RECORDS = 17_500

Message = tuple[bytes, bytes, Headers]


def _scope(number: int, revision: int) -> Message:
    route = f"route-{number % SCOPES}"
    record = ControlRecord(
        scope=route,
        route=route,
        partition=number % PARTITIONS,
        state="active",
        mode="error_spike",
        modes=["error_spike"],
        fallbacks={"*": ["secondary", "cache", "rule"], "high_risk": ["cache", "rule"]},
        primary_share=0.05,
        epoch=1,
        revision=revision,
        issued_at=1.7e9,
        evidence=Evidence(predicate="errors", value=0.5, threshold=0.01, samples=40, topic="llm.telemetry"),
        reason="more calls fail than the contract allows",
    )
    return route.encode(), encode(record), []


def _topic() -> list[Message]:
    owners = [
        OwnerRecord(partition=number, owner="worker", epoch=1, issued_at=1.7e9, lease_s=3600.0)
        for number in range(PARTITIONS)
    ]
    said: list[Message] = [(owner_key(owner.partition), encode(owner), []) for owner in owners]
    return said + [_scope(number, number // SCOPES + 1) for number in range(RECORDS)]


def _caught_up(messages: list[Message]) -> ControlView:
    view = ControlView()
    for key, value, headers in messages:
        view.apply(key, value, headers, now=0.0)
    return view


def test_catch_up(benchmark: Any) -> None:
    """Every record decoded, fenced and folded; Kafka's own part comes on top."""
    messages = _topic()
    view = benchmark.pedantic(_caught_up, args=(messages,), rounds=3)
    assert len(view.held) == SCOPES
    if benchmark.enabled:
        print(f"\ncatch-up with {RECORDS:,} records: {benchmark.stats.stats.mean:.2f} s")


@pytest.mark.parametrize("route", ["route-7", "healthy"])
def test_decide(benchmark: Any, route: str) -> None:
    """A route that is diverted and one that is not."""
    decider = Decider(_caught_up(_topic()), "gateway-1")
    decider.heard = True
    decision = benchmark(lambda: decider.decide(route, "default", "", 1.0))
    assert decision.state == ("inactive" if route == "healthy" else "active")
