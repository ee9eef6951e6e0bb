"""One node of Apache Kafka on loopback, from its jars: for `detector bench` and for the tests.

It stops and starts again on the same ports with the same data, and dies with the process that made it,
however that process ends. A second listener asks for SASL/PLAIN, to try clients' security settings on.
"""

import random
import re
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from detector.service import kafkajars
from detector.service.kafkajars import LocalKafkaUnavailableError

_LOG_CONFIG = """status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
"""

# Kills the broker when this end of the pipe closes: a killed owner leaves no broker behind.
_WATCHDOG = 'cat >/dev/null; kill -KILL "$1" 2>/dev/null; [ -z "$2" ] || rm -rf "$2"'


class LocalKafka:
    """Apache Kafka in KRaft mode, one node, replication factor 1, topics made on request only.

    Attributes:
        bootstrap: `host:port` of the plain listener.
        sasl_bootstrap: `host:port` of the listener that asks for SASL_PLAINTEXT with mechanism PLAIN.
        sasl_username, sasl_password: what that listener takes.
        log_path: the broker's output.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        properties: Mapping[str, str] | None = None,
        heap: str = "768m",
        timeout_s: float = 60.0,
    ) -> None:
        """Prepares the node without starting it.

        Args:
            directory: where data and log go and stay; by default a temporary one that `close` removes.
            properties: further server properties; they win over ours.
            heap: the JVM's greatest heap, as in `-Xmx`.
            timeout_s: how long a start or a stop may take, in seconds.

        Raises:
            LocalKafkaUnavailableError: Java is missing or too old, or the jars cannot be had.
        """
        self._jars = kafkajars.fetch()
        self._temporary = directory is None
        self._dir = Path(tempfile.mkdtemp(prefix="local-kafka-")) if directory is None else directory
        self._properties = dict(properties or {})
        self._heap = heap
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        plain, sasl, controller = free_ports(3)
        self.bootstrap = f"127.0.0.1:{plain}"
        self.sasl_bootstrap = f"127.0.0.1:{sasl}"
        self.sasl_username = "detector"
        self.sasl_password = uuid.uuid4().hex
        self.log_path = self._dir / "broker.log"
        try:
            self._format(controller)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def version(self) -> str:
        """The version that the running broker gives itself in its log; empty before the first start."""
        if not self.log_path.exists():
            return ""
        said = re.findall(
            r"Kafka version: (\S+)", self.log_path.read_text(encoding="utf-8", errors="replace")
        )
        return said[-1] if said else ""

    @property
    def running(self) -> bool:
        """Whether the broker's process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the broker, on the data that it has, and returns once it answers metadata requests.

        Raises:
            LocalKafkaUnavailableError: it ended or stayed silent; the message ends with its last log lines.
        """
        if self.running:
            return
        command = self._java(f"-Dlog4j2.configurationFile={self._dir / 'log4j2.properties'}", "kafka.Kafka")
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        scratch = str(self._dir) if self._temporary else ""
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(self._process.pid), scratch],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._wait_ready()

    def stop(self) -> None:
        """Stops the broker as an operator would; its data stay. A broker that hangs is killed."""
        self._end(graceful=True)

    def kill(self) -> None:
        """Ends the broker at once, as a crash of its machine would; its data stay."""
        self._end(graceful=False)

    def restart(self) -> None:
        """Stops and starts on the same ports with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stops the broker and removes what was temporary."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self._dir, ignore_errors=True)

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of the broker's output."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def _end(self, *, graceful: bool) -> None:
        if self._process is not None:
            if graceful:
                self._process.terminate()
            else:
                self._process.kill()
            try:
                self._process.wait(self._timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._watchdog is not None:
            # Before its pipe closes: what it would kill is gone, and the number may be another's by now.
            self._watchdog.kill()
            self._watchdog.wait()
            if self._watchdog.stdin is not None:
                self._watchdog.stdin.close()
            self._watchdog = None

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            if not self.running:
                break
            if _answers(self.bootstrap):
                return
            time.sleep(0.05)
        tail = self.log_tail()
        self.kill()
        raise LocalKafkaUnavailableError(f"Kafka did not start on {self.bootstrap}:\n{tail}")

    def _format(self, controller_port: int) -> None:
        self._dir.mkdir(parents=True, exist_ok=True)
        (self._dir / "log4j2.properties").write_text(_LOG_CONFIG, encoding="utf-8")
        lines = (
            f"{key}={value}" for key, value in (self._defaults(controller_port) | self._properties).items()
        )
        (self._dir / "server.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = self._java(
            "", "kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", _cluster_id(), "-c"
        )
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self._timeout_s,
            check=False,
        )
        if done.returncode:
            raise LocalKafkaUnavailableError(f"formatting {self._dir} failed:\n{done.stdout}{done.stderr}")

    def _java(self, option: str, *arguments: str) -> list[str]:
        options = [f"-Xmx{self._heap}", "-Djava.awt.headless=true", *([option] if option else [])]
        return ["java", *options, "-cp", f"{self._jars}/*", *arguments, str(self._dir / "server.properties")]

    def _defaults(self, controller_port: int) -> dict[str, str]:
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        user = f'user_{self.sasl_username}="{self.sasl_password}"'
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAIN://{self.bootstrap},AUTH://{self.sasl_bootstrap},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAIN://{self.bootstrap},AUTH://{self.sasl_bootstrap}",
            "listener.security.protocol.map": "PLAIN:PLAINTEXT,AUTH:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAIN",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.auth.plain.sasl.jaas.config": f"{login} {user};",
            "log.dirs": str(self._dir / "data"),
            "num.partitions": "8",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
        }


def _answers(bootstrap: str) -> bool:
    host, port = bootstrap.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    try:
        return bool(
            AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=2).brokers
        )
    except KafkaException:
        return False


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that nobody listens on now, below the range that outgoing connections use.

    From that range a client that keeps trying a stopped broker could be given the broker's own port, and
    would then be connected to itself.
    """
    sockets: list[socket.socket] = []
    try:
        for port in random.sample(range(20_000, 32_000), 200):
            candidate = socket.socket()
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                candidate.close()
                continue
            sockets.append(candidate)
            if len(sockets) == count:
                return [each.getsockname()[1] for each in sockets]
        raise LocalKafkaUnavailableError("no free ports on 127.0.0.1 between 20000 and 32000")
    finally:
        for each in sockets:
            each.close()


def _cluster_id() -> str:
    # Kafka's own form of a UUID; the first letter must not read as an option.
    return "A" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
