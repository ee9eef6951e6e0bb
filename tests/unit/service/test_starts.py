"""Where reading begins, and which saved state does not count."""

from collections.abc import Mapping
from typing import Any

import pytest
from faust.types import TP

from detector.contract.model import Contract
from detector.service.marks import Mark, Snapshots
from detector.service.metrics import Metrics
from detector.service.starts import PartitionsAddedError, Starts

PLACE = TP("telemetry-topic", 0)


class Broker:
    """A consumer whose topic holds the offsets from `begin` to `end`."""

    def __init__(self, begin: int, end: int) -> None:
        self.answers: dict[str, Any] = {"begins": {PLACE: begin}, "ends": {PLACE: end}, "at_time": {}}

    async def in_thread(self, name: str, *_: Any) -> Any:
        return self.answers[name]


def saved(covered: int, routes: Mapping[bytes, int]) -> Snapshots:
    mark = Mark(partition=0, owner="o", epoch=1, issued_at=1.0, covered={"telemetry": covered})
    return Snapshots(
        mark=mark,
        routes=dict.fromkeys(routes, b"state"),
        covers={route: {"telemetry": offset} for route, offset in routes.items()},
        covered=dict(mark.covered),
    )


def starts_at(end: int) -> Starts:
    contract = Contract(predicates={}, modes={}, digest="")
    broker, inputs = Broker(0, end), {PLACE.topic: "telemetry"}
    return Starts(broker, inputs, contract, Metrics(), partitions=1, embedded=False)


async def begin(snapshots: Snapshots, *, end: int) -> int:
    found, _ = await starts_at(end).find(frozenset({PLACE}), {0: snapshots})
    return found[PLACE]


async def test_a_partition_that_was_not_there_at_the_start_is_not_waited_for() -> None:
    """Its snapshots have no place yet: a reader of them would ask without end."""
    with pytest.raises(PartitionsAddedError):
        await starts_at(10).look(None, frozenset({TP(PLACE.topic, 1)}))  # type: ignore[arg-type]


async def test_state_within_the_topic_counts() -> None:
    """Reading begins at the mark, with all routes."""
    snapshots = saved(70, {b"a": 80, b"b": 10})

    assert await begin(snapshots, end=80) == 70
    assert set(snapshots.routes) == {b"a", b"b"}
    assert snapshots.dropped == []


async def test_state_of_a_topic_made_anew_is_to_be_removed() -> None:
    """None of its routes is restored, and each is named, so that no later start restores it either."""
    snapshots = saved(500, {b"a": 500, b"b": 10})
    await begin(snapshots, end=40)

    assert (snapshots.routes, snapshots.covered, snapshots.mark) == ({}, {}, None)
    assert sorted(snapshots.dropped) == [b"a", b"b"]


async def test_a_route_that_covers_more_than_the_topic_holds_does_not_count() -> None:
    """Beside a mark that fits, it would hide every record of its route below its offset."""
    snapshots = saved(30, {b"old": 500, b"new": 40})

    assert await begin(snapshots, end=40) == 30
    assert set(snapshots.routes) == {b"new"}
    assert snapshots.dropped == [b"old"]
