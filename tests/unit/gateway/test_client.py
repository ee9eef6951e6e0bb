"""The client over a topic in memory: the gate, reading again, acknowledgements, and what calls are told."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.errors import TopicAuthorizationFailedError

from detector.gateway import Decision, GatewayClient
from detector.gateway import client as client_module
from detector.gateway.transport import Fetched, KafkaTransport, RestartedError
from tests.unit.gateway.builders import MemoryTransport, Message, owner_message, scope_message
from topics.control import ControlRecord, Evidence, most_counted


@asynccontextmanager
async def _client(transport: MemoryTransport, **options: Any) -> AsyncIterator[GatewayClient]:
    async with GatewayClient("", "gw-1", transport=transport, **options) as client:
        yield client


def _alive(partition: int = 0, epoch: int = 1) -> Message:
    """An owner record whose lease no test outlives."""
    return owner_message(partition, epoch, lease_s=1e9)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - the client has no event for every state that a test waits for
            await asyncio.sleep(0.005)


async def test_a_client_knows_all_that_was_said_before_it_started() -> None:
    """When `start` returns, what the topic held is in force."""
    async with _client(MemoryTransport(_alive(), scope_message(mode="error_spike", reason="why"))) as client:
        decision = client.decide("chat")

        assert (decision.state, decision.fallbacks, decision.mode) == ("active", ("rule",), "error_spike")
        assert (decision.reason, decision.scope, decision.stale) == ("why", "chat", False)
        assert client.decide("mail") == Decision()


async def test_the_gate_opens_to_the_primary_after_its_time() -> None:
    """A client that cannot catch up serves from the primary, says so, and obeys once it has."""
    transport = MemoryTransport(_alive(), scope_message())
    transport.failing = OSError("no broker")
    async with _client(transport, catch_up_timeout_s=0.05) as client:
        assert not client.caught_up
        assert client.decide("chat").state == "inactive"
        assert client.decide("chat").stale

        transport.failing = None
        await _until(lambda: client.decide("chat").state == "active")


async def test_a_start_that_is_cancelled_leaves_nothing_behind() -> None:
    """Neither a task nor a connection: who enters no context cannot leave it."""
    transport = MemoryTransport()
    transport.failing = OSError("no broker")
    tasks = asyncio.all_tasks()
    starting = asyncio.create_task(GatewayClient("", "gw-1", transport=transport).start())
    await _until(lambda: transport.connects > 0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert asyncio.all_tasks() == tasks
    assert transport.closed


async def test_a_client_is_started_once_and_again_after_its_end() -> None:
    """A second reader would apply everything twice, and outlive `stop`."""
    transport = MemoryTransport(_alive(), scope_message())
    async with _client(transport) as client:
        with pytest.raises(RuntimeError, match="started already"):
            await client.start()
        await client.stop()
        await client.start()
        transport.append(scope_message(revision=2, state="inactive"))
        await _until(lambda: client.decide("chat").state == "inactive")


async def test_the_view_stands_while_the_broker_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """Losing the broker changes nothing before the lease lapses, and is said."""
    transport = MemoryTransport(_alive(), scope_message())
    async with _client(transport) as client:
        with caplog.at_level(logging.WARNING, "detector.gateway"):
            transport.failing = OSError("broker died")
            await _until(lambda: transport.connects > 2)

        assert client.decide("chat").state == "active"
        assert not client.connected
        assert not transport.closed  # acknowledgements have a connection of their own
        assert "out of reach" in caplog.text


async def test_a_client_that_connects_and_cannot_read_waits_longer_and_longer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A corrupt record or a missing right is met again at each attempt; a read at the end forgets it."""
    monkeypatch.setattr(client_module, "_BACKOFF_S", (0.01, 0.08))
    transport = MemoryTransport()
    read = transport.read

    async def cannot(_: float) -> Fetched:
        raise TopicAuthorizationFailedError

    async def failures(count: int) -> list[Any]:
        caplog.clear()
        monkeypatch.setattr(transport, "read", cannot)
        await _until(lambda: len(caplog.records) >= count)
        return [record.args and record.args[0] for record in caplog.records[:count]]  # type: ignore[call-overload]

    with caplog.at_level(logging.WARNING, "detector.gateway"):
        async with _client(transport, catch_up_timeout_s=0.0) as client:
            assert await failures(5) == [0.01, 0.02, 0.04, 0.08, 0.08]
            monkeypatch.setattr(transport, "read", read)
            transport.append(_alive(), scope_message())
            await _until(lambda: client.decide("chat").state == "active" and not client.view.rereading)
            assert await failures(2) == [0.01, 0.02]


