"""What the verbs say of the columns and units of a file: nowhere, not read, too long for seconds."""

import json
import random
import re

import pytest
from typer.testing import CliRunner

from detector.cli.main import build
from tests.unit.lab.test_replay import CONTRACT, JSON_KEYS, T0


@pytest.fixture
def contract_file(tmp_path):
    file = tmp_path / "contract.yaml"
    file.write_text(CONTRACT)
    return file


@pytest.fixture
def recorded(tmp_path):
    file = tmp_path / "calls.jsonl"
    rows = [{"event_time": T0 + i / 10, "route": "chat", "output_tokens": 100 + i % 7} for i in range(2000)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


@pytest.mark.parametrize("verb", ["replay", "sweep", "calibrate", "budget"])
def test_every_verb_that_reads_files_tells_of_a_column_that_is_nowhere(
    verb, recorded, contract_file, tmp_path
):
    """On stderr, and calibration among what it could not learn; the document stays what it was."""
    options = {
        "replay": [recorded, "--contract", contract_file],
        "sweep": [recorded, "--contract", contract_file, "--set", "predicates.errors.ceiling=0.01"],
        "calibrate": [recorded, "--contract", contract_file, "--out", tmp_path / "out.yaml"],
        "budget": [contract_file, "--telemetry", recorded],
    }[verb]
    args = [verb, *map(str, options), "--map", "tenant=customer", "--json"]
    result = CliRunner().invoke(build(), args)
    said = "--map tenant=customer: no such column in any row"

    assert said in result.stderr
    assert (said in result.stdout) is (verb == "calibrate")
    assert verb != "replay" or set(json.loads(result.stdout)) == JSON_KEYS


@pytest.mark.parametrize("verb", ["replay", "sweep", "calibrate"])
def test_a_status_code_taken_for_an_error_is_told(verb, contract_file, tmp_path):
    """Every call is an error then, which no verb may pass over in silence."""
    rows = [f"{T0 + i},chat,200" for i in range(300)]
    file = tmp_path / "calls.csv"
    file.write_text("\n".join(["event_time,route,status", *rows]), "utf-8")
    options = {
        "replay": [],
        "sweep": ["--set", "predicates.errors.ceiling=0.01"],
        "calibrate": ["--out", tmp_path / "out.yaml"],
    }[verb]
    args = [verb, file, "--contract", contract_file, "--map", "error=status", *options]
    result = CliRunner().invoke(build(), [*map(str, args)])
    said = "every call of route 'chat' carries error '200'; success is the empty string"

    assert result.exit_code == 0
    assert said in result.stderr
    assert (said in result.stdout) is (verb == "calibrate")


@pytest.mark.parametrize("verb", ["replay", "calibrate"])
def test_milliseconds_taken_for_seconds_are_told(verb, tmp_path):
    """A column of milliseconds that was mapped to a duration, beside what it makes of the limit."""
    draw = random.Random(1)
    rows = [f"{T0 + i / 5},chat,{draw.lognormvariate(6.7, 0.3):.0f}" for i in range(3000)]
    file, judged_by = tmp_path / "calls.csv", tmp_path / "contract.yaml"
    file.write_text("\n".join(["event_time,route,total_ms", *rows]), "utf-8")
    slow = "errors: {type: exceedance, field: latency_s, above_ms: 3000, ceiling: 0.01}"
    judged_by.write_text(CONTRACT.replace("errors: {type: rate, field: error, ceiling: 0.01}", slow), "utf-8")
    options = {"replay": [], "calibrate": ["--out", tmp_path / "out.yaml"]}[verb]
    args = [verb, file, "--contract", judged_by, "--map", "latency_s=total_ms", *options]
    result = CliRunner().invoke(build(), [*map(str, args)])
    told = [line for line in result.stderr.splitlines() if "that looks like milliseconds" in line]

    assert result.exit_code == 0
    assert len(told) == 1
    assert re.search(r"the median latency_s of route 'chat' is about [78]\d\d s; that looks", told[0])


UNMEASURED = """
  slow: {type: exceedance, field: latency_s, above_ms: 3000, ceiling: 0.01}
  ended: {type: divergence, field: finish_reason, threshold_nats: 0.07, window_s: 10}
modes:
  latency_shift: {when: slow}
  odd_ends: {when: ended}
"""


def of_columns(tmp_path, verb, *options):
    """What a verb says of a csv with an outage, of which only the route is mapped."""
    rows = [f"{T0 + i / 10},chat,700,{500 if 1000 < i < 1200 else ''}" for i in range(2000)]
    (tmp_path / "calls.csv").write_text(
        "\n".join(["event_time,model_group,duration_ms,status", *rows]), "utf-8"
    )
    (tmp_path / "c.yaml").write_text(CONTRACT.replace("\nmodes:", UNMEASURED.rstrip("\n"), 1), "utf-8")
    given = [
        tmp_path / "calls.csv",
        "--contract",
        tmp_path / "c.yaml",
        "--map",
        "route=model_group",
        *options,
    ]
    return CliRunner().invoke(build(), [verb, *map(str, given)])


@pytest.mark.parametrize("verb", ["replay", "sweep", "calibrate"])
def test_errors_that_nothing_is_mapped_to_are_asked_for_once(verb, tmp_path):
    """With the columns among which they may be; `errors 100%` armed is no assurance then."""
    options = {
        "replay": [],
        "sweep": ["--set", "predicates.errors.ceiling=0.01"],
        "calibrate": ["--out", tmp_path / "out.yaml"],
    }[verb]
    result = of_columns(tmp_path, verb, *options)
    asked = [line for line in result.stderr.splitlines() if "no row has an error" in line]

    assert result.exit_code == 0
    assert asked == [
        "detector: no row has an error (nothing is mapped to it): is that right? "
        "columns that nothing is read from: duration_ms, status"
    ]
    mapped = of_columns(tmp_path, verb, *options, "--map", "error=status").stderr
    assert "no row has an error" not in mapped
    assert "columns that nothing is read from: duration_ms\n" in mapped


def test_a_predicate_whose_field_no_row_carries_is_not_said_to_be_armed_and_no_more(tmp_path):
    """Beside its share in the text, on stderr beside the document, which stays what it was."""
    text, document = (of_columns(tmp_path, "replay", *extra) for extra in ((), ("--json",)))
    (armed,) = re.findall(r"armed while judging: (.*)\nnever armed", text.stdout, re.DOTALL)
    armed = " ".join(armed.split())

    assert re.search(r"ended \d+% \(no row has finish_reason\), errors 100%, output_drift", armed)
    assert armed.endswith("slow 0% (no row has latency_s)")
    assert set(json.loads(document.stdout)) == JSON_KEYS
    assert (
        "no row has the field that is judged by: ended (finish_reason), output_drift (output_tokens), "
        "slow (latency_s)" in document.stderr
    )
    measured = of_columns(
        tmp_path, "replay", "--map", "latency_s=duration_ms", "--duration-unit", "ms"
    ).stdout
    assert "no row has latency_s" not in measured


@pytest.mark.parametrize("verb", ["replay", "sweep", "calibrate", "budget"])
def test_every_verb_that_reads_files_takes_a_unit_of_durations(verb, contract_file, tmp_path):
    """A hundred and twenty of them are no minutes then."""
    rows = [f"{T0 + i / 10},chat,120," for i in range(2000)]
    file = tmp_path / "calls.csv"
    file.write_text("\n".join(["event_time,route,ms,error", *rows]), "utf-8")
    options = {
        "replay": [file, "--contract", contract_file],
        "sweep": [file, "--contract", contract_file, "--set", "predicates.errors.ceiling=0.01"],
        "calibrate": [file, "--contract", contract_file, "--out", tmp_path / "out.yaml"],
        "budget": [contract_file, "--telemetry", file],
    }[verb]
    args = [verb, *map(str, options), "--map", "latency_s=ms"]
    plain, scaled = (CliRunner().invoke(build(), [*args, *more]) for more in ([], ["--duration-unit", "ms"]))

    assert "say --duration-unit ms" in plain.stderr
    assert (scaled.stderr, scaled.exit_code) == ("", 0)
    assert CliRunner().invoke(build(), [*args, "--duration-unit", "h"]).exit_code == 2
