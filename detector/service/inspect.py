"""What the topics tell of an installation, without asking its workers: for `detector state` and `tail`."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from msgspec import to_builtins

from detector.gateway.closing import close_consumer
from detector.gateway.fold import Fold, parse
from detector.gateway.headernames import tolerate_header_names
from detector.service.heartbeats import Lease, Leases
from detector.service.kept import active_since
from detector.service.marks import Mark, Snapshots
from detector.service.settings import Settings
from detector.service.snapshots import SnapshotReader
from detector.service.stall import unless_stalled
from detector.service.survey import together
from detector.service.topics_admin import partition_count, topic_names
from topics.control import ControlRecord, OwnerRecord, decode_control
from topics.errors import DecodeError
from topics.names import topics

_LOOK_S, _ANSWER_S = 2.0, 5.0


class NothingHereError(LookupError):
    """The broker has none of an installation's topics; the message names what was looked for."""


async def inspect(settings: Settings) -> dict[str, Any]:
    """Read control and snapshots to their ends; see `look`."""
    found, _ = await look(settings)
    return found


async def look(
    settings: Settings, *, listening: Callable[[Collection[int]], object] = lambda _: None
) -> tuple[dict[str, Any], dict[str, float]]:
    """Read control and snapshots to their ends; where a lease seems to have lapsed, listen for a heartbeat.

    Args:
        settings: where to look.
        listening: told of such partitions before; it takes `LISTEN_S` at most.

    Returns:
        JSON-able: `active` (names of scopes), `scopes` (every record held, active ones first), `lapsed`
        (names of those whose owner has fallen silent, so that gateways obey them no more), `withheld` (routes
        that the panic threshold keeps on their primary, at most 50 of each partition),
        `partitions` (owner, epoch, age of its last heartbeat, whether its lease has lapsed and how long ago,
        counts as the snapshots carry them, what they cover, share of records judged while armed, how each
        predicate stands on their routes), `counts` (their sums) and `predicates` (over all partitions: on how
        many routes each is armed, learning and so on, and the names of those where it is not simply armed),
        `calibration` (`made_at`, the oldest one that a worker judges by, and `age_s`; null without one).
        `clock_off_s` is by how much this machine's clock was found to be ahead of a worker's, else null.
        `complete` is false while some judged records are not covered yet, or nothing is owned.
        Beside it, of scopes that were judged active when their snapshots were taken: since when, Unix s.

    Raises:
        KafkaError: the broker cannot be reached.
        NothingHereError: it has none of this installation's topics.
    """
    declared = topics(settings.topic_prefix)
    await see_that_there_is(settings, declared.control.name, declared.snapshots.name)
    fold = Fold()
    owners: dict[int, OwnerRecord] = {}
    for raw in await read_whole(settings, declared.control.name):
        try:
            entry = parse(raw.key, raw.value, tuple(raw.headers), raw.offset)
        except DecodeError:
            continue
        if fold.apply(entry) and isinstance(entry, OwnerRecord):
            owners[entry.partition] = entry
    snapshots = await _snapshots(settings, declared.snapshots.name)
    marks = {number: each.mark for number, each in snapshots.items() if each.mark is not None}
    leases = Leases(owners)
    named = owners.keys() | marks.keys() | {record.partition for record in fold.held.values()}
    await leases.hear(settings, declared.control.name, named, fold, listening)
    held = sorted(fold.held.values(), key=lambda record: (record.state != "active", record.scope))
    partitions = {
        str(number): _partition(leases.of(number), marks.get(number))
        for number in sorted(owners.keys() | marks.keys())
    }
    counts: dict[str, int] = {}
    for mark in marks.values():
        for name, value in mark.counts.items():
            counts[name] = counts.get(name, 0) + value
    predicates = sorted({name for mark in marks.values() for name in mark.predicates})
    found = {
        "active": [record.scope for record in held if record.state == "active"],
        "scopes": [to_builtins(record) for record in held],
        "lapsed": [record.scope for record in held if leases.of(record.partition).lapsed],
        "withheld": sorted(route for mark in marks.values() for route in mark.withheld),
        "partitions": partitions,
        "counts": counts,
        "predicates": {
            name: to_builtins(
                together(mark.predicates[name] for mark in marks.values() if name in mark.predicates)
            )
            for name in predicates
        },
        "calibration": _calibration([mark.calibrated for mark in marks.values()], time.time()),
        "clock_off_s": leases.clock_off_s,
        "complete": bool(partitions) and all(partition["complete"] for partition in partitions.values()),
    }
    return found, _since(held, snapshots)


def _since(held: Iterable[ControlRecord], snapshots: Mapping[int, Snapshots]) -> dict[str, float]:
    found = {}
    for record in held:
        there = snapshots.get(record.partition)
        snapshot = there.routes.get(record.route.encode()) if there and record.state == "active" else None
        since = active_since(snapshot, record.deployment) if snapshot is not None else None
        if since is not None:
            found[record.scope] = since
    return found


def _calibration(made: list[str], now: float) -> dict[str, Any] | None:
    known = []
    for text in filter(None, made):
        with suppress(ValueError):  # what another version wrote, or a hand
            known.append((datetime.fromisoformat(text).timestamp(), text))
    if not known:
        return None
    oldest, text = min(known)
    return {"made_at": text, "age_s": round(now - oldest, 1)}


