"""One partition's worker, with all around it standing still."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from detector.modes.decision import Decision
from detector.pipeline import Pipeline
from detector.service import partition
from detector.service.decode import ORIGIN_HEADER, Homes
from detector.service.marks import Origins, Snapshots
from detector.service.metrics import Metrics
from detector.service.ownership import Phase
from detector.service.partition import EVALUATIONS, TELEMETRY, PartitionWorker, TopicMadeAnewError
from detector.service.snapshots import breathe
from tests.builders import contract, spec
from topics.codec import encode
from topics.telemetry import Evaluation, TelemetryRecord

TOPIC_OF = {TELEMETRY: "llm.telemetry", EVALUATIONS: "llm.evaluations"}


async def working(decided: Callable[[int, list[Decision]], None]) -> PartitionWorker:
    """A worker that owns partition 0 of one and has nothing to restore."""
    cover = SimpleNamespace(
        position={},
        origins={name: Origins({}) for name in TOPIC_OF},
        restore=lambda *_: None,
        send_mark=lambda: None,
        count=lambda *_: None,
    )
    desk = SimpleNamespace(phase=lambda _: Phase.OWNING, restored=lambda *_: None, decided=decided)
    worker = PartitionWorker(
        0,
        Pipeline(contract([spec("rate", field="error", ceiling=0.01)])),
        cover,  # type: ignore[arg-type]
        desk=desk,  # type: ignore[arg-type]
        homes=Homes(1),
        refused=SimpleNamespace(topic=TOPIC_OF.__getitem__),  # type: ignore[arg-type]
        outboxes=(),
        metrics=Metrics(),
        clock=time.time,
        ask_ends=None,  # type: ignore[arg-type]
    )
    await worker.restore(Snapshots(), {}, {})
    return worker


def fetched(records: Iterable[Any], topic: str = "") -> list[Any]:
    """As a fetch brings them; `topic`: they were re-keyed from there."""
    return [
        SimpleNamespace(
            value=encode(record),
            offset=i,
            headers=((ORIGIN_HEADER, f"{topic}/3/{i}".encode()),) if topic else (),
            timestamp=0,
            timestamp_type=0,
        )
        for i, record in enumerate(records)
    ]


async def test_an_end_behind_what_is_no_record_is_a_position() -> None:
    """Else it would wait for records that never come: no tick, no heartbeat. It never goes back."""
    worker = await working(lambda *_: None)
    await worker.take(
        TELEMETRY, fetched(TelemetryRecord(event_time=time.time(), route="r") for _ in range(3))
    )
    worker.reached(TELEMETRY, 5)
    assert worker.position[TELEMETRY] == 5
    worker.reached(TELEMETRY, 4)

    assert worker.position[TELEMETRY] == 5
    assert worker._metrics.passed_over.labels(TELEMETRY)._value.get() == 2


async def test_who_cannot_begin_renews_its_lease_for_a_minute() -> None:
    """A restore takes seconds. One that hangs must not hold gateways to what was said before it."""
    worker = await working(lambda *_: None)
    beats: list[int] = []
    worker._desk.tick = beats.append  # type: ignore[method-assign]
    worker._desk.log = SimpleNamespace(accepts_read=0)  # type: ignore[assignment]
    worker._desk.phase = lambda _: Phase.CLAIMING  # type: ignore[method-assign]
    worker.look()
    nothing: dict[str, tuple[int | None, float | None]] = dict.fromkeys(TOPIC_OF, (None, None))
    for second in range(90):
        await worker.tick(nothing, 1000.0 + second, breathe)

    assert len(beats) == 60


@pytest.mark.parametrize("rekeyed", [TELEMETRY, EVALUATIONS])
async def test_evidence_names_the_origin_of_its_own_record(rekeyed: str) -> None:
    """An offset of the other input says nothing: only a re-keyed record's own decision names an origin."""
    made: list[Decision] = []
    worker = await working(lambda _, decisions: made.extend(decisions))
    now = time.time()
    verdicts = [Evaluation(event_time=now, route="r", name="other") for _ in range(50)]
    calls = [TelemetryRecord(event_time=now, route="r", error="500") for _ in range(50)]

    for name, records in ((EVALUATIONS, verdicts), (TELEMETRY, calls)):
        await worker.take(name, fetched(records, TOPIC_OF[name] if name == rekeyed else ""))

    (first, *_) = made
    offset = first.evidence.offset
    assert first.evidence.origin == (f"llm.telemetry/3/{offset}" if rekeyed == TELEMETRY else "")


