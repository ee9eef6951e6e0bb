"""The page on OpenTelemetry: its configuration, its command and its tables are what the code has."""

import re
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from detector.service.otlp import logs, spans
from detector.service.otlp.join import MOST_CALLS, WAIT_S
from detector.service.otlp.logs import OF_LOG
from detector.service.otlp.spans import COUNTS, OF_SPAN, SECONDS, TEXTS
from tests.harness.brokers import TestKafka
from tests.integration.kit import Worker, until, workers
from tests.integration.test_otlp import Normaliser, export, make_topics, telemetry
from tests.otlp_builders import span, traces

PAGE = (Path(__file__).parents[2] / "detector" / "service" / "otlp" / "README.md").read_text("utf-8")
COLLECTOR, VLLM = (yaml.safe_load(found) for found in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))


def table(after: str) -> dict[str, str]:
    """First to second cell of the table behind a heading."""
    lines = PAGE.partition(f"\n## {after}\n")[2].partition("\n## ")[0].splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if line.startswith("| ") and "---" not in line]
    return {first.strip(): second.strip() for first, second, *_ in rows[1:]}


def names(text: str) -> list[str]:
    return [name for name in re.findall(r"`([^`]*)`", text) if "." in name and ":" not in name]


@pytest.mark.parametrize("field", [*TEXTS, *SECONDS, *COUNTS])
def test_the_table_says_what_is_read_in_which_order(field: str) -> None:
    """Each field with its attributes, as the code tries them."""
    rows = {
        name: names(second)[place] if "," in first else names(second)
        for first, second in table("What is read").items()
        for place, name in enumerate(re.findall(r"`([^`]*)`", first))
    }
    wanted = {**TEXTS, **SECONDS, **COUNTS}[field]

    assert rows[field] == (list(wanted) if isinstance(rows[field], list) else wanted[0])


def test_every_attribute_that_is_read_is_on_the_page_and_no_other_one() -> None:
    said = set(
        re.findall(r"`((?:gen_ai|llm|litellm|openinference|server|error|http|detector|event)\.[\w.]+)`", PAGE)
    )
    others = {"gen_ai.evaluation.result", "detector.errors.stage", "detector.deadletter"}
    others |= {"llm.telemetry", "llm.evaluations"}

    assert said - others == OF_SPAN | OF_LOG


def test_outcomes_and_bounds_are_as_said() -> None:
    counted = table("Running it")
    for metric, kinds in (("spans", spans.Outcome), ("evaluations", logs.Outcome)):
        row = counted[f"`detector_otlp_{metric}_total{{outcome}}`"]
        assert re.findall(r"`(\w+)`", row) == [str(outcome) for outcome in kinds]
    assert f"latest {MOST_CALLS:,} calls" in PAGE
    assert f"for {WAIT_S:g} s" in PAGE


def test_the_collector_writes_where_the_command_reads() -> None:
    """Each pipeline uses what is configured, and the exporter's topics and encoding are the defaults."""
    exporter = COLLECTOR["exporters"]["kafka"]

    assert exporter["traces"] == {"topic": "otlp_spans", "encoding": "otlp_proto"}
    assert exporter["logs"] == {"topic": "otlp_logs", "encoding": "otlp_proto"}
    for pipeline in COLLECTOR["service"]["pipelines"].values():
        for part, used in pipeline.items():
            assert set(used) <= COLLECTOR[part].keys()
    batch = COLLECTOR["processors"]["batch"]
    assert batch["send_batch_max_size"] >= batch["send_batch_size"]


def test_what_is_set_on_spans_of_vllm_is_what_is_read() -> None:
    statements = VLLM["processors"]["transform/vllm"]["trace_statements"]
    attributes = dict(
        re.search(r'set\(span\.attributes\["([^"]*)"\], "([^"]*)"\)', each).groups() for each in statements
    )  # type: ignore[union-attr]

    assert attributes.keys() == {spans.OPERATION, spans.ROUTE}
    assert spans.is_call(attributes)


async def test_the_command_runs_as_printed(real_kafka: TestKafka, topic_prefix: str, tmp_path: Path) -> None:
    """On this broker, with a prefix, it reads what the collector's exporter writes by default."""
    (printed,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    words = shlex.split(printed)
    assert words[:2] == ["detector", "otlp"]
    make_topics(real_kafka, topic_prefix, inputs=False)
    real_kafka.create_topics({"otlp_spans": 1, "otlp_logs": 1})

    class AsPrinted(Normaliser):
        def arguments(self, bootstrap: str, prefix: str) -> list[str]:
            more = ["--topic-prefix", prefix, "--http-port", "0"]
            return [word.replace("kafka:9092", bootstrap) for word in words[1:]] + more

    otlp: Worker = AsPrinted(tmp_path, real_kafka.bootstrap, topic_prefix)
    try:
        with workers(otlp):
            await otlp.ready()
            await export(real_kafka, "otlp_spans", [traces(span(since=time.time()))])
            found: list[Any] = await until(lambda: telemetry(real_kafka, topic_prefix), saying=otlp.tail())
            otlp.send(signal.SIGINT)
            code = otlp.process.wait(5)
    finally:
        real_kafka.delete_topics("otlp_spans", "otlp_logs")

    assert ([record.route for record in found], code) == (["chat"], 0)
