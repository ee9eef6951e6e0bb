"""How long after the record that crosses a line a reader of the control topic knows, beside a bare client.

Under a steady load of healthy calls, one route after the other begins to fail. The control record's own
evidence names the record that crossed the line; the clock runs from the moment at which that one was given
to its producer to the moment at which the control record has reached a consumer in this process. Half of the
bare client's samples are taken before the worker's and half after them: the machine may change meanwhile.
"""

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from detector.bench.child import Child
from detector.bench.place import BenchError, Place
from detector.bench.traffic import failing_tail, healthy_tails, line
from detector.bench.worker import WorkerProcess, cpu_s
from detector.contract import load_contract
from detector.pipeline import Pipeline
from topics.control import ControlRecord, decode_control_message
from topics.errors import DecodeError
from topics.partitioner import partition_for
from topics.telemetry import decode_telemetry

_HEALTHY_FIRST = 20
_AHEAD = 2  # failing calls sent singly before the one that should cross, and as many after it
_APART_S = 0.02
_LAST_S = 10.0
_WARM_UP = 250
_WARM = 50  # not counted: the first ones of each process


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of `n` samples, milliseconds."""

    n: int
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Quantiles":
        """Nearest-rank quantiles of at least one sample."""
        ordered = sorted(seconds)
        found = [ordered[math.ceil(q * len(ordered)) - 1] * 1000 for q in (0.5, 0.95, 0.99)]
        return cls(len(ordered), *(round(ms, 2) for ms in found))


@dataclass(frozen=True, slots=True)
class Latency:
    """As contract: the worker's quantiles at a background `rate` per second, and the bare client's."""

    rate: int
    n: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    bare: dict[str, Any]
    ratio_p99: float


async def measure(place: Place, *, rate: int, evidence: int, routes: int, per_s: float) -> Latency:
    """Measure on topics that nobody else uses.

    Args:
        place: where.
        rate: healthy calls a second in the background, over `routes` routes.
        evidence: how many routes begin to fail, `per_s` a second; each only once.

    Raises:
        BenchError: a process ended, or evidence found no answer.
    """
    failures = _failures_to_cross(place)
    await place.make_topics({place.bare_input: place.partitions, place.bare_output: 1})
    half = (evidence + 1) // 2
    # A broker that has just been started compiles its code meanwhile, which no side should pay for.
    await _bare(place, rate, routes, min(half, _WARM_UP), failures, per_s, "warm-up")
    bare = await _bare(place, rate, routes, half, failures, per_s, "bare-a")
    own = await _worker(place, rate, routes, evidence, failures, per_s)
    bare += await _bare(place, rate, routes, half, failures, per_s, "bare-b")
    found, beside = Quantiles.of(own), Quantiles.of(bare)
    return Latency(
        rate,
        found.n,
        found.p50_ms,
        found.p95_ms,
        found.p99_ms,
        asdict(beside),
        round(found.p99_ms / beside.p99_ms, 2),
    )


def _failures_to_cross(place: Place) -> int:
    """After how many failing calls in a row the contract's pipeline acts on a route like ours."""
    pipeline = Pipeline(load_contract(place.contract.read_text("utf-8")))
    for number in range(1000):
        tail = healthy_tails()[number] if number < _HEALTHY_FIRST else failing_tail()
        record = decode_telemetry(line(1.7e9 + number * 1e-3, "probe", tail))
        if any(found.kind == "activated" for found in pipeline.step([record], [number], [1.7e9 + 1])):
            return number + 1 - _HEALTHY_FIRST
    raise BenchError("the contract lets a route fail a thousand times")


async def _worker(
    place: Place, rate: int, routes: int, evidence: int, failures: int, per_s: float
) -> list[float]:
    with WorkerProcess(place, "latency") as worker:
        await worker.ready()
        topics = (place.names.telemetry.name, place.names.control.name)
        before, began = cpu_s(worker.pid), time.perf_counter()
        found = await _phase(place, topics, rate, routes, evidence, failures, per_s, "worker")
        after, took = cpu_s(worker.pid), time.perf_counter() - began
        if before is not None and after is not None:
            place.say(f"worker: {(after - before) / took:.2f} of a core")
        return found


async def _bare(
    place: Place, rate: int, routes: int, evidence: int, failures: int, per_s: float, name: str
) -> list[float]:
    topics = (place.bare_input, place.bare_output)
    source, target = topics
    with Child(
        "detector.bench.bare",
        place.settings,
        task="answer",
        source=source,
        target=target,
        failures=failures,
    ) as bare:
        await bare.line()
        return await _phase(place, topics, rate, routes, evidence, failures, per_s, name)


