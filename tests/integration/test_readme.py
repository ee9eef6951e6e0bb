"""Commands and code of the README, and of the pages behind it, do what they say, as they stand there."""

import asyncio
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from detector.contract import check_text, example_text
from detector.contract.model import Defaults, Slo
from detector.gateway import Decision
from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, call, producer, publish, read_all, until, workers
from topics.partitioner import partition_for
from topics.telemetry import decode_evaluation, decode_telemetry

ROOT = Path(__file__).parents[2]
PAGES = {
    name: (ROOT / name).read_text("utf-8")
    for name in ("README.md", "detector/contract/README.md", "deploy/README.md", "detector/gateway/README.md")
}
GATEWAY = PAGES["detector/gateway/README.md"]  # its parts are run by test_litellm and test_gateway_page
MADE_BY_OTHERS = {"make", "docker"}  # `make demo` and `make test` are what CI and test_demo run


def blocks(language: str) -> list[str]:
    """Code blocks of all pages, dedented."""
    fence = re.compile(rf"```{language}\n(.*?)```", re.DOTALL)
    ours = (page for page in PAGES.values() if page is not GATEWAY)
    return [textwrap.dedent(found) for page in ours for found in fence.findall(page)]


def commands() -> Iterator[list[str]]:
    """Every `detector` command line of the pages, without its comment."""
    for block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] not in MADE_BY_OTHERS:
                yield words


def clients_code(result: str, arguments: str = '"kafka:9092", "gateway-1"') -> Callable[..., Awaitable[Any]]:
    """The README's code for a gateway as a function; it returns what stands under a name at the end."""
    (code,) = (block for block in blocks("python") if "GatewayClient" in block)
    code = code.replace('"kafka:9092", "gateway-1"', arguments).replace("        ...", "        pass")
    body = f"async def main(PREFIX=''):\n{textwrap.indent(code, '    ')}    return {result}\n"
    names: dict[str, Any] = {}
    exec(compile(body, "README.md", "exec"), names)
    return cast(Callable[..., Awaitable[Any]], names["main"])


def test_every_command_is_one_of_ours() -> None:
    """What people are told to type is `detector` with a verb that exists."""
    found = list(commands())

    assert {words[0] for words in found} == {"detector"}
    assert {words[1] for words in found} == {
        "check",
        "budget",
        "replay",
        "run",
        "state",
        "tail",
        "force",
        "unforce",
        "accept",
        "label",
        "sweep",
        "calibrate",
        "drill",  # run by test_drill
    }


@pytest.mark.parametrize(
    "words", [w for w in commands() if w[1] in ("check", "budget", "replay", "sweep")], ids=" ".join
)
def test_commands_on_files_succeed(words: list[str], tmp_path: Path) -> None:
    """`check`, `replay` and `sweep` run as printed on a file of the kind that they name."""
    (tmp_path / "contract.yaml").write_text(example_text(), "utf-8")
    (tmp_path / "incidents.csv").write_text("scope,mode,from,to\n", "utf-8")
    rows = "".join(f"{1_767_225_600_000 + i * 500},{0.1},{500 + i % 7}\n" for i in range(200))
    import gzip

    (tmp_path / "calls.csv.gz").write_bytes(gzip.compress(("ts,latency_s,input_tokens\n" + rows).encode()))

    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("fragment", blocks("yaml"))
def test_parts_of_contracts_are_ones(fragment: str) -> None:
    """What a page shows of a contract can be written into the example."""
    contract = yaml.safe_load(example_text())
    for part, entries in yaml.safe_load(fragment).items():
        contract[part].update(entries)

    found = check_text(yaml.safe_dump(contract, sort_keys=False))

    assert [each.message for each in found if each.severity == "error"] == []


@pytest.mark.parametrize(("part", "kind"), [("`defaults` says", Defaults), ("`slo` of a route says", Slo)])
def test_what_holds_unless_stated_is_told(part: str, kind: type[Defaults | Slo]) -> None:
    """The tables of promises have every key, and the value that it has by itself."""
    table = PAGES["detector/contract/README.md"].partition(part)[2].split("\n\n")[1]
    told = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", table, re.MULTILINE))
    by_itself = {each.name: each.default for each in fields(kind) if each.name != "stated"}

    assert {name: float(value) for name, value in told.items()} == by_itself


