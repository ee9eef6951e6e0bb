"""A running worker takes another contract: nothing is lost or decided twice, a bad one is refused."""

import re
import signal
import time
from pathlib import Path

from detector.contract import load_contract
from tests.harness.brokers import TestKafka
from tests.integration.kit import (
    CONTRACT,
    Worker,
    call,
    control,
    producer,
    publish,
    transitions,
    until,
    workers,
)

NEW = "  made_up: {type: rate, field: hallucinated, ceiling: 0.02}\nmodes:\n  made_up: {when: made_up}"
WIDER = CONTRACT.replace("modes:", NEW)


async def test_a_contract_is_read_again_while_calls_go_on(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """What is active stays so under the new digest, what was learnt is kept, new predicates judge."""
    where = (real_kafka.bootstrap, topic_prefix)
    worker = Worker(tmp_path, *where)
    with workers(worker):
        await worker.ready()
        async with producer(real_kafka.bootstrap) as to:
            await publish(to, topic_prefix, [call("chat", hallucinated=False) for _ in range(50)])
            await publish(to, topic_prefix, [call("chat", error="timeout") for _ in range(30)])
            # It has shown good calls before: only windows that are kept know that.
            await publish(to, topic_prefix, [call("search") for _ in range(400)])

            async def held(scope: str, digest: str) -> bool:
                latest = {each.scope: each for each in await control(*where)}.get(scope)
                return latest is not None and latest.state == "active" and latest.contract == digest

            await until(lambda: held("chat", load_contract(CONTRACT).digest), saying=worker.tail())
            (tmp_path / "contract.yaml").write_text(WIDER, "utf-8")
            worker.send(signal.SIGHUP)
            # Calls that come meanwhile are judged by one of the two contracts.
            await publish(to, topic_prefix, [call("search", hallucinated=False) for _ in range(50)])
            await until(lambda: worker.events("reloaded"), saying=worker.tail())
            await until(lambda: held("chat", load_contract(WIDER).digest), saying=worker.tail())

            await publish(to, topic_prefix, [call("search", hallucinated=True) for _ in range(200)])
            await until(lambda: held("search", load_contract(WIDER).digest), saying=worker.tail())
        activated = [each for each in await transitions(*where) if each.state == "active"]
        assert [each.scope for each in activated if each.disposition == "act"].count("chat") <= 2
        assert {each.transition for each in activated if each.scope == "chat"} == {1}
        assert (await worker.ready())["ready"]


def read_at(worker: Worker) -> float:
    """When the contract in force was read, Unix seconds."""
    found = re.search(
        rb"^detector_config_last_reload_success_timestamp_seconds (.+)$",
        (worker.get("/metrics") or (0, b""))[1],
        re.MULTILINE,
    )
    return float(found[1]) if found else 0.0


async def test_a_contract_that_cannot_run_is_refused_and_the_old_one_stays(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """The answer says where and what to do; so does the log."""
    worker = Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    with workers(worker):
        await worker.ready()
        (tmp_path / "contract.yaml").write_text(CONTRACT.replace("type: rate", "type: rat"), "utf-8")
        status, said = worker.post("/-/reload") or (0, b"")

        assert status == 422
        assert b"contract.yaml:9:" in said
        assert worker.events("reload_refused")
        assert not worker.events("reloaded")
        assert b"detector_config_last_reload_successful 0.0" in (worker.get("/metrics") or (0, b""))[1]
        refused_at = time.time()
        assert read_at(worker) < refused_at
        (tmp_path / "contract.yaml").write_text(WIDER, "utf-8")
        worker.post("/-/reload")
        assert b"detector_config_last_reload_successful 1.0" in (worker.get("/metrics") or (0, b""))[1]
        assert read_at(worker) > refused_at
        assert (await worker.ready())["ready"]
