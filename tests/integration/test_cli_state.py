"""`detector state` and `detector tail` on topics that tell a known story, without any worker."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from detector.embedded.broker import EmbeddedBroker
from detector.service.marks import MARK_KEY, Mark, encode_mark
from detector.service.survey import Standing
from tests.integration.kit import producer, send_with_bad_header
from topics.codec import encode
from topics.control import ControlRecord, Evidence, OwnerRecord, owner_key
from topics.names import DEFAULT_PARTITIONS, topics


def record(revision, state, **more):
    return ControlRecord(
        scope="chat",
        route="chat",
        partition=6,
        state=state,
        mode="error_spike",
        epoch=5,
        revision=revision,
        issued_at=time.time(),
        reason=f"reason {revision}",
        evidence=Evidence(predicate="errors", value=0.5, threshold=0.01, samples=20, offset=3),
        fallbacks={"*": ["rule"]} if state == "active" else {},
        primary_share=0.05 if state == "active" else 1.0,
        **more,
    )


@pytest.fixture(scope="module")
def bootstrap():
    declared = topics()
    owner = OwnerRecord(partition=6, owner="worker-1", epoch=5, issued_at=time.time(), lease_s=600)
    gone = OwnerRecord(partition=7, owner="worker-2", epoch=5, issued_at=time.time() - 100)
    left = ControlRecord(
        scope="code",
        route="code",
        partition=7,
        state="inactive",
        epoch=5,
        revision=1,
        issued_at=time.time() - 100,
    )

    async def fill(address):
        producer = AIOKafkaProducer(bootstrap_servers=address)
        await producer.start()
        try:
            await producer.send_and_wait(declared.control.name, encode(owner), key=owner_key(6))
            await producer.send_and_wait(declared.control.name, encode(gone), key=owner_key(7))
            await producer.send_and_wait(declared.control.name, encode(left), key=b"code")
            for each in (record(1, "active"), record(2, "inactive"), record(3, "active")):
                await producer.send_and_wait(declared.control.name, encode(each), key=b"chat")
                await producer.send_and_wait(declared.transitions.name, encode(each), key=b"chat")
            # A zombie's word, below the fence.
            mark = encode_mark(
                Mark(
                    partition=6,
                    owner="worker-1",
                    epoch=5,
                    issued_at=time.time(),
                    complete=True,
                    calibrated=datetime.fromtimestamp(time.time() - 7200, UTC).isoformat(),
                    predicates={
                        "errors": Standing(routes={"breach": 1, "armed": 3}, named={"breach": ["chat"]}),
                        "drift": Standing(
                            routes={"learning": 9}, named={"learning": list("abcdefg")}, frozen=2
                        ),
                    },
                )
            )
            await producer.send_and_wait(declared.snapshots.name, mark, key=MARK_KEY, partition=6)
            kept = {"machine": {"state": "active", "activated_at": time.time() - 750}}
            await producer.send_and_wait(
                declared.snapshots.name, msgspec.msgpack.encode(kept), key=b"chat", partition=6
            )
            other = Mark(partition=7, owner="worker-2", epoch=5, issued_at=time.time() - 100, complete=True)
            await producer.send_and_wait(
                declared.snapshots.name, encode_mark(other), key=MARK_KEY, partition=7
            )
            stale = encode(record(9, "inactive", contract="old")).replace(b'"epoch":5', b'"epoch":4')
            await producer.send_and_wait(declared.control.name, stale, key=b"chat")
        finally:
            await producer.stop()

    with EmbeddedBroker(
        {topic.name: topic.partitions or DEFAULT_PARTITIONS for topic in declared.all()}
    ) as broker:
        asyncio.run(fill(broker.bootstrap))
        yield broker.bootstrap


def detector(*args, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "detector", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"DETECTOR_EMBEDDED": "true"},
        **options,
    )


def test_state_tells_what_is_active_why_and_who_owns_it(bootstrap):
    """The fence holds here too: what a reader refuses is not shown."""
    with detector("state", "--bootstrap", bootstrap, "--json") as process:
        out, errors = process.communicate(timeout=60)
    found = json.loads(out)

    assert process.returncode == 0, errors
    keys = "active scopes lapsed withheld partitions counts predicates calibration complete clock_off_s"
    assert set(found) == set(keys.split())
    assert found["active"] == ["chat"]
    assert (found["scopes"][0]["revision"], found["scopes"][0]["reason"]) == (3, "reason 3")
    assert found["lapsed"] == ["code"]  # its owner has been silent for longer than its lease
    assert found["partitions"]["6"]["owner"] == "worker-1"
    assert found["partitions"]["6"]["lapsed_s"] is None
    assert found["partitions"]["7"]["lapsed_s"] == pytest.approx(85, abs=60)  # 100 s less a lease of 15
    assert found["predicates"]["errors"]["named"] == {"breach": ["chat"]}
    assert found["predicates"]["drift"]["routes"]["learning"] == 9
    assert found["complete"]
    assert found["calibration"]["age_s"] == pytest.approx(7200, abs=300)


def test_state_is_readable(bootstrap):
    """A person sees scope, mode, fallbacks, reason and owner."""
    with detector("state", "--bootstrap", bootstrap) as process:
        out, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert (
        errors == "detector: by the clock nobody watches partition 7; listening for a heartbeat, up to 4 s\n"
    )
    for word in (
        "chat",
        "error_spike",
        "rule",
        "worker-1",
        "drift",
        "learning",
        "NOBODY WATCHES 1 of 2 partitions (7), for ",
        "if you are sure that it is well: detector force chat off",
        "frozen on 2",
        "days ago",
        "active for 1",
        "fault: more calls fail than the contract allows: errors at 0.5 against 0.01 over 20 records",
        "why: reason 3",
    ):
        assert word in out


@pytest.mark.parametrize("verb", ["state", "tail"])
def test_a_broker_without_a_detector_is_exit_code_1_and_stays_as_it_is(verb):
    """The message names what was looked for, and to look makes no topic."""
    with EmbeddedBroker({"other": 1}) as broker:
        for _ in range(2):
            with detector(
                verb, "--bootstrap", broker.bootstrap, "--json", "--topic-prefix", "eu."
            ) as process:
                out, errors = process.communicate(timeout=60)

            assert (process.returncode, out) == (1, "")
            assert "no topic eu.detector." in errors
            assert "Traceback" not in errors


def test_tail_gives_one_document_a_line_and_ends_when_interrupted(bootstrap):
    """Transitions come in the order of the topic, and Ctrl-C is a good end."""
    with detector("tail", "--bootstrap", bootstrap, "--from-beginning", "--json") as process:
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)

    assert [json.loads(line)["revision"] for line in lines] == [1, 2, 3]
    assert process.returncode == 0, errors


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_tail_ends_quietly_when_nobody_reads_it_any_more(bootstrap, how):
    """As in `detector tail | head -1`: the broker has nothing to do with it."""
    with detector("tail", "--bootstrap", bootstrap, "--from-beginning", *how) as process:
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(timeout=30)

    assert (process.returncode, errors) == (0, "")


def test_tail_reads_on_behind_a_header_name_that_is_not_utf8():
    """Such a record is shown like any other."""
    declared = topics()

    async def fill(address):
        async with producer(address) as to:
            for revision in (1, 2):
                value = encode(record(revision, "active"))
                await send_with_bad_header(to, declared.transitions.name, b"chat", value, partition=0)

    with EmbeddedBroker({declared.transitions.name: 1}) as broker:
        asyncio.run(fill(broker.bootstrap))
        with detector("tail", "--bootstrap", broker.bootstrap, "--from-beginning", "--json") as process:
            lines = [process.stdout.readline() for _ in range(2)]
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)

    assert [json.loads(line)["revision"] for line in lines if line] == [1, 2], errors


def test_no_broker_is_exit_code_1_with_the_address():
    """Nothing hangs, and two lines of ours are all: what clients log of it says the same worse."""
    with detector("state", "--bootstrap", "127.0.0.1:1") as process:
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 1
    assert errors.splitlines() == [
        "detector: no answer from 127.0.0.1:1",
        "detector: 127.0.0.1:1 refuses connections: is the port right, is the broker up?",
    ]


def test_what_clients_log_is_there_for_who_asks(monkeypatch):
    """The log level is a setting of every verb's."""
    monkeypatch.setenv("DETECTOR_LOG_LEVEL", "debug")
    with detector("state", "--bootstrap", "127.0.0.1:1") as process:
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "Unable connect to" in errors


