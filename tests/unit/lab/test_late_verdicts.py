"""`replay --evaluations`: verdicts that come after their calls decide as they would in production."""

import json
import random

import pytest
from typer.testing import CliRunner

from detector.cli.main import build

CONTRACT = """
version: 1
routes:
  - match: "*"
    slo: {p99_ms: 250, primary_p99_ms: 200, monitoring_ms: 20, availability: 0.9999}
    input_classes: [default]
predicates:
  made_up: {type: rate, evaluation: hallucination, ceiling: 0.02}
modes:
  hallucination_spike: {when: made_up}
fallbacks:
  rule: {type: rule, p99_ms: 20, share: 1.0}
matrix:
  - {mode: "*", input_class: "*", fallbacks: [rule]}
"""
T0 = 1_700_000_000
LAG_S = 5.0
BAD_FROM = 60


@pytest.fixture
def files(tmp_path):
    """A contract, two minutes of calls at 10/s, and their verdicts: from the second minute on all bad."""
    (tmp_path / "contract.yaml").write_text(CONTRACT, "utf-8")
    calls, verdicts = [], []
    for i in range(1200):
        at = T0 + i / 10
        calls.append({"event_time": at, "route": "chat", "request_id": f"r{i}"})
        verdict = {"event_time": at + LAG_S, "call_time": at, "route": "chat", "request_id": f"r{i}"}
        verdicts.append(verdict | {"name": "hallucination", "failed": i >= 10 * BAD_FROM})
    for name, rows in (("calls", calls), ("verdicts", verdicts)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return tmp_path


def replayed(folder, *options):
    """The document of `replay --json`."""
    args = ["replay", "calls.jsonl", "--contract", "contract.yaml", "--json", *options]
    args = [str(folder / each) if each.endswith(("jsonl", "yaml")) else each for each in args]
    result = CliRunner().invoke(build(), args)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_bad_verdicts_act_once_they_are_made(files):
    """Nothing without the file; with it some verdicts after the lag, whose row the evidence names."""
    assert replayed(files)["activations"] == []
    (found,) = replayed(files, "--evaluations", "verdicts.jsonl")["activations"]

    assert found["mode"] == "hallucination_spike"
    assert BAD_FROM + LAG_S < found["activated_at"] - T0 < BAD_FROM + LAG_S + 5
    assert 10 * BAD_FROM <= found["evidence"]["offset"] < 10 * BAD_FROM + 50


def test_the_order_of_verdicts_and_of_their_files_changes_nothing(files):
    """Each is judged when it was made; the evidence names its row, wherever that lies."""
    lines = (files / "verdicts.jsonl").read_text("utf-8").splitlines()
    (whole,) = replayed(files, "--evaluations", "verdicts.jsonl")["activations"]
    crossed = lines[whole["evidence"]["offset"]]
    random.Random(3).shuffle(lines)
    (files / "a.jsonl").write_text("\n".join(lines[:500]), "utf-8")
    (files / "b.jsonl").write_text("\n".join(lines[500:]), "utf-8")
    other = [each.replace("hallucination", "toxicity") for each in lines]
    (files / "other.jsonl").write_text("\n".join(other), "utf-8")

    for names in (("a", "b", "other"), ("other", "b", "a")):
        options = [option for name in names for option in ("--evaluations", f"{name}.jsonl")]
        (found,) = replayed(files, *options)["activations"]
        rows = [line for name in names for line in (files / f"{name}.jsonl").read_text("utf-8").splitlines()]

        assert found["activated_at"] == whole["activated_at"]
        assert rows[found["evidence"]["offset"]] == crossed


def test_batches_change_nothing_and_bad_rows_are_counted(files):
    """The same digest; a row that is no verdict stops nothing."""
    with (files / "verdicts.jsonl").open("a", encoding="utf-8") as out:
        out.write('\n{"route": 7}\n')
    whole, small = (
        replayed(files, "--evaluations", "verdicts.jsonl", "--batch", batch) for batch in ("4096", "7")
    )

    assert whole["digest"] == small["digest"]
    assert whole["malformed"] == 1
    assert whole["activations"]


def test_another_kind_of_file_is_wrong_use(files):
    """The message names it."""
    (files / "verdicts.csv").write_text("a,b\n", "utf-8")
    args = ["replay", str(files / "calls.jsonl"), "--contract", str(files / "contract.yaml")]
    result = CliRunner().invoke(build(), [*args, "--evaluations", str(files / "verdicts.csv")])

    assert result.exit_code == 2
    assert "expected .jsonl" in result.output + result.stderr
