"""Records that no owner would write, from somebody who may write: the installation outlives them."""

import signal
import time
from pathlib import Path

from detector.gateway import GatewayClient
from detector.service.inspect import inspect
from detector.service.settings import Settings
from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, control, owners, producer, publish, until, workers
from topics.cloudevents import REVISED, control_headers
from topics.codec import encode
from topics.control import ControlRecord, Override
from topics.names import topics
from topics.partitioner import partition_for
from topics.types import MOST_COUNT

ROUTE = "four"


async def test_no_number_that_a_record_carries_is_the_last(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Of epoch, revision and transition, believed or not; for workers that live and for those that begin.

    What is not believed is told of in the log, as is an order that stands under another key.
    """
    bootstrap, declared = real_kafka.bootstrap, topics(topic_prefix)
    settings = Settings(bootstrap=bootstrap, topic_prefix=topic_prefix)
    home, half = partition_for(ROUTE.encode(), 8), MOST_COUNT // 2
    numbers = [{"epoch": half}, {"epoch": MOST_COUNT}, {"revision": half}, {"revision": MOST_COUNT}]
    numbers += [{"epoch": half + 100, "transition": half}, {"epoch": half + 200, "partition": (home + 1) % 8}]

    async def corrected() -> bool:
        """Whether the last record of the scope is an owner's, above what is believed of the lies."""
        told = [record for record in await control(bootstrap, topic_prefix) if record.scope == ROUTE]
        return told[-1].reason != "a lie" and told[-1].epoch > half

    first = Worker(tmp_path, bootstrap, topic_prefix, name="first")
    with workers(first) as made:
        await first.ready()
        async with producer(bootstrap) as to, GatewayClient(bootstrap, "g", topic_prefix=topic_prefix) as at:
            await publish(to, topic_prefix, [call(ROUTE) for _ in range(300)])
            for changed in numbers:
                fields = {"partition": home, "epoch": 0, "revision": 1} | changed
                lie = ControlRecord(
                    scope=ROUTE,
                    route=ROUTE,
                    state="active",
                    fallbacks={"*": ["rule"]},
                    issued_at=time.time(),
                    reason="a lie",
                    **fields,  # type: ignore[arg-type]
                )
                headers = control_headers(lie, REVISED)
                name = declared.control.name
                await to.send_and_wait(name, encode(lie), ROUTE.encode(), partition=0, headers=headers)
                await until(corrected, saying=f"{changed}\n{first.tail()}")
                await until(lambda: at.decide(ROUTE).state == "inactive", saying=f"{changed}\n{first.tail()}")

            async def outbid() -> bool:
                """Whether the partition that the last lie named has an owner above it."""
                found = await owners(bootstrap, topic_prefix)
                return any(each.partition == (home + 1) % 8 and each.epoch > half + 200 for each in found)

            await until(outbid, saying=first.tail())
            stray = Override(scope=ROUTE, state="active", until=time.time() + 600, issued_at=time.time())
            await to.send_and_wait(declared.overrides.name, encode(stray), b"another", partition=0)
            await until(lambda: len(first.events("unreadable_message")) >= 3, saying=first.tail())
            said = [(told["topic"], told["path"]) for told in first.events("unreadable_message")]
            assert said == [
                (declared.control.name, "$.epoch"),
                (declared.control.name, "$.revision"),
                (declared.overrides.name, "$.scope"),
            ]
            first.send(signal.SIGKILL)
            second = Worker(tmp_path, bootstrap, topic_prefix, name="second")
            made.append(second)
            await second.ready()
            await publish(to, topic_prefix, [call(ROUTE, error="timeout") for _ in range(200)])
            await until(lambda: at.decide(ROUTE).state == "active", saying=second.tail())

        state = await inspect(settings)
        assert state["active"] == [ROUTE]
        assert min(partition["epoch"] for partition in state["partitions"].values()) > half


async def test_who_copies_an_owner_is_answered(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """With its partition, its epoch, and the revision that comes next."""
    bootstrap, declared = real_kafka.bootstrap, topics(topic_prefix)
    home = partition_for(ROUTE.encode(), 8)
    worker = Worker(tmp_path, bootstrap, topic_prefix)
    with workers(worker):
        await worker.ready()
        owner = next(each for each in await owners(bootstrap, topic_prefix) if each.partition == home)
        async with producer(bootstrap) as to, GatewayClient(bootstrap, "g", topic_prefix=topic_prefix) as at:
            lie = ControlRecord(
                scope=ROUTE,
                route=ROUTE,
                partition=home,
                state="active",
                fallbacks={"*": ["rule"]},
                epoch=owner.epoch,
                revision=1,
                issued_at=time.time(),
            )
            headers = control_headers(lie, REVISED)
            await to.send_and_wait(
                declared.control.name, encode(lie), ROUTE.encode(), partition=0, headers=headers
            )

            async def answered() -> ControlRecord | None:
                told = [each for each in await control(bootstrap, topic_prefix) if each.scope == ROUTE]
                return told[-1] if len(told) > 1 else None

            answer = await until(answered, saying=worker.tail())
            await until(lambda: at.decide(ROUTE).state == "inactive", saying=worker.tail())

    assert (answer.state, answer.epoch, answer.revision) == ("inactive", owner.epoch, 2)
