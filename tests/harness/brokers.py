"""The Kafka that tests run on, found in the order: given, container, jars, embedded.

`start_kafka()` returns the first that can be had. All share one face, `TestKafka`; what a kind cannot do,
it says by a flag, so that a test can skip with a reason.
"""

import os
import shutil
import subprocess
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from detector.service.localkafka import LocalKafka, LocalKafkaUnavailableError
from tests.harness.apiversions import features

IMAGE = "apache/kafka:4.2.0"


class TestKafka(ABC):
    """One Kafka; `real` is false for the stand-in, `can_restart` true where a stop keeps the data."""

    __test__ = False
    kind: str
    real = True
    can_restart = False
    bootstrap: str
    sasl_bootstrap: str | None = None
    sasl_username = ""
    sasl_password = ""

    @property
    @abstractmethod
    def version(self) -> str:
        """The release, as far as the broker tells it."""

    @property
    @abstractmethod
    def describe(self) -> str:
        """One line for the end of the test run."""

    def create_topics(
        self, partitions: Mapping[str, int], config: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """Makes topics, with their settings by topic, and returns when the broker lists them all."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        wanted = [
            NewTopic(name, count, 1, config=dict((config or {}).get(name, {})))
            for name, count in partitions.items()
        ]
        for done in admin.create_topics(wanted).values():
            done.result(timeout=30)
        deadline = time.monotonic() + 30
        while not partitions.keys() <= admin.list_topics(timeout=5).topics.keys():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the broker does not list {sorted(partitions)}")
            time.sleep(0.05)

    def delete_topics(self, *names: str) -> None:
        """Removes topics and returns when the broker no longer lists them."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        for done in admin.delete_topics(list(names)).values():
            done.result(timeout=30)
        deadline = time.monotonic() + 30
        while set(names) & admin.list_topics(timeout=5).topics.keys():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the broker still lists {names}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops the broker; its data stay."""
        raise RuntimeError(f"a Kafka of the kind {self.kind!r} cannot be stopped")

    def start(self) -> None:
        """Starts the stopped broker on the same ports; returns at once if it runs."""
        raise RuntimeError(f"a Kafka of the kind {self.kind!r} cannot be started")

    def log_tail(self) -> str:
        """The end of the broker's log, as far as it can be had."""
        return ""

    def close(self) -> None:  # noqa: B027 - a given Kafka was not started here, and there is nothing to end
        """Ends what was started here."""


class GivenKafka(TestKafka):
    """The cluster that DETECTOR_TEST_BOOTSTRAP names."""

    kind = "given"

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._features = features(bootstrap)
        self.real = "metadata.version" in self._features

    @property
    def version(self) -> str:
        return f"metadata.version {self._features.get('metadata.version', 'unknown')}"

    @property
    def describe(self) -> str:
        name = "Kafka" if self.real else "NOT AN APACHE KAFKA"
        return f"{name} at {self.bootstrap}, as given ({self.version})"


class JarsKafka(TestKafka):
    """Apache Kafka from its Maven jars."""

    kind = "jars"
    can_restart = True

    def __init__(self) -> None:
        self._kafka = LocalKafka()
        try:
            self._kafka.start()
        except BaseException:
            self._kafka.close()
            raise
        self.bootstrap = self._kafka.bootstrap
        self.sasl_bootstrap = self._kafka.sasl_bootstrap
        self.sasl_username = self._kafka.sasl_username
        self.sasl_password = self._kafka.sasl_password

    @property
    def version(self) -> str:
        return self._kafka.version

    @property
    def describe(self) -> str:
        return f"Apache Kafka {self.version} from its Maven jars (real)"

    def stop(self) -> None:
        self._kafka.stop()

    def start(self) -> None:
        self._kafka.start()

    def log_tail(self) -> str:
        return self._kafka.log_tail()

    def close(self) -> None:
        self._kafka.close()


class ContainerKafka(TestKafka):
    """Apache Kafka in a container, its listeners on fixed ports of this host: a restart keeps them."""

    kind = "container"
    can_restart = True

    def __init__(self) -> None:
        from testcontainers.core.container import DockerContainer

        from detector.service.localkafka import free_ports

        plain, sasl = free_ports(2)
        self.bootstrap, self.sasl_bootstrap = f"127.0.0.1:{plain}", f"127.0.0.1:{sasl}"
        self.sasl_username, self.sasl_password = "detector", uuid.uuid4().hex
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        settings = {
            "NODE_ID": "1",
            "PROCESS_ROLES": "broker,controller",
            "LISTENERS": "PLAIN://:9092,AUTH://:9094,CONTROLLER://:9093",
            "ADVERTISED_LISTENERS": f"PLAIN://{self.bootstrap},AUTH://{self.sasl_bootstrap}",
            "LISTENER_SECURITY_PROTOCOL_MAP": "PLAIN:PLAINTEXT,AUTH:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "INTER_BROKER_LISTENER_NAME": "PLAIN",
            "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
            "SASL_ENABLED_MECHANISMS": "PLAIN",
            "LISTENER_NAME_AUTH_PLAIN_SASL_JAAS_CONFIG": f'{login} user_detector="{self.sasl_password}";',
            "AUTO_CREATE_TOPICS_ENABLE": "false",
            "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
            "SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
            "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        }
        container = DockerContainer(IMAGE).with_bind_ports(9092, plain).with_bind_ports(9094, sasl)
        for name, value in settings.items():
            container = container.with_env(f"KAFKA_{name}", value)
        self._container = container.start()
        try:
            self._wait_ready()
        except BaseException:
            self.close()
            raise

    @property
    def version(self) -> str:
        return IMAGE.rsplit(":", 1)[1]

    @property
    def describe(self) -> str:
        return f"Apache Kafka {self.version} in a container (real)"

    def stop(self) -> None:
        self._container.get_wrapped_container().stop()

    def start(self) -> None:
        self._container.get_wrapped_container().start()
        self._wait_ready()

    def log_tail(self) -> str:
        out, err = self._container.get_logs()
        return "\n".join((out + err).decode(errors="replace").splitlines()[-40:])

    def close(self) -> None:
        self._container.stop()

    def _wait_ready(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        deadline = time.monotonic() + 120
        while True:
            try:
                if admin.list_topics(timeout=2).brokers:
                    return
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)


class EmbeddedKafka(TestKafka):
    """The mock cluster that ships in the package, in this process: no compaction, no deletion, no restart."""

    kind = "embedded"
    real = False
    version = "none"

    def __init__(self, why: str) -> None:
        from detector.embedded.child import MockCluster

        self._cluster = MockCluster()
        self.bootstrap = self._cluster.bootstrap
        self._why = why

    @property
    def describe(self) -> str:
        return f"EMBEDDED broker, not Apache Kafka ({self._why})"

    def create_topics(
        self, partitions: Mapping[str, int], config: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """Makes topics; their settings have no meaning here."""
        for name, count in partitions.items():
            self._cluster.create_topic(name, count)


def start_kafka() -> TestKafka:
    """The best Kafka that this machine can give."""
    given = os.environ.get("DETECTOR_TEST_BOOTSTRAP")
    if given:
        return GivenKafka(given)
    why = []
    if docker_answers():
        try:
            return ContainerKafka()
        except Exception as error:  # whatever an engine or a registry may say, the jars are next
            why.append(f"container: {error}")
    try:
        return JarsKafka()
    except LocalKafkaUnavailableError as lack:
        why.append(str(lack))
    return EmbeddedKafka("; ".join(why))


def docker_answers() -> bool:
    """Whether a container engine is there and willing."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        asked = subprocess.run(
            [docker, "info"], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0
