"""LiteLLM's own proxy with the plugin in it: it obeys the control topic and reports its calls."""

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiokafka import AIOKafkaConsumer

from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, transitions, until, workers
from tests.integration.test_gateway import _owner, _produce, _scope
from topics.names import topics
from topics.telemetry import TelemetryRecord, decode_telemetry

ROOT = Path(__file__).parents[2]
SECRET = "a question that is nobody's business"
PAGE = (ROOT / "detector" / "gateway" / "README.md").read_text("utf-8")


def _config(port: int) -> dict[str, Any]:
    """The page's own configuration, its providers on loopback, and a group with two deployments beside."""
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    config = yaml.safe_load(shown)
    config["model_list"] += [
        {"model_name": "pool", "litellm_params": {"model": f"openai/{name}"}, "model_info": {"id": name}}
        for name in ("pool-a", "pool-b")
    ]
    for group in config["model_list"]:
        if "mock_response" not in group["litellm_params"]:
            group["litellm_params"] |= {"api_base": f"http://127.0.0.1:{port}/v1", "api_key": "none"}
    config["litellm_settings"] |= {"telemetry": False}
    # Two retries are what LiteLLM does unless told otherwise. Its cooldowns would make calls fail for seconds
    # after each failure that a test is about.
    config["router_settings"] = {
        "num_retries": 2,
        "retry_after": 0,
        "disable_cooldowns": True,
        "model_group_alias": {"swarm": "pool"},
    }
    config["general_settings"] = {"master_key": "os.environ/LITELLM_MASTER_KEY"}
    return cast(dict[str, Any], config)


Reported = Callable[[int], Awaitable[list[TelemetryRecord]]]


class Upstreams:
    """Providers on loopback: each answers with its model's name; those in `failing` with that status."""

    def __init__(self) -> None:
        self.failing: dict[str, int] = {}
        self.asked: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model = body["model"]
        self.asked[model] += 1
        if status := self.failing.get(model):
            error = {"message": "forced", "type": "x", "code": status}
            return web.json_response({"error": error}, status=status)
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": model}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
            return web.json_response(_chunk(model, "chat.completion", choices=[choice], usage=usage))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for text, reason in ((model, None), ("", "stop")):
            choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": reason}
            data = json.dumps(_chunk(model, "chat.completion.chunk", choices=[choice]))
            await response.write(f"data: {data}\n\n".encode())
            await asyncio.sleep(0.1)  # an answer's first part comes before its last, as its times are to tell
        await response.write(b"data: [DONE]\n\n")
        return response


def _chunk(model: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(6)}", "object": kind, "created": 1, "model": model, **more}


@asynccontextmanager
async def _upstreams() -> AsyncIterator[tuple[Upstreams, int]]:
    upstreams = Upstreams()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", upstreams.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield upstreams, runner.addresses[0][1]
    finally:
        await runner.cleanup()


class Proxy:
    """One proxy, as its callers see it."""

    def __init__(self, port: int, key: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = f"http://127.0.0.1:{port}", session
        self._headers = {"authorization": f"Bearer {key}"}

    async def up(self) -> bool:
        try:
            async with self._session.get(f"{self._url}/health/liveliness") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def call(self, model: str, **more: Any) -> tuple[str, dict[str, str]]:
        """The text of an answer, and what the plugin says in headers."""
        body = {"model": model, "messages": [{"role": "user", "content": SECRET}], **more}
        url = f"{self._url}/v1/chat/completions"
        async with self._session.post(url, json=body, headers=self._headers) as response:
            said = await response.text()
            assert response.status == 200, f"{response.status}: {said}"
            prefix = "x-detector-"
            ours = {k.removeprefix(prefix): v for k, v in response.headers.items() if k.startswith(prefix)}
        if not more.get("stream"):
            return json.loads(said)["choices"][0]["message"]["content"], ours
        chunks = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
        return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks), ours

    async def answers(self, model: str, wanted: str) -> bool:
        return (await self.call(model))[0] == wanted

    async def is_on_course(self, model: str, wanted: str) -> bool:
        try:
            return (await self.call(model))[1].get("course", "") == wanted
        except AssertionError:  # the call failed
            return False


