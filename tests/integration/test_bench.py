"""Both bench verbs on the run's Kafka, so small that their figures mean nothing: only their shape counts."""

import json
import subprocess
import sys
from typing import Any

from confluent_kafka.admin import AdminClient

from tests.harness.brokers import TestKafka


def bench(kafka: TestKafka, *arguments: str) -> dict[str, Any]:
    """The one document that a verb prints."""
    done = subprocess.run(
        [sys.executable, "-m", "detector", "bench", *arguments, "--bootstrap", kafka.bootstrap, "--json"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def test_throughput_prints_its_figures_and_leaves_no_topic(real_kafka: TestKafka) -> None:
    """One document with the promised fields, the ratio of its own rates; the broker is as it was before."""
    found = bench(
        real_kafka, "throughput", "--records", "3000", "--routes", "8", "--history", "5", "--partitions", "2"
    )

    assert set(found) == {"records", "records_per_s", "bare_records_per_s", "ratio", "cpu_us_per_record"}
    assert found["records"] == 3000
    assert abs(found["ratio"] - found["records_per_s"] / found["bare_records_per_s"]) < 0.01
    left = AdminClient({"bootstrap.servers": real_kafka.bootstrap}).list_topics(timeout=10).topics
    assert not [name for name in left if name.startswith("bench-")]


def test_latency_prints_both_sides_quantiles(real_kafka: TestKafka) -> None:
    """Every route that failed is among the samples, the bare client's as well; quantiles are in order."""
    arguments = ("--rate", "200", "--evidence", "40", "--routes", "8", "--partitions", "2")
    found = bench(real_kafka, "latency", *arguments)

    assert set(found) == {"rate", "n", "p50_ms", "p95_ms", "p99_ms", "bare", "ratio_p99"}
    assert (found["rate"], found["n"], found["bare"]["n"]) == (200, 40, 40)
    for side in (found, found["bare"]):
        assert 0 < side["p50_ms"] <= side["p95_ms"] <= side["p99_ms"]
    assert abs(found["ratio_p99"] - found["p99_ms"] / found["bare"]["p99_ms"]) < 0.02