async def test_a_client_that_reads_and_never_reaches_the_end_waits_longer_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A corrupt record in mid-topic: what lies before it is read at each attempt."""
    monkeypatch.setattr(client_module, "_BACKOFF_S", (0.01, 0.04))
    transport = MemoryTransport(_alive(), scope_message())
    reads = 0

    async def corrupt(_: float) -> Fetched:
        nonlocal reads
        reads += 1
        if reads % 2 == 0:
            raise TopicAuthorizationFailedError
        return Fetched(transport.messages[:1], 1)

    monkeypatch.setattr(transport, "read", corrupt)
    with caplog.at_level(logging.WARNING, "detector.gateway"):
        async with _client(transport, catch_up_timeout_s=0.0):
            await _until(lambda: caplog.text.count("out of reach") >= 4)

    told = [record.args[0] for record in caplog.records if "out of reach" in record.msg and record.args]  # type: ignore[call-overload]
    assert told[:4] == [0.01, 0.02, 0.04, 0.04]


async def test_a_topic_that_is_made_anew_again_and_again_leaves_others_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between two readings from the beginning there is a pause."""
    monkeypatch.setattr(client_module, "_BACKOFF_S", (1e6, 1e6))
    transport = MemoryTransport(_alive())
    reads = 0

    async def anew(_: float) -> Fetched:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)
        raise RestartedError

    async with _client(transport):
        monkeypatch.setattr(transport, "read", anew)
        await _until(lambda: reads > 0)
        for _ in range(100):
            await asyncio.sleep(0)

    assert reads == 1


async def test_a_client_out_of_touch_for_long_reads_all_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After more than 30 s without a word from the broker the topic is read from the beginning."""
    transport = MemoryTransport(_alive(), scope_message())
    async with _client(transport) as client:
        monkeypatch.setattr(client_module, "BEHIND_S", -1.0)
        await _until(lambda: client.counts.rereads > 0)
        monkeypatch.undo()

        await _until(lambda: not client.view.rereading)
        assert client.decide("chat").state == "active"


async def test_a_topic_made_anew_is_read_from_its_beginning() -> None:
    """An end below the position: what the new topic does not tell is gone, and its records count."""
    transport = MemoryTransport(_alive(), scope_message(), scope_message("mail"), scope_message("code"))
    async with _client(transport) as client:
        transport.make_anew(_alive(epoch=2), scope_message("mail", epoch=2))
        await _until(lambda: client.decide("chat").state == "inactive")

        assert client.decide("mail").state == "active"
        assert client.decide("mail").epoch == 2


async def test_changes_of_state_are_acknowledged_and_renewals_are_not() -> None:
    """One ack for each activation and deactivation, none for a new revision of the same state."""
    transport = MemoryTransport(_alive())
    async with _client(transport) as client:
        transport.append(scope_message(revision=1, event_id="a"), scope_message(revision=2, event_id="a"))
        transport.append(scope_message("calm", state="inactive"))
        await _until(lambda: client.decide("chat").revision == 2)
        transport.append(scope_message(revision=3, state="inactive", event_id="b"))
        await _until(lambda: len(transport.acks) == 2)

    assert [(ack.scope, ack.revision, ack.event_id) for ack in transport.acks] == [
        ("chat", 1, "a"),
        ("chat", 3, "b"),
    ]
    assert all(ack.gateway == "gw-1" and ack.received_at <= ack.applied_at for ack in transport.acks)


async def test_a_failing_acknowledgement_hinders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acks are best effort: reading and answering go on without them."""

    async def fail(*_: object) -> None:
        raise OSError("no acks today")

    transport = MemoryTransport(_alive())
    monkeypatch.setattr(transport, "acknowledge", fail)
    async with _client(transport) as client:
        transport.append(scope_message())
        await _until(lambda: client.counts.acks_dropped == 1)

        assert client.decide("chat").state == "active"