@contextmanager
def _process(command: list[str], environ: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environ, cwd=log.parent, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@asynccontextmanager
async def _proxy(
    python: Path, bootstrap: str, prefix: str, upstream: int, folder: Path
) -> AsyncIterator[Proxy]:
    config, log = folder / "config.yaml", folder / "proxy.log"
    port, key = _free_port(), f"sk-{secrets.token_hex()}"
    config.write_text(yaml.safe_dump(_config(upstream)))
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "DETECTOR_BOOTSTRAP": bootstrap,
        "DETECTOR_TOPIC_PREFIX": prefix,
        "DETECTOR_GATEWAY_ID": "litellm-1",
    }
    command = [str(python.with_name("litellm")), "--config", str(config), "--host", "127.0.0.1"]
    with _process([*command, "--port", str(port)], environ, log):
        async with aiohttp.ClientSession() as session:
            proxy = Proxy(port, key, session)
            try:
                await until(proxy.up, within_s=120, saying="LiteLLM's proxy is up")
                yield proxy
            except BaseException:
                sys.stdout.write(log.read_text()[-20_000:])
                raise


@asynccontextmanager
async def _telemetry(kafka: TestKafka, prefix: str) -> AsyncIterator[Reported]:
    """What was reported: a function that waits for so many records more."""
    consumer = AIOKafkaConsumer(
        topics(prefix).telemetry.name,
        bootstrap_servers=kafka.bootstrap,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    async with consumer:

        async def next_of(count: int) -> list[TelemetryRecord]:
            found = []
            async with asyncio.timeout(30):
                while len(found) < count:
                    message = await consumer.getone()
                    assert SECRET.encode() not in message.value
                    found.append(decode_telemetry(message.value))
                    assert message.key == found[-1].route.encode()
            return found

        yield next_of


def _told(route: str, revision: int, **more: Any) -> Any:
    """A control record as test_gateway has it, with fields of its own."""
    _, value, headers = _scope(route, revision)
    record = json.loads(value) | {"fallbacks": {"*": ["nowhere", "secondary", "rule"]}} | more
    return str(record["scope"]).encode(), json.dumps(record).encode(), headers


def _seen(records: list[TelemetryRecord]) -> list[tuple[str, bool, str]]:
    return [(each.served_by, each.probe, each.error) for each in records]


@pytest.mark.slow
async def test_a_proxy_obeys_and_reports(
    kafka: TestKafka, topic_prefix: str, tmp_path: Path, litellm_python: Path
) -> None:
    """From the first call behind a restart on: fallbacks in order, probes, single deployments, the return."""
    declared = topics(topic_prefix)
    names = {declared.control.name: 1, declared.acks.name: 1, declared.telemetry.name: 2}
    kafka.create_topics(names, {declared.control.name: declared.control.settings})

    def say(*messages: Any) -> None:
        _produce(kafka, declared.control.name, messages)

    say(_owner(0), _told("chat", 1, primary_share=0.0))
    async with (
        _upstreams() as (upstreams, port),
        _proxy(litellm_python, kafka.bootstrap, topic_prefix, port, tmp_path) as proxy,
        _telemetry(kafka, topic_prefix) as reported,
    ):
        text, headers = await proxy.call("chat")
        (record,) = await reported(1)
        assert (text, headers["course"], headers["mode"]) == ("gpt-4o-mini", "fallback", "latency_spike")
        assert (record.route, record.served_by, record.input_tokens) == ("chat", "secondary", 11)
        assert (record.output_tokens, record.finish_reason, record.provider) == (5, "stop", "openai")
        assert record.latency_s
        assert record.tenant
        assert record.request_id.startswith("chatcmpl-")

        forged = {"detector": {"route": "mail"}, "input_class": "high_risk"}
        assert (await proxy.call("chat", stream=True, metadata=forged))[0] == "gpt-4o-mini"
        (record,) = await reported(1)
        assert (record.route, record.input_class) == ("chat", "high_risk")
        assert record.ttft_s
        assert record.latency_s
        assert record.ttft_s < record.latency_s

        upstreams.failing = {"gpt-4o-mini": 500}
        assert (await proxy.call("chat"))[0] == "Please call us."
        assert _seen(await reported(2)) == [
            ("secondary", False, "InternalServerError"),
            ("rule", False, ""),
        ]

        upstreams.failing = {"gpt-4o": 503}
        say(_told("chat", 2, primary_share=1.0))
        await until(lambda: proxy.is_on_course("chat", "probe"), saying="calls are probes")
        upstreams.asked.clear()
        assert (await proxy.call("chat"))[0] == "gpt-4o-mini", "a probe that fails costs nobody an answer"
        assert upstreams.asked["gpt-4o"] == 1, "nor is it tried again"
        while not (records := await reported(1))[0].probe:
            pass
        assert _seen([*records, *await reported(1)]) == [
            ("primary", True, "ServiceUnavailableError"),
            ("secondary", False, ""),
        ]
        assert records[0].deployment == "eu-1"

        upstreams.failing = {"gpt-4o-mini": 500}
        say(_told("chat", 3, primary_share=0.0, fallbacks={"*": ["secondary"]}))
        await until(
            lambda: proxy.answers("chat", "gpt-4o"), saying="the primary answers where no fallback can"
        )
        upstreams.failing = {}
        say(_told("chat", 4, state="inactive", primary_share=1.0))
        await until(lambda: proxy.answers("chat", "gpt-4o"))
        text, headers = await proxy.call("chat")
        assert (text, headers) == ("gpt-4o", {})

        sick = {"scope": "pool@pool-a", "deployment": "pool-a"}
        say(_told("pool", 1, **sick, primary_share=0.0))
        await until(lambda: _all_of(proxy, "pool", "pool-b", 10), saying="only the deployment that is well")
        upstreams.failing = {"pool-a": 404}  # which LiteLLM does not try again
        upstreams.asked.clear()
        say(_told("pool", 2, **sick, primary_share=0.5))
        await until(lambda: _probed(proxy, upstreams), saying="probes go to the one that they are for")
        assert await _all_of(proxy, "pool", "pool-b", 10), "and are answered by another if they fail"
        while not (record := (await reported(1))[0]).error or record.route != "pool":
            pass
        assert (record.served_by, record.deployment, record.probe) == ("primary", "pool-a", True)
        upstreams.failing = {}
        say(_told("swarm", 1, scope="swarm@pool-b", deployment="pool-b", primary_share=0.0))
        await until(lambda: _all_of(proxy, "swarm", "pool-a", 10), saying="an alias is a route of its own")


async def _probed(proxy: Proxy, upstreams: Upstreams) -> bool:
    await proxy.call("pool")
    return upstreams.asked["pool-a"] > 3


async def _all_of(proxy: Proxy, model: str, wanted: str, calls: int) -> bool:
    return {(await proxy.call(model))[0] for _ in range(calls)} == {wanted}


@pytest.mark.slow
async def test_a_proxy_without_its_broker_serves_from_the_primary(
    tmp_path: Path, litellm_python: Path
) -> None:
    """Nothing listens where the control topic should be: calls are answered, and none waits for long."""
    async with (
        _upstreams() as (_, port),
        _proxy(litellm_python, f"127.0.0.1:{_free_port()}", "", port, tmp_path) as proxy,
    ):
        async with asyncio.timeout(30):
            assert [(await proxy.call("chat"))[0] for _ in range(20)] == ["gpt-4o"] * 20
    assert "control topic not caught up with" in (tmp_path / "proxy.log").read_text()


@pytest.mark.slow
async def test_a_fault_behind_a_proxy_is_found_by_a_worker_and_obeyed_by_the_proxy(
    real_kafka: TestKafka, topic_prefix: str, tmp_path: Path, litellm_python: Path
) -> None:
    """The loop closes on what the plugin reports: calls fail, are answered by a rule, and come back."""
    bootstrap = real_kafka.bootstrap
    with workers(worker := Worker(tmp_path, bootstrap, topic_prefix)):
        await worker.ready()
        async with (
            _upstreams() as (upstreams, port),
            _proxy(litellm_python, bootstrap, topic_prefix, port, tmp_path) as proxy,
        ):

            async def traffic() -> None:
                while True:
                    with contextlib.suppress(AssertionError):  # an answer that failed, as some are to
                        await proxy.call("chat")

            calls = [asyncio.create_task(traffic()) for _ in range(4)]
            try:
                await until(lambda: proxy.is_on_course("chat", ""), saying=worker.tail())
                upstreams.failing = {"gpt-4o": 500}
                await until(lambda: proxy.is_on_course("chat", "fallback"), saying=worker.tail())
                assert await proxy.answers("chat", "Please call us.")
                upstreams.failing = {}
                await until(lambda: proxy.is_on_course("chat", ""), within_s=90, saying=worker.tail())
                assert await proxy.answers("chat", "gpt-4o")
            finally:
                for task in calls:
                    task.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
        audit = await transitions(bootstrap, topic_prefix)
    assert [(each.scope, each.mode) for each in audit][:1] == [("chat", "error_spike")]
