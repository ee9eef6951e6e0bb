"""A worker that meets another owner of a partition that the group leaves with it."""

import time
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from detector.service.inspect import inspect
from detector.service.settings import Settings
from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, owners, producer, publish, until, workers
from topics.codec import encode
from topics.control import OWNER_PREFIX, OwnerRecord
from topics.names import topics
from topics.partitioner import partition_for
from topics.telemetry import Evaluation


async def test_an_owner_that_gave_way_claims_again_and_loses_nothing(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Once the group has confirmed it, idle or busy; each record counts once, faults are told."""
    bootstrap, declared = real_kafka.bootstrap, topics(topic_prefix)
    settings = Settings(bootstrap=bootstrap, topic_prefix=topic_prefix)
    worker = Worker(tmp_path, bootstrap, topic_prefix)
    busy = partition_for(b"r", 8)
    idle = (busy + 1) % 8
    rival = int(time.time() * 1000) + 1_000_000

    async def judged(number: int) -> bool:
        state = await inspect(settings)
        return bool(state["complete"] and state["counts"].get("judged") == number)

    async def committed() -> bool:
        """Whether the group has taken all that there is: no later commit is one by chance."""
        reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=settings.group_id)
        await reader.start()
        try:
            wanted = {declared.telemetry.name: 300, declared.evaluations.name: 1}
            found = {name: await reader.committed(TopicPartition(name, busy)) for name in wanted}
            return found == wanted
        finally:
            await reader.stop()

    with workers(worker):
        await worker.ready()
        async with producer(bootstrap) as to:
            await publish(to, topic_prefix, [call("r") for _ in range(300)])
            verdict = Evaluation(event_time=time.time(), route="r", name="toxicity", score=0.9)
            await to.send_and_wait(declared.evaluations.name, encode(verdict), b"r", partition=busy)
            await until(lambda: judged(300), saying=worker.tail())
            await until(committed, saying=worker.tail())
            for partition in (busy, idle):
                claim = OwnerRecord(
                    partition=partition, owner="rival", epoch=rival, issued_at=time.time(), lease_s=15.0
                )
                key = f"{OWNER_PREFIX}{partition}".encode()
                await to.send_and_wait(declared.control.name, encode(claim), key, partition=0)
            await publish(to, topic_prefix, [call("r") for _ in range(50)])

            async def claimed_again() -> bool:
                found = {r.partition for r in await owners(bootstrap, topic_prefix) if r.epoch > rival}
                return found >= {busy, idle}

            await until(claimed_again, saying=worker.tail())
            await worker.ready()
            await publish(to, topic_prefix, [call("r", error="timeout") for _ in range(200)])

            async def told() -> bool:
                state = await inspect(settings)
                return state["active"] == ["r"]

            await until(told, saying=worker.tail())
        await until(lambda: judged(550), saying=worker.tail())

    assert len(worker.events("partition_yielded")) == 2
    assert not worker.events("service_failed")
