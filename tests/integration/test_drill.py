"""A drill on real Kafka: every acting mode is acted on and comes back, or the reason is told."""

import json
import subprocess
import sys
from pathlib import Path

from tests.harness.brokers import TestKafka

# The budgets are wide: what is measured here is the way, not this machine.
CONTRACT = """
version: 1
defaults: {false_alarms_per_week: 0.15, lease_s: 15, revert_within_s: 10, probe_share: 0.05}
routes:
  - match: "*"
    slo: {p99_ms: 60000, primary_p99_ms: 20000, monitoring_ms: 20000, availability: 0.99}
    input_classes: [high_risk, default]
predicates:
  errors: {type: rate, field: error, ceiling: 0.01}
  slow: {type: exceedance, field: latency_s, above_ms: 300, ceiling: 0.01}
  silence: {type: absence, after_s: 30}
modes:
  latency_spike: {when: slow}
  error_spike: {when: errors}
  telemetry_silence: {when: silence, severity: SEVERITY}
fallbacks:
  rule: {type: rule, p99_ms: 20, share: 1.0}
matrix:
  - {mode: "*", input_class: "*", fallbacks: [rule]}
"""


def drilled(kafka: TestKafka, folder: Path, severity: str) -> tuple[int, dict]:
    contract = folder / "contract.yaml"
    contract.write_text(CONTRACT.replace("SEVERITY", severity), "utf-8")
    command = [sys.executable, "-m", "detector", "drill", "--contract", str(contract)]
    done = subprocess.run(
        [*command, "--bootstrap", kafka.bootstrap, "--json"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_every_mode_that_acts_is_acted_on_and_comes_back(real_kafka: TestKafka, tmp_path: Path) -> None:
    code, report = drilled(real_kafka, tmp_path, "notice")

    assert (code, report["ok"]) == (0, True), report
    assert [each["mode"] for each in report["modes"]] == ["latency_spike", "error_spike"]
    for each in report["modes"]:
        assert each["acted_as"] == each["mode"]
        assert each["evidence_ms"] > 0
        assert each["delay_s"] > 0
        assert each["back_s"] > 0


def test_a_mode_that_cannot_be_drilled_fails_the_drill(real_kafka: TestKafka, tmp_path: Path) -> None:
    code, report = drilled(real_kafka, tmp_path, "act")

    assert (code, report["ok"]) == (1, False)
    silence = next(each for each in report["modes"] if each["mode"] == "telemetry_silence")
    assert silence["why"] == ["no spike is known for silence"]