def anchors(page: str) -> set[str]:
    """Of the page's headings, as the places that show such pages make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    """Files and headings that a page points to exist."""
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        path, _, anchor = link.partition("#")
        target = ((ROOT / name).parent / path).resolve() if path else ROOT / name

        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), link


def test_the_sample_records_are_ones() -> None:
    """The JSON records of the README decode."""
    call, verdict = (block.encode() for block in blocks("json"))

    assert decode_telemetry(call).route == decode_evaluation(verdict).route == "chat"


def test_a_later_verdict_is_judged_by_its_name() -> None:
    """What the README says of a predicate on evaluations can be written into the example."""
    contract = yaml.safe_load(example_text())
    (shown,) = re.findall(r"`(\{type: rate, evaluation: [^`]*)`", PAGES["README.md"])
    contract["predicates"]["hallucinations"] = yaml.safe_load(shown)

    found = check_text(yaml.safe_dump(contract, sort_keys=False))

    assert [each.message for each in found if each.severity == "error"] == []


async def test_the_producers_code_lands_where_the_route_lives(kafka: TestKafka, topic_prefix: str) -> None:
    """Telemetry sent as printed lies under its route, on the partition that its owner reads."""
    (code,) = (block for block in blocks("python") if "TelemetrySender" in block)
    topic = f"{topic_prefix}llm.telemetry"
    kafka.create_topics({topic: 8})
    code = code.replace('"kafka:9092"', f'"{kafka.bootstrap}", topic_prefix="{topic_prefix}"')
    names: dict[str, Any] = {}
    exec(compile(f"async def main():\n{textwrap.indent(code, '    ')}", "README.md", "exec"), names)
    await names["main"]()

    (sent,) = await read_all(kafka.bootstrap, topic)

    assert decode_telemetry(sent.value).route == sent.key.decode() == "chat"
    assert sent.partition == partition_for(b"chat", 8)


@pytest.mark.parametrize(
    ("decision", "to"),
    [
        (Decision(), "eu-1"),
        (Decision(avoid=("eu-1",)), "eu-2"),
        (Decision(avoid=("eu-1",), probe=True, probe_deployment="eu-2"), "eu-2"),
        (Decision(avoid=("eu-1", "eu-2", "us-1")), "eu-1"),
    ],
)
async def test_the_clients_code_keeps_off_a_sick_deployment(
    monkeypatch: pytest.MonkeyPatch, decision: Decision, to: str
) -> None:
    """Calls go to one that is well, and probes to the one that they are to try."""

    class Client:
        def __init__(self, *_: str, **__: object) -> None: ...

        async def __aenter__(self) -> "Client":
            return self

        async def __aexit__(self, *_: object) -> None: ...

        def decide(self, *_: str, **__: str) -> Decision:
            return decision

    monkeypatch.setattr("detector.gateway.GatewayClient", Client)

    assert await clients_code("deployment")() == to


@pytest.mark.slow
async def test_service_state_tail_and_client_work_as_printed(
    kafka: TestKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """`run`, `state`, `tail`, the client's code, `force` and `unforce` work together against a broker."""
    worker = Worker(tmp_path, kafka.bootstrap, topic_prefix, contract=example_text())
    prefix = ["--topic-prefix", topic_prefix]

    def ours(verb: str) -> list[str]:
        words = next(words for words in commands() if words[1] == verb)
        return [word.replace("kafka:9092", kafka.bootstrap) for word in words] + prefix

    with workers(worker):
        await worker.ready()
        tail = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *ours("tail"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        async with producer(kafka.bootstrap) as to:
            said = b""
            routes = (f"chat-{number}" for number in range(1000))

            async def followed() -> bool:
                nonlocal said
                await fail(next(routes))
                assert tail.stdout is not None
                try:
                    said += await asyncio.wait_for(tail.stdout.readline(), 1)
                except TimeoutError:
                    return False
                return b"error_spike" in said

            async def fail(route: str) -> None:
                await publish(to, topic_prefix, [call(route) for _ in range(50)])
                await publish(to, topic_prefix, [call(route, error="timeout") for _ in range(30)])

            await fail("chat")
            await until(followed, saying="tail shows the activation")
        tail.send_signal(signal.SIGINT)
        await tail.wait()
        shown = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *ours("state"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        state, complaint = await shown.communicate()
        assert shown.returncode == 0, complaint
        assert b"error_spike" in state

        decision = await clients_code("decision", f'"{kafka.bootstrap}", "gateway-1", topic_prefix=PREFIX')(
            topic_prefix
        )
        assert (decision.state, decision.fallbacks) == ("active", ("secondary", "cache", "rule"))
        for verb, expected in (
            ("force", b"chat is on its primary until "),
            ("unforce", b"chat is on its fallbacks (secondary, cache, rule) again"),
            ("accept", b"nothing drifts"),
        ):
            ordered = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *ours(verb), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            answer, complaint = await ordered.communicate()
            assert ordered.returncode == 0, complaint
            assert expected in answer