async def test_time_comes_route_by_route_in_lulls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two turns of it there is time for what is urgent."""
    monkeypatch.setattr(partition, "_SETTLE_S", 0.0)
    worker = await working(lambda *_: None)
    worker._desk.tick = lambda _: None  # type: ignore[method-assign]
    worker._desk.reached_now = lambda _: None  # type: ignore[method-assign]
    worker._desk.log = SimpleNamespace(accepts_read=0)  # type: ignore[misc, assignment]
    seen: list[str] = []

    async def lull() -> None:
        seen.append("lull")

    def ticks(_: float) -> Iterator[list[Decision]]:
        for name in ("a", "b"):
            seen.append(name)
            yield []

    monkeypatch.setattr(worker.pipeline, "ticks", ticks)
    now = time.time()
    await worker.tick(dict.fromkeys(TOPIC_OF, (0, now)), now, lull)

    assert seen == ["a", "lull", "b", "lull"]


async def test_a_tick_ends_though_there_is_always_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat comes behind it: what is left has time until the next one."""
    monkeypatch.setattr(partition, "_SETTLE_S", 0.0)
    monkeypatch.setattr(partition, "_ADVANCE_S", 0.01)
    worker = await working(lambda *_: None)
    worker.catching_up = False
    beats: list[int] = []
    worker._desk.tick = beats.append  # type: ignore[method-assign]
    worker._desk.log = SimpleNamespace(accepts_read=0)  # type: ignore[misc, assignment]
    monkeypatch.setattr(worker.pipeline, "ticks", lambda _: itertools.repeat([]))
    now = time.time()

    await asyncio.wait_for(worker.tick(dict.fromkeys(TOPIC_OF, (0, now)), now, breathe), 30)

    assert beats == [0]


async def test_nothing_is_published_before_time_has_come_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that is over by now would be told as one that holds; however long it takes."""
    monkeypatch.setattr(partition, "_SETTLE_S", 0.0)
    monkeypatch.setattr(partition, "_ADVANCE_S", 0.0)
    worker = await working(lambda *_: None)
    seen: list[Any] = []
    worker._desk.tick = lambda _: None  # type: ignore[method-assign]
    worker._desk.reached_now = lambda _: seen.append("published")  # type: ignore[method-assign]
    worker._desk.log = SimpleNamespace(accepts_read=0)  # type: ignore[misc, assignment]

    def ticks(_: float) -> Iterator[list[Decision]]:
        for route in range(9):
            seen.append(route)
            yield []

    monkeypatch.setattr(worker.pipeline, "ticks", ticks)
    now = time.time()
    await worker.tick(dict.fromkeys(TOPIC_OF, (0, now)), now, breathe)

    assert seen == [*range(9), "published"]


async def test_only_an_answer_from_after_the_last_records_tells_of_a_topic_made_anew() -> None:
    """A broker looks the end up and then reads: what it brings may lie behind the end that it names."""
    worker = await working(lambda *_: None)
    worker.catching_up = False
    worker._desk.tick = lambda _: None  # type: ignore[method-assign]
    worker._desk.log = SimpleNamespace(accepts_read=0)  # type: ignore[misc, assignment]
    came = time.time()
    await worker.take(TELEMETRY, fetched([TelemetryRecord(event_time=came, route="r")] * 5))
    judged = time.time()

    await worker.tick({TELEMETRY: (3, came), EVALUATIONS: (0, came)}, judged, breathe)
    with pytest.raises(TopicMadeAnewError, match="lie before"):
        await worker.tick({TELEMETRY: (3, judged), EVALUATIONS: (0, judged)}, judged, breathe)


async def test_an_end_from_before_a_partition_was_begun_again_tells_of_no_topic_made_anew() -> None:
    """It was asked for when less had been judged; the next answer is the first that counts."""
    asked = time.time()
    worker = await working(lambda *_: None)
    worker.catching_up = False
    worker._desk.tick = lambda _: None  # type: ignore[method-assign]
    worker._desk.log = SimpleNamespace(accepts_read=0)  # type: ignore[misc, assignment]
    worker.position.update({TELEMETRY: 121, EVALUATIONS: 0})
    await worker.restore(Snapshots(), {TELEMETRY: 121, EVALUATIONS: 0}, {})
    begun = time.time()

    await worker.tick({TELEMETRY: (100, asked), EVALUATIONS: (0, asked)}, begun, breathe)
    with pytest.raises(TopicMadeAnewError, match="lie before"):
        await worker.tick({TELEMETRY: (100, begun + 1), EVALUATIONS: (0, begun + 1)}, begun + 1, breathe)


async def test_what_lies_before_the_position_is_not_judged_again() -> None:
    """A topic that was made anew is read from its beginning until that is noticed."""
    worker = await working(lambda *_: None)
    records = fetched([TelemetryRecord(event_time=time.time(), route="r")] * 10)
    worker.position[TELEMETRY] = 6

    await worker.take(TELEMETRY, records[:6])
    assert worker.pipeline.counts.judged == 0
    await worker.take(TELEMETRY, records)

    while worker.pipeline.held:
        worker.pipeline.settle()
    assert worker.pipeline.counts.judged == 4
    assert worker.position[TELEMETRY] == 10


async def test_batches_become_smaller_while_judging_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record is judged once, in batches as small as they have to be if each takes its time."""
    worker = await working(lambda *_: None)
    now, sizes = 0.0, []

    def take(records: list[Any], *_: Any) -> list[Decision]:
        nonlocal now
        now += len(records) * 1e-4
        sizes.append(len(records))
        return []

    monkeypatch.setattr(partition, "perf_counter", lambda: now)
    monkeypatch.setattr(worker.pipeline, "take", take)
    at = time.time()
    await worker.take(TELEMETRY, fetched([TelemetryRecord(event_time=at, route="r")] * 1100))

    assert sizes[0] == 512
    assert sum(sizes) == 1100
    assert all(size in (49, 50) for size in sizes[1:-1])
