"""How many records a second one worker judges, beside a bare client on the same records.

history    every route gets a quarter of an hour's calls, so that each predicate is armed; one worker
           judges them, hands its state over and ends
records    are written while nobody reads; the bare client reads them
figure     a worker restores the state and judges them; the bare client reads them again
"""

import asyncio
import time
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from detector.bench.child import Child
from detector.bench.feed import Feed
from detector.bench.place import BenchError, Place
from detector.bench.traffic import Calls
from detector.bench.worker import WorkerProcess, cpu_s
from detector.service.partition import TELEMETRY

# Event time runs as fast as it would if this many came in a second: panes close as often as then.
EVENT_RATE = 150_000.0
HISTORY_S = 960
HISTORY_PER_ROUTE_S = 2
_LOOK_S = 1.0  # each look has the worker render all its metrics, which production asks for every 15 s
_STALLED_S = 60.0


@dataclass(frozen=True, slots=True)
class Throughput:
    """As contract: rates per second, `ratio` of the worker's to the bare client's, CPU in microseconds."""

    records: int
    records_per_s: float
    bare_records_per_s: float
    ratio: float
    cpu_us_per_record: float | None


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    records: float
    cpu: float | None


async def measure(place: Place, *, records: int, routes: int, history_s: int = HISTORY_S) -> Throughput:
    """Measure on topics that nobody else uses.

    Args:
        place: where.
        records: how many are judged under the clock.
        routes: over how many routes.
        history_s: seconds of event time of history; 0 leaves predicates that learn unarmed.

    Raises:
        BenchError: a worker ended, stood still or lost records.
    """
    say, topic = place.say, place.names.telemetry.name
    calls = Calls.over(routes)
    before = routes * history_s * HISTORY_PER_ROUTE_S
    with WorkerProcess(place, "topics") as worker:
        await worker.ready()
    # Written before the worker reads: to one that waits for more, an hour-old record is a late one.
    feed = Feed(place.settings.librdkafka_options(), topic, place.partitions, calls)
    now = time.time()
    say(f"history: {before:,} records over {routes} routes")
    feed.many(before, lambda i: now - history_s + i * history_s / max(1, before))
    with WorkerProcess(place, "history") as worker:
        await worker.ready()
        await _until_judged(worker, before)
    starts = await _ends(place, topic)
    say(f"writing {records:,} records")
    now = time.time()
    feed.many(records, lambda i: now + i / EVENT_RATE)
    ends = await _ends(place, topic)
    bare = [await _bare(place, topic, starts, ends)]
    say("the worker judges them")
    with WorkerProcess(place, "judge") as worker:
        looks = await _watch(worker, records)
        judged = int((await worker.metrics())["detector_judged_records_total"])
    if judged != before + records:
        raise BenchError(f"{judged:,} of {before + records:,} records were judged")
    bare.append(await _bare(place, topic, starts, ends))
    first, last = looks[0], looks[-1]
    rate = (last.records - first.records) / (last.at - first.at)
    bare_rate = sum(found[0] for found in bare) / sum(found[1] for found in bare)
    used = None if first.cpu is None or last.cpu is None else last.cpu - first.cpu
    return Throughput(
        records,
        round(rate),
        round(bare_rate),
        round(rate / bare_rate, 3),
        None if used is None else round(used / (last.records - first.records) * 1e6, 2),
    )


async def _until_judged(worker: WorkerProcess, wanted: int) -> None:
    found, moved = -1.0, time.monotonic()
    while found < wanted:
        worker.check(moved + _STALLED_S)
        now = (await worker.metrics())["detector_judged_records_total"]
        if now > found:
            found, moved = now, time.monotonic()
        await asyncio.sleep(_LOOK_S)


async def _watch(worker: WorkerProcess, wanted: int) -> list[_Look]:
    """Looks at the worker from its first records to its last; at most one at which it was done already."""
    await worker.listening()
    looks: list[_Look] = []
    deadline = time.monotonic() + _STALLED_S
    while not looks or looks[-1].records < wanted:
        worker.check(deadline)
        found = (await worker.metrics())[f"detector_records_total:{TELEMETRY}"]
        look = _Look(time.perf_counter(), found, cpu_s(worker.pid))
        if found > (looks[-1].records if looks else 0):
            looks.append(look)
            deadline = time.monotonic() + _STALLED_S
        await asyncio.sleep(_LOOK_S if looks else 0.02)
    # When it was last seen at work: at the look after that it may have idled for a while.
    return looks[:-1] if len(looks) > 2 else looks if len(looks) == 2 else _at_once(looks[0])


def _at_once(look: _Look) -> list[_Look]:
    """So few that they were done at the first look."""
    return [_Look(look.at - _LOOK_S, 0, look.cpu), look]


async def _bare(place: Place, topic: str, starts: dict[str, int], ends: dict[str, int]) -> tuple[int, float]:
    with Child(
        "detector.bench.bare", place.settings, task="read", topic=topic, starts=starts, ends=ends
    ) as bare:
        found = await bare.line()
    per_s = found["records"] / found["seconds"]
    place.say(
        f"bare client: {per_s:,.0f}/s, {found['cpu_s'] / found['records'] * 1e6:.2f} us of CPU per record"
    )
    return found["records"], found["seconds"]


async def _ends(place: Place, topic: str) -> dict[str, int]:
    consumer = AIOKafkaConsumer(**place.settings.client_options())
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(place.partitions)]
        found = await consumer.end_offsets(places)
        return {str(each.partition): offset for each, offset in found.items()}
    finally:
        await consumer.stop()
