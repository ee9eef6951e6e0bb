"""The demo, run once as people run it: every scenario as expected, and the summary as promised."""

import json
import subprocess
import sys

import pytest

from detector.embedded.demo.scenarios import SCENARIOS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo():
    result = subprocess.run(
        [sys.executable, "-m", "detector", "demo", "--json"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert result.stdout, result.stderr
    return result


@pytest.fixture(scope="module")
def summary(demo):
    return json.loads(demo.stdout)


def test_every_scenario_comes_out_as_expected(demo, summary):
    """Each fault is acted on under its own mode, the control stays silent, and the exit code says so."""
    assert [(each["name"], each["observed"], each["ok"]) for each in summary["scenarios"]] == [
        (each.name, each.expected, True) for each in SCENARIOS
    ]
    assert summary["false_activations"] == 0
    assert summary["ok"] is True
    assert demo.returncode == 0


def test_the_summary_has_the_keys_promised(demo, summary):
    """One document on one line of stdout, with exactly the fields of the surface."""
    assert demo.stdout.count("\n") == 1
    assert set(summary) == {
        "records",
        "malformed",
        "scenarios",
        "false_activations",
        "evidence_to_gateway_ms",
        "records_per_s",
        "ok",
    }
    assert set(summary["evidence_to_gateway_ms"]) == {"p50", "p95", "p99", "n"}
    assert all(
        set(each) == {"name", "expected", "observed", "ok", "delay_s"} for each in summary["scenarios"]
    )


def test_each_activation_reaches_every_gateway(summary):
    """Two gateways acknowledge the two activations decided at a record, each later than that record."""
    found = summary["evidence_to_gateway_ms"]

    assert found["n"] == 4
    assert 0 < found["p50"] <= found["p95"] <= found["p99"]


def test_messages_that_are_no_records_are_counted(summary):
    """They are fed among the good ones, end in the dead letters and cost nobody anything."""
    assert summary["malformed"] == 5
    assert summary["records"] > 10_000


def test_the_story_goes_to_stderr(demo):
    """With --json a person still sees what was detected, why, and what the gateways did."""
    for word in ("as expected", "because", "gateways", "probed the primary", "recovery"):
        assert word in demo.stderr
