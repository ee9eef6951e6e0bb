"""An operator's orders: written to the override topic, and waited for until the owner has applied them."""

import time
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from detector.gateway.closing import close_consumer, close_producer
from detector.gateway.fold import Fold, parse
from detector.gateway.headernames import tolerate_header_names
from detector.modes.voice import acceptance
from detector.service.control_log import ControlLog
from detector.service.inspect import read_to_end, read_whole, see_that_there_is
from detector.service.settings import Settings
from topics.codec import encode
from topics.control import ControlRecord, Override, decode_control
from topics.errors import DecodeError
from topics.names import topics
from topics.scope import scope_of, split_scope


class NotAppliedError(TimeoutError):
    """No owner has answered in time; the order stands on its topic, and is applied by the next owner."""


class NothingForcedError(LookupError):
    """No order of the scope stands that could be taken back."""


async def give(settings: Settings, scope: str, order: Override | None, *, within_s: float) -> ControlRecord:
    """Order something of a scope, or take an order back, and wait for the record that follows.

    Args:
        scope: a valid scope.
        order: None takes back what was ordered.
        within_s: how long to wait for the owner.

    Returns:
        The record that gateways see; of an order to accept a drift, the one of the audit.

    Raises:
        KafkaError: the broker cannot be reached.
        NothingHereError: it has none of this installation's topics.
        NothingForcedError: there is no order to take back.
        NotAppliedError: nobody has applied the order in time.
    """
    declared = topics(settings.topic_prefix)
    accepting = order is not None and order.accept
    spoken_of = scope_of(split_scope(scope)[0]) if accepting else scope  # drifts are the whole route's
    control = TopicPartition(declared.control.name, 0)
    audit = TopicPartition(declared.transitions.name, 0)
    answers = audit if accepting else control
    await see_that_there_is(settings, control.topic, answers.topic, declared.overrides.name)
    if order is None and not await _forced(settings, declared.overrides.name, scope):
        raise NothingForcedError(f"{scope} is not forced; `detector state` tells what is")
    tolerate_header_names()
    # A reset that is under way when `seek_to_beginning` is called still counts: it has to be the same one.
    consumer = AIOKafkaConsumer(
        **settings.client_options(), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(**settings.client_options(), acks="all")
    try:
        await consumer.start()
        consumer.assign([control, audit] if accepting else [control])
        ends = await consumer.end_offsets([control, answers])
        if accepting:
            consumer.seek(audit, ends[audit])
        await producer.start()
        value = None if order is None else encode(order)
        # Sent before anything is read: a short order's time runs already.
        await producer.send_and_wait(declared.overrides.name, value, scope.encode(), partition=0)
        fold = Fold()
        news: dict[TopicPartition, list[Any]] = {control: await read_to_end(consumer, control)}
        deadline = time.monotonic() + within_s
        while True:
            # All of control, in which owners speak, before what the audit says.
            said = [(raw.offset, _applied(fold, raw)) for raw in news.get(control, [])]
            if accepting:
                said = [(raw.offset, _audited(fold, raw)) for raw in news.get(audit, [])]
            for offset, record in said:
                if offset < ends[answers] or record is None or record.scope != spoken_of:
                    continue
                if _follows(record, order):
                    return record
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            news = await consumer.getmany(timeout_ms=max(1, int(1000 * left_s)))
    finally:
        try:
            await close_producer(producer)
        finally:
            await close_consumer(consumer)
    raise NotAppliedError(f"no detector has applied it within {within_s:g} s")


async def _forced(settings: Settings, overrides: str, scope: str) -> bool:
    """Whether an order of the scope is in force."""
    log = ControlLog()
    for raw in await read_whole(settings, overrides):
        with suppress(DecodeError):
            log.read_override(raw.key, raw.value)
    return log.override(scope, time.time()) is not None


def _applied(fold: Fold, raw: Any) -> ControlRecord | None:
    """The record of a scope that gateways apply; None of what they refuse, as a worker's that is no owner."""
    try:
        entry = parse(raw.key, raw.value, tuple(raw.headers), raw.offset)
    except DecodeError:
        return None
    return entry if fold.apply(entry) and isinstance(entry, ControlRecord) else None


def _audited(fold: Fold, raw: Any) -> ControlRecord | None:
    """The record of the audit; None of a worker's that owned the partition no more."""
    try:
        record = decode_control(raw.value)
    except DecodeError:
        return None
    return record if record.epoch >= fold.fence.get(record.partition, -1) else None


def _follows(record: ControlRecord, order: Override | None) -> bool:
    if order is None:
        return record.override_until is None
    if order.accept:
        return record.reason.startswith(acceptance(order))
    return record.override_until == order.until and record.state == order.state
