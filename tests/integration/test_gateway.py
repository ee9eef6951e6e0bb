"""The gateway's client on a broker: obeying, acknowledging, catching up with a long topic, a new topic."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, codec
from confluent_kafka import Producer

from detector.gateway import GatewayClient, transport
from detector.gateway.leanfetch import hand_over_whole
from tests.harness.brokers import TestKafka
from topics import cloudevents
from topics.codec import encode
from topics.control import ControlRecord, OwnerRecord, decode_ack, owner_key
from topics.names import topics

_PARTITIONS = 8
_Message = tuple[bytes, bytes, cloudevents.Headers]


async def _until(true: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - the client has no event for every state that a test waits for
            await asyncio.sleep(0.01)


def _owner(partition: int, epoch: int = 1) -> _Message:
    record = OwnerRecord(partition=partition, owner="w", epoch=epoch, issued_at=time.time(), lease_s=600)
    return owner_key(partition), encode(record), cloudevents.owner_headers(record)


def _scope(
    route: str, revision: int, *, epoch: int = 1, partition: int = 0, state: str = "active"
) -> _Message:
    values: dict[str, Any] = {
        "state": state,
        "mode": "latency_spike",
        "fallbacks": {"high_risk": ["cache", "rule"], "*": ["secondary", "cache", "rule"]},
        "reason": "1.4 % of calls took longer than 200 ms where 1 % may.",
        "contract": "0123456789abcdef",
        "event_id": f"{route}-1",
        "primary_share": 0.05,
    }
    record = ControlRecord(
        scope=route,
        route=route,
        partition=partition,
        epoch=epoch,
        revision=revision,
        transition=1,
        issued_at=time.time(),
        **values,
    )
    return route.encode(), encode(record), cloudevents.control_headers(record, cloudevents.REVISED)


def _produce(kafka: TestKafka, topic: str, messages: Iterable[_Message]) -> int:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 50, "log_level": 0})
    count = 0
    for key, value, headers in messages:
        count += 1
        while True:
            try:
                producer.produce(topic, value, key, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0
    return count


def _create(kafka: TestKafka, prefix: str) -> tuple[str, str]:
    declared = topics(prefix)
    names = {declared.control.name: 1, declared.acks.name: 1}
    kafka.create_topics(names, {declared.control.name: declared.control.settings})
    return declared.control.name, declared.acks.name


async def _acks(kafka: TestKafka, topic: str, count: int) -> list[Any]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    async with consumer, asyncio.timeout(30):
        return [decode_ack((await consumer.getone()).value) for _ in range(count)]


async def test_a_gateway_obeys_what_is_said_and_acknowledges_it(kafka: TestKafka, topic_prefix: str) -> None:
    """An activation reaches a running gateway's decisions, its end too, and both are acknowledged."""
    control, acks = _create(kafka, topic_prefix)
    _produce(kafka, control, [_owner(0)])
    options = {"fetch_max_wait_ms": 10}
    client = GatewayClient(kafka.bootstrap, "gw-1", topic_prefix=topic_prefix, client_options=options)
    async with client:
        assert client.caught_up
        assert client.decide("chat").state == "inactive"

        _produce(kafka, control, [_scope("chat", 1)])
        await _until(lambda: client.decide("chat").state == "active")
        assert client.decide("chat", "high_risk").fallbacks == ("cache", "rule")

        _produce(kafka, control, [_scope("chat", 2, state="inactive")])
        await _until(lambda: client.decide("chat").state == "inactive")
        received = await _acks(kafka, acks, 2)

    assert [(ack.gateway, ack.scope, ack.revision) for ack in received] == [
        ("gw-1", "chat", 1),
        ("gw-1", "chat", 2),
    ]


async def test_a_gateway_joins_after_ten_minutes_of_two_thousand_active_scopes(
    real_kafka: TestKafka,
    topic_prefix: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With all heartbeats and 10-s changes of ten minutes uncompacted, a join ends with all scopes held.

    A fetch is handed over whole, of the aiokafka that the service is pinned to.
    """
    hurried: list[Any] = []
    monkeypatch.setattr(transport, "hand_over_whole", lambda it: hand_over_whole(it) or hurried.append(it))
    control, _ = _create(real_kafka, topic_prefix)

    def ten_minutes() -> Iterable[_Message]:
        for second in range(600):
            if second % 3 == 0:
                yield from (_owner(partition) for partition in range(_PARTITIONS))
            for number in range(second % 10, 2000, 10):
                yield _scope(f"route-{number}", second // 10 + 1, partition=number % _PARTITIONS)

    written = _produce(real_kafka, control, ten_minutes())
    started = time.perf_counter()
    async with GatewayClient(
        real_kafka.bootstrap, "gw-1", topic_prefix=topic_prefix, catch_up_timeout_s=60, acks=False
    ) as client:
        took_s = time.perf_counter() - started
        states = {client.decide(f"route-{number}").state for number in range(2000)}
        revisions = {record.revision for record in client.view.held.values()}

    with capsys.disabled():
        sys.stdout.write(f"\n  {written} records, 2,000 active scopes: caught up after {took_s:.2f} s\n")
    assert len(hurried) == 1
    assert client.counts.messages == written
    assert (states, revisions) == ({"active"}, {60})


async def test_a_topic_made_anew_is_noticed_while_following(real_kafka: TestKafka, topic_prefix: str) -> None:
    """What the old topic told is gone once the new one is read, and the new one is obeyed."""
    control, _ = _create(real_kafka, topic_prefix)
    _produce(real_kafka, control, [_owner(0), *(_scope(f"old-{number}", 1) for number in range(20))])
    options = {"metadata_max_age_ms": 500}
    async with GatewayClient(
        real_kafka.bootstrap, "gw-1", topic_prefix=topic_prefix, client_options=options, acks=False
    ) as client:
        assert client.decide("old-3").state == "active"

        real_kafka.delete_topics(control)
        real_kafka.create_topics({control: 1}, {control: topics(topic_prefix).control.settings})
        _produce(real_kafka, control, [_owner(0, 2), _scope("new", 1, epoch=2)])
        await _until(lambda: client.decide("new").state == "active", 60)

        assert client.decide("old-3").state == "inactive"


async def test_a_codec_that_is_not_installed_is_named_with_what_to_install(
    kafka: TestKafka, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The bare package has none but gzip; the gateway serves from the primary and its log says why."""
    monkeypatch.setattr(codec, "has_zstd", lambda: False)
    control, _ = _create(kafka, topic_prefix)
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap, "compression.type": "zstd", "linger.ms": 50, "log_level": 0}
    )
    key, value, headers = _scope("chat", 1)
    for _ in range(50):
        producer.produce(control, value, key, headers=headers)
    assert producer.flush(60) == 0
    client = GatewayClient(
        kafka.bootstrap, "gw-1", topic_prefix=topic_prefix, catch_up_timeout_s=0.0, acks=False
    )
    async with client:
        await _until(lambda: "zstd compression codec not found" in caplog.text)

        assert client.decide("chat").state == "inactive"
    assert "pip install cramjam" in caplog.text
