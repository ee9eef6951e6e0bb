"""An operator's order through the override topic: applied, seen by gateways, taken back, ended by itself."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness.brokers import TestKafka
from tests.integration.kit import (
    Worker,
    call,
    control,
    producer,
    publish,
    read_all,
    transitions,
    until,
    workers,
)


async def detector(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the command beside this loop."""
    command = [sys.executable, "-m", "detector", *args]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)


async def test_an_order_is_applied_taken_back_and_ends_by_itself(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """The command returns once the control record is there; a second order ends with its time."""
    where = ("--bootstrap", real_kafka.bootstrap, "--topic-prefix", topic_prefix)
    worker = Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(worker):
        await worker.ready()
        began = time.time()
        on = await detector(
            "force", "chat", "on", "--for", "10m", "--reason", "a test", "--who", "ann", "--json", *where
        )
        assert on.returncode == 0, on.stderr
        record = json.loads(on.stdout)
        assert (record["state"], record["source"]) == ("active", "operator")
        assert record["override_until"] == pytest.approx(began + 600, abs=30)
        assert "ann" in record["reason"]
        assert "a test" in record["reason"]
        assert record["fallbacks"]

        assert "no call of route 'chat' has been judged yet" in on.stderr

        off = await detector("unforce", "chat", *where)
        assert off.returncode == 0, off.stderr
        assert "chat is on its primary again" in off.stdout
        again = await detector("unforce", "chat", *where)
        assert again.returncode == 1
        assert "chat is not forced" in again.stderr

        short = await detector("force", "chat", "on", "--for", "8s", "--reason", "short", *where)
        assert short.returncode == 0, short.stderr

        async def ended() -> bool:
            latest = (await control(real_kafka.bootstrap, topic_prefix))[-1]
            return latest.state == "inactive" and latest.override_until is None

        assert await until(ended, saying=worker.tail())


async def test_a_mistyped_route_is_told_of(real_kafka: TestKafka, topic_prefix: str, tmp_path: Path) -> None:
    """It is forced, since its first call may be yet to come; a route that has calls is no doubt."""
    where = ("--bootstrap", real_kafka.bootstrap, "--topic-prefix", topic_prefix)
    worker = Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(worker):
        await worker.ready()
        async with producer(real_kafka.bootstrap) as to:
            await publish(to, topic_prefix, [call("chat") for _ in range(50)])

        async def known() -> bool:
            told = await detector("force", "chat@eu-1", "off", "--for", "1m", "--reason", "known", *where)
            return told.returncode == 0 and not told.stderr

        assert await until(known, saying=worker.tail())
        told = await detector("force", "chta", "on", "--for", "1m", "--reason", "in a hurry", *where)

    assert told.returncode == 0
    assert "chta is on its fallbacks (" in told.stdout
    assert "no call of route 'chta' has been judged yet; near it: chat" in told.stderr


async def test_a_mistyped_deployment_is_told_of(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Where the calls name deployments; `accept` orders nothing of what nobody judges, and does not wait."""
    where = ("--bootstrap", real_kafka.bootstrap, "--topic-prefix", topic_prefix)
    why = ("--for", "1m", "--reason", "in a hurry")
    worker = Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(worker):
        await worker.ready()
        async with producer(real_kafka.bootstrap) as to:
            await publish(to, topic_prefix, [call("chat", deployment=f"eu-{i % 3}") for i in range(60)])

        async def told() -> subprocess.CompletedProcess[str] | None:
            told = await detector("force", "chat@eu-l", "on", *why, *where)
            assert told.returncode == 0, told.stderr
            return told if "of deployment" in told.stderr else None

        forced = await until(told, saying=worker.tail())
        known = await detector("force", "chat@eu-1", "on", *why, *where)
        accepted = await detector("accept", "chat@eu-9", "--reason", "x", "--wait", "60", *where)
        mistyped = await detector("accept", "chta", "--reason", "x", "--wait", "60", *where)
        orders = {
            raw.key for raw in await read_all(real_kafka.bootstrap, f"{topic_prefix}detector.overrides")
        }

    assert "no call of deployment 'eu-l' of route 'chat' has been judged yet; near it: eu-" in forced.stderr
    assert (known.returncode, known.stderr) == (0, "")
    assert (accepted.returncode, mistyped.returncode) == (1, 1)
    assert "no call of deployment 'eu-9' of route 'chat' has been judged yet; near it: eu-" in accepted.stderr
    assert "no call of route 'chta' has been judged yet; near it: chat; nothing is ordered" in mistyped.stderr
    assert orders == {b"chat@eu-l", b"chat@eu-1"}


async def test_a_drift_is_accepted_by_an_order_too(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """The command returns what the audit says; the order is not carried out twice by a successor."""
    where = ("--bootstrap", real_kafka.bootstrap, "--topic-prefix", topic_prefix)
    command = ("accept", "chat", "--reason", "a new prompt", "--who", "ann", "--json", *where)
    worker = Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(worker):
        await worker.ready()
        async with producer(real_kafka.bootstrap) as to:
            await publish(to, topic_prefix, [call("chat") for _ in range(50)])

        async def done() -> dict[str, Any] | None:
            told = await detector(*command)
            return json.loads(told.stdout) if told.returncode == 0 else None

        record = await until(done)
        assert record["disposition"] == "notice"
        assert record["reason"] == "accepted by ann: a new prompt; nothing drifts"
        # One that is killed before its snapshot has the order carried out again, under the same name.
        worker.send(signal.SIGTERM)
        await until(lambda: worker.process.poll() is not None)
    told = len({each.event_id for each in await transitions(real_kafka.bootstrap, topic_prefix)})
    successor = Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(successor):
        await successor.ready()
        again = await detector(*command)
        assert again.returncode == 0, again.stderr
        found = await transitions(real_kafka.bootstrap, topic_prefix)
        assert len({each.event_id for each in found}) == told + 1


async def test_without_a_detector_the_command_says_so(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """On a broker without the topics at once; where the workers are gone, after the wait."""
    where = ("--bootstrap", real_kafka.bootstrap, "--topic-prefix", topic_prefix)
    nothing = await detector("force", "chat", "on", "--for", "10m", "--reason", "x", *where)
    assert nothing.returncode == 1
    assert "no detector has run there" in nothing.stderr
    worker = Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(worker):
        await worker.ready()
    gone = await detector("force", "chat", "on", "--for", "10m", "--reason", "x", "--wait", "1", *where)

    assert gone.returncode == 1
    assert "no detector has applied it within 1 s" in gone.stderr
