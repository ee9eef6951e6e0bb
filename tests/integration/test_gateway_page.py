"""The page for those who build gateways: its code does what it says. Its configuration is test_litellm's."""

import re
from pathlib import Path
from typing import Any

import pytest
from openfeature import api

from detector.contract import example_text
from tests.harness.brokers import TestKafka
from tests.integration.kit import read_all
from topics.names import topics
from topics.telemetry import decode_telemetry

PAGE = Path(__file__).parents[2] / "detector" / "gateway" / "README.md"


async def _run(what: str, kafka: TestKafka, topic_prefix: str) -> None:
    """Run the code of the page that has this in it."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (code,) = (block for block in blocks if what in block)
    more = "topic_prefix=PREFIX"
    code = code.replace('"kafka:9092", "gateway-1"', f'BOOTSTRAP, "gateway-1", {more}')
    code = code.replace('"kafka:9092")', f"BOOTSTRAP, {more})")
    code = code.replace("asyncio.run(main())", "")
    names: dict[str, Any] = {"BOOTSTRAP": kafka.bootstrap, "PREFIX": topic_prefix}
    exec(compile(code, "README.md", "exec"), names)
    await names["main"]()


async def test_a_call_is_answered_and_reported_by_the_code_that_is_shown(
    kafka: TestKafka,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where nobody has said anything the primary answers, and the record of that is on the topic."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "contract.yaml").write_text(example_text(), "utf-8")
    declared = topics(topic_prefix)
    kafka.create_topics({each.name: 1 for each in (declared.control, declared.acks, declared.telemetry)})

    await _run("Shim(", kafka, topic_prefix)

    (message,) = await read_all(kafka.bootstrap, declared.telemetry.name)
    record = decode_telemetry(message.value)
    assert capsys.readouterr().out == "{'text': '42', 'tokens': 1} primary\n"
    assert (record.route, record.served_by, record.probe) == ("chat", "primary", False)
    assert (record.input_class, record.output_tokens) == ("high_risk", 1)


async def test_a_flag_is_asked_by_the_code_that_is_shown(
    kafka: TestKafka, topic_prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = topics(topic_prefix)
    kafka.create_topics({each.name: 1 for each in (declared.control, declared.acks)})

    await _run("DetectorProvider(", kafka, topic_prefix)
    api.clear_providers()

    assert capsys.readouterr().out == "primary primary\n"