async def test_a_fault_of_ours_ends_neither_reading_nor_acknowledging(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is raised, by closing a connection or by an acknowledgement, is logged, and work goes on."""
    monkeypatch.setattr(client_module, "_BACKOFF_S", (0.001, 0.001))
    transport = MemoryTransport(_alive())
    acknowledge = transport.acknowledge

    async def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    async with _client(transport) as client:
        monkeypatch.setattr(transport, "disconnect", fail)
        transport.failing = OSError("broker died")
        await _until(lambda: transport.connects > 2)
        transport.failing = None
        monkeypatch.setattr(transport, "acknowledge", fail)
        transport.append(scope_message())
        await _until(lambda: client.counts.acks_dropped == 1)
        assert client.decide("chat").state == "active"

        monkeypatch.setattr(transport, "acknowledge", acknowledge)
        transport.append(scope_message(revision=2, state="inactive"))
        await _until(lambda: len(transport.acks) == 1)
        monkeypatch.undo()
    assert "not closed as it should be" in caplog.text
    (told,) = (record for record in caplog.records if record.msg.startswith("change of"))
    assert told.exc_info  # a fault of ours is worth its traceback


@pytest.mark.parametrize("gateway_id", ["", "g" * 201, "g\ud800"])
def test_a_name_that_no_acknowledgement_can_carry_is_refused(gateway_id: str) -> None:
    """At once, and with what is allowed, rather than at the first change of state."""
    with pytest.raises(ValueError, match="1 to 200 characters of UTF-8"):
        GatewayClient("", gateway_id, transport=MemoryTransport())
    GatewayClient("", "ü" * 200, transport=MemoryTransport())


async def test_on_change_hears_every_change_and_may_fail() -> None:
    """The callback gets what was held and what is; its exceptions stay its own."""
    heard: list[tuple[ControlRecord | None, ControlRecord | None]] = []

    def on_change(before: ControlRecord | None, after: ControlRecord | None) -> None:
        heard.append((before, after))
        raise RuntimeError("in the gateway's own code")

    transport = MemoryTransport(_alive(), scope_message())
    async with _client(transport, on_change=on_change) as client:
        transport.append(scope_message(revision=2, state="inactive"))
        await _until(lambda: client.decide("chat").state == "inactive")

    states = [(before and before.state, after and after.state) for before, after in heard]
    assert states == [(None, "active"), ("active", "inactive")]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 1 / 3, 0.5, 0.999, 1.0])
async def test_probes_meet_the_share_exactly_and_evenly(share: float) -> None:
    """Of any n calls in a row, n times the share are probes, to within one; nothing is drawn by lot."""
    async with _client(MemoryTransport(_alive(), scope_message(primary_share=share))) as client:
        probes = [client.decide("chat").probe for _ in range(3000)]

    for length in (1, 7, 100, 3000):
        for start in (0, 13, 1000):
            window = probes[start : start + length]
            assert abs(sum(window) - share * len(window)) <= 1


async def test_gateways_do_not_probe_in_step() -> None:
    """Many gateways begin their counts at different points, so that few calls each still probe."""
    first = []
    for number in range(40):
        transport = MemoryTransport(_alive(), scope_message(primary_share=0.05))
        async with GatewayClient("", f"gw-{number}", transport=transport) as client:
            first.append([client.decide("chat").probe for _ in range(20)].index(True))

    assert len(set(first)) > 10


async def test_every_avoided_deployment_gets_its_share_of_probes() -> None:
    """Where several deployments are avoided, each is probed for its own share of the route's calls."""
    transport = MemoryTransport(
        _alive(),
        scope_message("chat", "a", primary_share=0.2),
        scope_message("chat", "b", primary_share=0.3),
    )
    async with _client(transport) as client:
        decisions = [client.decide("chat") for _ in range(1000)]
        named = [client.decide("chat", deployment="a") for _ in range(100)]

    for deployment, share in (("a", 0.2), ("b", 0.3)):
        probes = [decision for decision in decisions if decision.probe_deployment == deployment]
        assert abs(len(probes) - share * 1000) <= 2
        assert all(deployment not in probe.avoid and probe.probe for probe in probes)
    assert all(decision.state == "inactive" for decision in decisions)
    assert all(decision.state == "active" and decision.scope == "chat@a" for decision in named)


async def test_a_deployment_is_probed_with_a_share_of_its_own_calls() -> None:
    """Of all calls of the route it gets that share of its usual part; of its own calls, that share."""
    evidence = Evidence(detail={"usual_share": 0.25})
    record = scope_message("chat", "a", primary_share=0.2, evidence=evidence)
    async with _client(MemoryTransport(_alive(), record)) as client:
        of_all = [client.decide("chat").probe_deployment for _ in range(1000)]
        of_its_own = [client.decide("chat", deployment="a").probe for _ in range(1000)]

    assert abs(of_all.count("a") - 50) <= 2
    assert abs(sum(of_its_own) - 200) <= 2


async def test_fallbacks_are_those_of_the_input_class_that_the_gateway_has(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The class's own list, else that of `*`; a name the gateway does not know is left out and counted."""
    lists = {"high_risk": ["cache", "oracle"], "*": ["rule"]}
    transport = MemoryTransport(_alive(), scope_message(fallbacks=lists, contract="c2"))
    known = frozenset({"cache", "rule"})
    async with _client(transport, known_fallbacks=known, contract_digest="c1") as client:
        assert client.decide("chat", "high_risk").fallbacks == ("cache",)
        assert client.decide("chat", "anything").fallbacks == ("rule",)
        assert client.unknown_fallbacks == 1
        assert client.counts.digest_mismatches == 1
        assert caplog.text.count("the detector's contract is c2") == 1


@pytest.mark.parametrize(("deployment", "probes"), [("", 50), ("a", 2)])
async def test_a_call_that_the_gateway_has_no_fallback_for_goes_to_the_primary(
    deployment: str, probes: int
) -> None:
    """As a probe, which its telemetry says: nowhere would be worse; of a deployment there are siblings."""
    record = scope_message("chat", deployment, fallbacks={"*": ["oracle"]}, primary_share=0.04)
    async with _client(MemoryTransport(_alive(), record), known_fallbacks=frozenset({"rule"})) as client:
        found = [client.decide("chat", deployment=deployment) for _ in range(50)]

    assert abs(sum(each.probe and each.use_primary for each in found) - probes) <= 1
    assert all(each.state == "active" for each in found)
    assert all(each.probe_deployment not in each.avoid for each in found)


async def test_what_may_be_counted_up_to_grows_with_the_log() -> None:
    """The client says where a message lies: what an owner had to count up to is believed there."""
    most = most_counted(9)
    transport = MemoryTransport(
        replace(owner_message(epoch=most, at=2e9), offset=9), replace(scope_message(epoch=most), offset=10)
    )
    async with _client(transport) as client:
        assert client.decide("chat").state == "active"


async def test_an_answer_changes_with_the_lease_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept answer lapses when the lease does, and comes back with the next owner record."""
    now = 50.0
    transport = MemoryTransport(owner_message(at=2e9), scope_message())
    async with _client(transport) as client:
        decide = client._decider.decide
        lapse = client.view.effective("chat").until

        assert decide("chat", "default", "", lapse - 0.01).state == "active"
        lapsed = decide("chat", "default", "", lapse)
        assert (lapsed.state, lapsed.stale) == ("inactive", True)
        now = lapse + 5
        alive = _alive()
        client.view.apply(alive.key, alive.value, alive.headers, now=now)
        assert decide("chat", "default", "", now).state == "active"


def test_an_option_that_no_client_knows_is_refused() -> None:
    """A misspelt option would otherwise be dropped in silence."""
    with pytest.raises(TypeError, match="fetch_max_wait"):
        KafkaTransport("localhost:9092", options={"fetch_max_wait": 2})
    KafkaTransport("localhost:9092", options={"fetch_max_wait_ms": 2, "acks": "all"})


def test_a_broker_that_is_away_is_asked_twice_a_second_unless_told_otherwise():
    """aiokafka says so in the log each time; its own ten times a second fill a gateway's."""
    assert KafkaTransport("localhost:9092")._consumer_options["retry_backoff_ms"] == 500
    own = KafkaTransport("localhost:9092", options={"retry_backoff_ms": 50})
    assert own._consumer_options["retry_backoff_ms"] == 50
