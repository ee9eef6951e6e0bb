"""The broker goes away and comes back; the worker goes on without a hand."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from detector.service.inspect import inspect
from detector.service.settings import Settings
from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, control, producer, publish, transitions, until, workers

AWAY_S = float(os.environ.get("DETECTOR_TEST_OUTAGE_S", "10"))


@pytest.mark.slow
async def test_after_an_outage_everything_acknowledged_is_judged(
    restartable_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """An outage longer than the session loses no record, and a fault that holds is acted on."""
    kafka = restartable_kafka
    worker = Worker(tmp_path, kafka.bootstrap, topic_prefix)
    with workers(worker):
        await worker.ready()
        sent = 0
        async with producer(kafka.bootstrap) as to:
            for _ in range(20):
                sent += await publish(
                    to, topic_prefix, [call("good") for _ in range(20)] + [call("bad")] * 20
                )
        kafka.stop()
        await asyncio.sleep(AWAY_S)
        assert worker.process.poll() is None, worker.tail()
        kafka.start()
        async with producer(kafka.bootstrap) as to:
            sent += await publish(to, topic_prefix, [call("good") for _ in range(200)])
            sent += await publish(to, topic_prefix, [call("bad", error="timeout") for _ in range(300)])
        await worker.ready()

        async def judged() -> bool:
            state = await inspect(Settings(bootstrap=kafka.bootstrap, topic_prefix=topic_prefix))
            return bool(state["complete"] and state["counts"].get("judged") == sent)

        await until(judged, within_s=40, saying=worker.tail())
        last = {record.scope: record.state for record in await control(kafka.bootstrap, topic_prefix)}
        assert last == {"bad": "active"}


@pytest.mark.slow
async def test_a_fault_that_is_over_when_the_broker_is_back_activates_nobody(
    restartable_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Of two faults that began while the worker was cut off, only the one that still holds is acted on."""
    kafka = restartable_kafka
    worker = Worker(tmp_path, kafka.bootstrap, topic_prefix)
    with workers(worker):
        await worker.ready()
        began = time.time() - 100
        async with producer(kafka.bootstrap) as to:
            calm = [call(route, at=began + n * 0.1) for n in range(300) for route in ("past", "bad")]
            await publish(to, topic_prefix, calm)
        kafka.stop()
        await until(lambda: (worker.get("/readyz") or (0, b""))[0] == 503, within_s=40, saying=worker.tail())
        # It must not reconnect before all of it lies there: what it meets one by one is met live.
        worker.send(signal.SIGSTOP)
        kafka.start()
        async with producer(kafka.bootstrap) as to:
            past = [call("past", at=began + 40 + n * 0.05, error="timeout") for n in range(100)]
            past += [call("past", at=began + 46 + n * 0.02) for n in range(2500)]
            bad = [call("bad", at=began + 90 + n * 0.02, error="timeout") for n in range(300)]
            await publish(to, topic_prefix, past + bad)
        worker.send(signal.SIGCONT)
        await worker.ready()

        async def active() -> bool:
            return any(record.state == "active" for record in await control(kafka.bootstrap, topic_prefix))

        await until(active, saying=worker.tail())
        said = {
            (record.scope, record.state)
            for record in await control(kafka.bootstrap, topic_prefix)
            if record.state == "active"
        }
        audit = await transitions(kafka.bootstrap, topic_prefix)

    assert said == {("bad", "active")}
    assert ("past", "active", "stale") in {(r.scope, r.state, r.disposition) for r in audit}
    assert not any(r.scope == "past" and r.state == "active" and r.disposition == "act" for r in audit)
