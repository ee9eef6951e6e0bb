"""The Redis that tests run on, found in the order: given, container, a redis-server on the path."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from detector.service.localkafka import free_ports
from tests.harness.brokers import docker_answers

IMAGE = "redis:7.4-alpine"


class RedisUnavailableError(RuntimeError):
    """There is no Redis and none can be started here."""


class TestRedis:
    """One Redis: `url`, `describe` for the end of the run, `close`."""

    __test__ = False

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._container = None
        given = os.environ.get("DETECTOR_TEST_REDIS")
        if given:
            self.url, how = given, "as given"
        else:
            how = self._start_container() if docker_answers() else self._start_binary()
        try:
            version = self._wait_version()
        except BaseException:
            self.close()
            raise
        self.describe = f"Redis {version} {how} (real)"

    def close(self) -> None:
        """Ends what was started here."""
        if self._container is not None:
            self._container.stop()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _start_container(self) -> str:
        from testcontainers.core.container import DockerContainer

        (port,) = free_ports(1)
        try:
            self._container = DockerContainer(IMAGE).with_bind_ports(6379, port).start()
        except Exception:  # whatever an engine or a registry may say, a binary is next
            return self._start_binary()
        self.url = f"redis://127.0.0.1:{port}/0"
        return "in a container"

    def _start_binary(self) -> str:
        binary = shutil.which("redis-server")
        if binary is None:
            raise RedisUnavailableError(
                "no DETECTOR_TEST_REDIS, no container engine, no redis-server on the path"
            )
        (port,) = free_ports(1)
        self._scratch = tempfile.TemporaryDirectory(prefix="test-redis-")
        with (Path(self._scratch.name) / "redis.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    binary,
                    "--bind",
                    "127.0.0.1",
                    "--port",
                    str(port),
                    "--save",
                    "",
                    "--dir",
                    self._scratch.name,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.url = f"redis://127.0.0.1:{port}/0"
        return "from its binary"

    def _wait_version(self) -> str:
        import redis

        client = redis.Redis.from_url(self.url, socket_timeout=5)
        deadline = time.monotonic() + 60
        try:
            while True:
                try:
                    return str(client.info("server")["redis_version"])
                except (redis.ConnectionError, redis.TimeoutError) as refused:
                    if time.monotonic() > deadline or (self._process and self._process.poll() is not None):
                        raise RedisUnavailableError(f"no answer from {self.url}: {refused}") from refused
                    time.sleep(0.05)
        finally:
            client.close()