def _partition(lease: Lease, mark: Mark | None) -> dict[str, Any]:
    owner = lease.owner
    return {
        "owner": owner.owner if owner else "",
        "epoch": owner.epoch if owner else 0,
        "heard_s_ago": lease.heard_s_ago,
        "lapsed": lease.lapsed,
        "lapsed_s": lease.lapsed_s,
        "covered": mark.covered if mark else {},
        "position": mark.position if mark else {},
        "complete": mark.complete if mark else False,
        "counts": mark.counts if mark else {},
        "armed": mark.armed if mark else {},
        "predicates": to_builtins(mark.predicates) if mark else {},
    }


async def see_that_there_is(settings: Settings, *wanted: str) -> None:
    """Look without asking for a topic by its name: many a broker would make it."""
    present = await topic_names(settings.client_options())
    missing = [name for name in wanted if name not in present]
    if missing:
        lacks = f"{settings.bootstrap} has no topic {' and no topic '.join(missing)}"
        declared = topics(settings.topic_prefix)
        # Those that nobody but a worker makes; gateways and producers may have come first.
        if present & {declared.transitions.name, declared.snapshots.name, declared.deadletter.name}:
            raise NothingHereError(
                f"{lacks}, but others of this detector: a restart of a worker makes it again"
            )
        raise NothingHereError(
            f"{lacks}: no detector has run there"
            + (
                f" with the prefix {settings.topic_prefix!r}"
                if settings.topic_prefix
                else " without a prefix"
            )
        )


async def _snapshots(settings: Settings, topic: str) -> dict[int, Snapshots]:
    options = settings.client_options()
    number = await partition_count(options, topic) if not settings.embedded else settings.data_partitions
    return await SnapshotReader(options, topic).read(range(number))


async def read_whole(settings: Settings, topic: str) -> list[Any]:
    """All messages of a topic that has one partition; raises KafkaError where the broker is not there."""
    place = TopicPartition(topic, 0)
    tolerate_header_names()
    consumer = AIOKafkaConsumer(
        **settings.client_options(), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        await consumer.start()
        consumer.assign([place])
        return await read_to_end(consumer, place)
    finally:
        await close_consumer(consumer)


async def read_to_end(consumer: AIOKafkaConsumer, place: TopicPartition) -> list[Any]:
    """All messages from the beginning to what is the end now; the consumer stands there afterwards.

    Raises:
        KafkaError: the broker cannot be reached, or went away on the way.
    """
    end = (await consumer.end_offsets([place]))[place]
    await consumer.seek_to_beginning(place)
    out: list[Any] = []
    async with unless_stalled(place.topic) as come_further:
        at = await consumer.position(place)
        while at < end:
            for records in (await consumer.getmany(place, timeout_ms=200)).values():
                out += records
            before, at = at, await consumer.position(place)
            if at > before:
                come_further()
    return out


async def transitions(settings: Settings) -> list[ControlRecord]:
    """The transitions still on the topic, oldest first; what does not decode is left out.

    Raises:
        KafkaError: the broker cannot be reached.
        NothingHereError: it has none of this installation's topics.
    """
    topic = topics(settings.topic_prefix).transitions.name
    await see_that_there_is(settings, topic)
    found: list[ControlRecord] = []
    for raw in await read_whole(settings, topic):
        with suppress(DecodeError):
            found.append(decode_control(raw.value))
    return found


async def tail(
    settings: Settings, *, from_beginning: bool = False, told: Callable[[bool], None] | None = None
) -> AsyncGenerator[ControlRecord]:
    """The transitions as they happen, without end.

    Args:
        settings: where to look.
        from_beginning: those still on the topic first.
        told: called with False when the broker does not answer any more, with True when it does again; a
            consumer waits for it in silence.

    Raises:
        KafkaError: the broker cannot be reached.
        NothingHereError: it has none of this installation's topics.
    """
    topic = topics(settings.topic_prefix).transitions.name
    await see_that_there_is(settings, topic)
    place = TopicPartition(topic, 0)
    tolerate_header_names()
    # A reset that is under way when it is sought still counts: it has to be the same one.
    reset = "earliest" if from_beginning else "latest"
    consumer = AIOKafkaConsumer(
        **settings.client_options(), group_id=None, enable_auto_commit=False, auto_offset_reset=reset
    )
    watching: asyncio.Task[None] | None = None
    try:
        await consumer.start()
        consumer.assign([place])
        if told is not None:
            watching = asyncio.create_task(_watch(consumer, place, told), name="watch-broker")
        if from_beginning:
            await consumer.seek_to_beginning(place)
        else:
            await consumer.seek_to_end(place)
        async for raw in consumer:
            try:
                record = decode_control(raw.value)
            except DecodeError:
                continue
            yield record
    finally:
        if watching is not None:
            watching.cancel()
        await close_consumer(consumer)


async def _watch(consumer: AIOKafkaConsumer, place: TopicPartition, told: Callable[[bool], None]) -> None:
    answers = True
    while True:
        await asyncio.sleep(_LOOK_S)
        before = answers
        try:
            await asyncio.wait_for(consumer.end_offsets([place]), _ANSWER_S)
            answers = True
        except (KafkaError, OSError):  # a TimeoutError is one
            answers = False
        if answers != before:
            told(answers)