@pytest.mark.slow
def test_tail_says_when_the_broker_goes_and_when_it_is_back(restartable_kafka, topic_prefix):
    """Once each; what happens afterwards is shown."""
    kafka, topic = restartable_kafka, topics(topic_prefix).transitions.name
    kafka.create_topics({topic: 1})

    async def fill(revision):
        async with producer(kafka.bootstrap) as to:
            await to.send_and_wait(topic, encode(record(revision, "active")), b"chat", partition=0)

    asyncio.run(fill(1))
    where = ("--bootstrap", kafka.bootstrap, "--topic-prefix", topic_prefix)
    with detector("tail", *where, "--from-beginning", "--json") as process:
        deadline = threading.Timer(60, process.kill)  # a line that does not come is waited for without end
        deadline.start()
        assert json.loads(process.stdout.readline())["revision"] == 1
        kafka.stop()
        gone = process.stderr.readline()
        kafka.start()
        back = process.stderr.readline()
        asyncio.run(fill(2))
        assert json.loads(process.stdout.readline())["revision"] == 2
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        deadline.cancel()

    assert gone == f"detector: {kafka.bootstrap} does not answer any more; still trying\n"
    assert back == f"detector: {kafka.bootstrap} answers again\n"
    assert (process.returncode, errors) == (0, "")