async def _phase(
    place: Place,
    topics: tuple[str, str],
    rate: int,
    routes: int,
    evidence: int,
    failures: int,
    per_s: float,
    name: str,
) -> list[float]:
    """Seconds from evidence to control record, of one side."""
    source, target = topics
    async with AsyncExitStack() as stack:
        load = stack.enter_context(
            Child(
                "detector.bench.feed",
                place.settings,
                topic=source,
                partitions=place.partitions,
                routes=routes,
                rate=rate,
            )
        )
        listener = await stack.enter_async_context(_Listener(place, target))
        await asyncio.sleep(1.0)  # the load begins
        feed = await stack.enter_async_context(_Evidence(place, source, failures))
        place.say(
            f"{name}: {evidence:,} routes begin to fail, {per_s:g} a second, beside {rate:,} calls a second"
        )
        await feed.run([f"{name}-{number}" for number in range(_WARM + evidence)], per_s)
        sent = feed.sent
        found: dict[tuple[int, int], float] = {}
        deadline = time.monotonic() + _LAST_S
        while len(found) < _WARM + evidence and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            found = {where: at for where, at in listener.received().items() if where in sent}
        reached = await load.end()
    if reached < 0.95 * rate:
        place.say(f"the load came to {reached:,.0f}/s only")
    if len(found) < _WARM + 0.99 * evidence:
        raise BenchError(f"{name}: {len(found)} of {_WARM + evidence} failing routes were answered")
    took = [found[where] - at for where, at in sent.items() if where in found]
    shown = Quantiles.of(took[_WARM:])
    place.say(f"{name}: p50 {shown.p50_ms}, p95 {shown.p95_ms}, p99 {shown.p99_ms} ms of {shown.n:,}")
    return took[_WARM:]


class _Evidence:
    """Makes routes fail, each in its turn.

    Attributes:
        sent: (partition, offset) of each failing call that was sent singly -> when, on the clock of
            `perf_counter`, in the order of sending.
    """

    def __init__(self, place: Place, topic: str, failures: int) -> None:
        self._producer = AIOKafkaProducer(**place.settings.client_options(), acks=1)
        self._topic = topic
        self._partitions = place.partitions
        self._failures = failures
        self._healthy = healthy_tails()[:_HEALTHY_FIRST]
        self._failing = failing_tail()
        self.sent: dict[tuple[int, int], float] = {}

    async def __aenter__(self) -> "_Evidence":
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def run(self, routes: Sequence[str], per_s: float) -> None:
        draw = random.Random(5)
        tasks = []
        due = time.perf_counter()
        for route in routes:
            due += draw.expovariate(per_s)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self._fail(route)))
        await asyncio.gather(*tasks)

    async def _fail(self, route: str) -> None:
        partition = partition_for(route.encode(), self._partitions)
        singly = 2 * _AHEAD + 1
        first = self._failures - _AHEAD - 1
        lead = self._producer.create_batch()
        for tail in [*self._healthy, *[self._failing] * max(0, first)]:
            lead.append(key=route.encode(), value=line(time.time(), route, tail), timestamp=None)
        await (await self._producer.send_batch(lead, self._topic, partition=partition))
        for _ in range(singly):
            await asyncio.sleep(_APART_S)
            now = time.time()
            began = time.perf_counter()
            future = await self._producer.send(
                self._topic, line(now, route, self._failing), route.encode(), partition=partition
            )
            meta = await future
            self.sent[partition, meta.offset] = began


class _Listener:
    """Reads the control records of others, with a fetch always waiting."""

    def __init__(self, place: Place, topic: str) -> None:
        self._consumer = AIOKafkaConsumer(**place.settings.client_options(), enable_auto_commit=False)
        self._place = TopicPartition(topic, 0)
        self._raw: list[tuple[Any, float]] = []
        self._found: dict[tuple[int, int], float] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "_Listener":
        await self._consumer.start()
        self._consumer.assign([self._place])
        await self._consumer.seek_to_end(self._place)
        await self._consumer.position(self._place)
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._consumer.stop()

    async def _read(self) -> None:
        clock: Callable[[], float] = time.perf_counter
        while True:
            found = await self._consumer.getmany(timeout_ms=1000)
            now = clock()
            for records in found.values():
                self._raw += [(record, now) for record in records]

    def received(self) -> dict[tuple[int, int], float]:
        """(partition, offset) of the evidence -> when its first control record came."""
        for raw, at in self._raw:
            with contextlib.suppress(DecodeError):
                record = decode_control_message(raw.key, raw.value)
                if isinstance(record, ControlRecord) and record.state == "active":
                    self._found.setdefault((record.evidence.partition, record.evidence.offset), at)
        self._raw.clear()
        return self._found
