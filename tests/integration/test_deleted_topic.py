"""A topic of the detector's that is deleted under a running worker."""

import json
from pathlib import Path

import pytest

from detector.service.inspect import NothingHereError, inspect
from detector.service.settings import Settings
from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, until, workers
from topics.names import topics


@pytest.mark.slow
async def test_it_is_named_and_there_again_after_a_restart(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """The broker is well meanwhile, and has seen a detector."""
    name = topics(topic_prefix).control.name
    settings = Settings(bootstrap=real_kafka.bootstrap, topic_prefix=topic_prefix)
    first = Worker(tmp_path, real_kafka.bootstrap, topic_prefix, name="first")
    with workers(first) as living:
        await first.ready()
        real_kafka.delete_topics(name)

        def missing() -> list[str]:
            _, body = first.get("/readyz") or (0, b"{}")
            return list(json.loads(body).get("missing", []))

        def named() -> bool:
            return any(what.startswith(f"topic {name}: gone; a restart") for what in missing())

        await until(named, within_s=60, saying=first.tail())
        said = missing()
        with pytest.raises(NothingHereError, match=f"no topic {name}, but others.*a restart of a worker"):
            await inspect(settings)

        second = Worker(tmp_path, real_kafka.bootstrap, topic_prefix, name="second")
        living.append(second)
        await second.ready()
        await first.ready()

    assert "broker" not in said
    assert not any(what.startswith("outbox") for what in said)
