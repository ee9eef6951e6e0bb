"""Where a bench runs: a broker that is given or started, topics under a prefix of their own."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from detector.contract import example_text
from detector.service.localkafka import LocalKafka
from detector.service.settings import Settings
from topics.names import Topics, topics

Say = Callable[[str], None]


class BenchError(RuntimeError):
    """There is no figure to be had; the message says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """A broker, and names that nobody else uses on it.

    Attributes:
        settings: broker, security and prefix, as the worker gets them.
        folder: for logs and the contract; removed at the end.
        contract: the example contract as a file.
        partitions: of the telemetry.
        say: tells a person how far it is.
    """

    settings: Settings
    folder: Path
    contract: Path
    partitions: int
    say: Say

    @property
    def names(self) -> Topics:
        """The topics of the worker."""
        return topics(self.settings.topic_prefix)

    @property
    def security(self) -> dict[str, Any]:
        """Options of an aiokafka client that is given the brokers apart."""
        options = self.settings.client_options()
        return {name: value for name, value in options.items() if name != "bootstrap_servers"}

    @property
    def bare_input(self) -> str:
        """What the bare client reads where it must not read the worker's input."""
        return f"{self.settings.topic_prefix}bare.input"

    @property
    def bare_output(self) -> str:
        """What the bare client writes."""
        return f"{self.settings.topic_prefix}bare.output"

    async def make_topics(self, partitions: dict[str, int]) -> None:
        """Make further topics.

        Raises:
            KafkaError: the broker cannot be reached or refuses.
        """
        admin = AIOKafkaAdminClient(**self.settings.client_options())
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, count, 1) for name, count in partitions.items()])
        finally:
            await admin.close()

    async def remove_topics(self) -> None:
        """Remove every topic under the prefix; a broker that is gone keeps them."""
        with contextlib.suppress(KafkaError, OSError):
            admin = AIOKafkaAdminClient(**self.settings.client_options())
            await admin.start()
            try:
                found = [name for name in await admin.list_topics() if self._ours(name)]
                await admin.delete_topics(found)
            finally:
                await admin.close()

    def _ours(self, name: str) -> bool:
        return name.startswith(self.settings.topic_prefix)


@contextmanager
def prepare(settings: Settings, *, given: bool, partitions: int, say: Say) -> Iterator[Place]:
    """A place for one bench.

    Args:
        settings: brokers and security.
        given: whether there is a broker to use; else Apache Kafka is started from its jars.
        partitions: of the telemetry.
        say: tells a person how far it is.

    Raises:
        LocalKafkaUnavailableError: no broker was given and none can be started.
    """
    with contextlib.ExitStack() as stack:
        if not given:
            broker = stack.enter_context(LocalKafka())
            say(f"started Apache Kafka {broker.version} on {broker.bootstrap}")
            settings = replace(settings, bootstrap=broker.bootstrap)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="detector-bench-")))
        contract = folder / "contract.yaml"
        contract.write_text(example_text(), "utf-8")
        prefix = f"bench-{secrets.token_hex(5)}."
        yield Place(replace(settings, topic_prefix=prefix, group=""), folder, contract, partitions, say)


def environment(place: Place) -> dict[str, str]:
    """Settings of the worker in its environment: what has no flag, and what is secret."""
    security = {
        name: getattr(place.settings, name)
        for name in (
            "security_protocol",
            "sasl_mechanism",
            "sasl_username",
            "sasl_password",
            "ssl_cafile",
            "ssl_certfile",
            "ssl_keyfile",
        )
    }
    wanted = security | {
        "data_partitions": place.partitions,
        "bootstrap": place.settings.bootstrap,
        "group": place.settings.group,  # empty, which the prefix names: not that of a real worker
    }
    return dict(os.environ) | {f"DETECTOR_{name.upper()}": str(value) for name, value in wanted.items()}
