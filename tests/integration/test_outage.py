"""The broker goes away and comes back; the worker goes on without a hand."""

import asyncio
import os
from pathlib import Path

import pytest

from detector.service.inspect import inspect
from detector.service.settings import Settings
from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, control, producer, publish, until, workers

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
