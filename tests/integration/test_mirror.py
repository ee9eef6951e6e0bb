"""`detector mirror` as a process: from a decision to Redis and flags, and what its end leaves."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, producer, publish, until, workers

PAGE = Path(__file__).parents[2] / "detector" / "service" / "mirror" / "README.md"


class Mirror(Worker):
    """One `detector mirror`."""

    def __init__(self, directory: Path, *options: str, name: str = "mirror", **environment: str) -> None:
        self.name = name
        self.log_path = directory / f"{name}.log"
        self._log = self.log_path.open("ab")
        command = [sys.executable, "-m", "detector", "mirror", "--http-port", "0", *options]
        self.process = subprocess.Popen(
            command, stderr=self._log, stdout=self._log, env=os.environ | environment, start_new_session=True
        )


@pytest.fixture
async def redis(redis_url: str, topic_prefix: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url) as client:
        yield client
        if names := [name async for name in client.scan_iter(match=f"{{{topic_prefix}*")]:
            await client.delete(*names)


def test_without_redis_the_page_s_reader_takes_the_primary() -> None:
    """Where nothing listens, and where somebody does who answers nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        for port in (1, listening.getsockname()[1]):
            course = _page_s_course(f"redis://127.0.0.1:{port}/0", "")
            assert course("chat") == ("primary", False, "", [])


def _page_s_course(redis_url: str, topic_prefix: str) -> Any:
    """The function that the page shows."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    code = code.replace("redis://redis:6379/0", redis_url).replace(
        "{{detector}}", f"{{{{{topic_prefix}detector}}}}"
    )
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    return names["course"]


@pytest.mark.redis
async def test_an_activation_is_in_redis_and_the_flags_and_is_gone_a_lease_after_all_have_died(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path, redis: Any, redis_url: str
) -> None:
    """A worker decides, a mirror writes, a reader of Redis obeys; then worker and mirror are killed."""
    flags = tmp_path / "llm.json"
    worker = Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    brokers = ("--bootstrap", real_kafka.bootstrap, "--topic-prefix", topic_prefix)
    mirror = Mirror(tmp_path, *brokers, "--flags", str(flags), DETECTOR_REDIS=redis_url)
    key, alive = f"{{{topic_prefix}detector}}:scope:bad", f"{{{topic_prefix}detector}}:alive"
    with workers(worker, mirror):
        await worker.ready()
        state = await mirror.ready()
        assert state == {"ready": True, "missing": []}
        async with producer(real_kafka.bootstrap) as to:
            await publish(to, topic_prefix, [call("bad") for _ in range(500)])
            await publish(to, topic_prefix, [call("bad", error="timeout") for _ in range(300)])

        record = json.loads(await until(lambda: redis.get(key), saying=mirror.tail()))
        assert (record["state"], record["mode"], record["fallbacks"]) == (
            "active",
            "error_spike",
            {"*": ["rule"]},
        )
        course = _page_s_course(redis_url, topic_prefix)
        asked = [course("bad")[:2] for _ in range(400)]
        assert set(asked) == {("rule", False), ("primary", True)}
        assert course("good", "default", ["eu-1"]) == ("primary", False, "", [])
        await redis.set(
            key.replace("bad", "a%2540b@c%25d"), json.dumps(record | {"primary_share": 0.0}), px=5000
        )
        assert course("a%40b", "default", ["c%d", "e"]) == ("primary", False, "", ["c%d"])
        told = await until(lambda: json.loads(flags.read_text())["flags"].get("llm.fallback.bad"))
        assert told["variants"] == {"primary": "primary", "probe": "primary", "fallback/rule": "rule"}
        metrics = mirror.get("/metrics")
        assert metrics is not None
        assert b'detector_mirror_scopes_total{outcome="written",target="redis"}' in metrics[1]
        assert mirror.post("/-/reload") == (422, b"a mirror has no contract to read\n")

        worker.send(signal.SIGKILL)
        mirror.send(signal.SIGKILL)
        killed = time.monotonic()
        await until(lambda: _gone(redis, key, alive), within_s=20, saying="both keys gone")
        assert time.monotonic() - killed <= 16
        assert course("bad") == ("primary", False, "", [])


async def _gone(redis: Any, *keys: str) -> bool:
    return await redis.exists(*keys) == 0


async def test_a_redis_that_is_away_keeps_nothing_else_waiting(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Flags are written all the same; readiness names the target that is behind."""
    flags = tmp_path / "llm.json"
    worker = Worker(tmp_path, real_kafka.bootstrap, topic_prefix)
    brokers = ("--bootstrap", real_kafka.bootstrap, "--topic-prefix", topic_prefix)
    mirror = Mirror(tmp_path, *brokers, "--flags", str(flags), "--redis", "redis://127.0.0.1:1/0")
    with workers(worker, mirror):
        await worker.ready()
        unwritten = b'detector_mirror_written_timestamp_seconds{target="flags"} 0.0'
        await until(lambda: (found := mirror.get("/metrics")) and unwritten not in found[1])
        (said,) = await until(lambda: mirror.events("mirror_not_written"))
        assert said["target"] == "redis"
        answer = mirror.get("/readyz")
        assert answer is not None
        assert (answer[0], json.loads(answer[1])["missing"]) == (503, ["target redis"])


async def test_a_signal_ends_it_within_seconds_also_without_a_broker(tmp_path: Path) -> None:
    """And it says why it has written nothing."""
    mirror = Mirror(tmp_path, "--bootstrap", "127.0.0.1:1", "--flags", str(tmp_path / "llm.json"))
    with workers(mirror):
        await until(lambda: mirror.events("http_listening"))
        answer = await until(lambda: mirror.get("/readyz"))
        missing = json.loads(answer[1])["missing"]
        assert (answer[0], missing) == (503, ["broker", "end of detector.control"])
        mirror.send(signal.SIGTERM)
        assert await asyncio.to_thread(mirror.process.wait, 5) == 0
        assert json.loads((tmp_path / "llm.json").read_text())["flags"] == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "mirror to what? --redis, --flags or --alertmanager"),
        (("--redis", "redis:6379"), "--redis: expected redis://HOST:PORT/DB"),
        (("--flags", "/nowhere/llm.json"), "--flags: /nowhere/llm.json: expected a file in a folder"),
        (("--flags", "flags.txt"), "--flags: flags.txt: expected a name that ends in .json"),
        (("--alertmanager", "alertmanager:9093"), "--alertmanager: expected http://HOST:PORT"),
    ],
)
def test_what_cannot_be_mirrored_to_is_told_at_once(options: tuple[str, ...], said: str) -> None:
    command = [sys.executable, "-m", "detector", "mirror", "--bootstrap", "127.0.0.1:1", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"detector: {said}")
