"""`replay --evaluations`: verdicts that come after their calls decide as they would in production."""

import json
import random

import pytest
from typer.testing import CliRunner

from detector.cli.main import build
from detector.lab import replay, sweep
from detector.lab.verdict_lag import VerdictLag
from topics.telemetry import Evaluation

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


def swept(folder, *options):
    """The document of `sweep --json`; a fault is known from the first bad call on."""
    (folder / "incidents.csv").write_text(
        f"scope,mode,from,to\nchat,hallucination_spike,{T0 + BAD_FROM},{T0 + BAD_FROM + 1}\n"
    )
    args = ["sweep", "calls.jsonl", "--contract", "contract.yaml", "--incidents", "incidents.csv", *options]
    args += ["--set", "predicates.made_up.ceiling=0.02,0.05", "--json"]
    args = [str(folder / each) if each.endswith(("jsonl", "yaml", "csv")) else each for each in args]
    result = CliRunner().invoke(build(), args)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_sweep_judges_verdicts_and_waits_for_them(files, workers, named):
    """Each setting decides as a replay does; a fault lasts for the lag as well, told or looked up."""
    if named:
        rows = map(json.loads, (files / "verdicts.jsonl").read_text("utf-8").splitlines())
        lines = [json.dumps({k: v for k, v in row.items() if k != "call_time"}) for row in rows]
        (files / "verdicts.jsonl").write_text("\n".join(lines), "utf-8")
    (found,) = replayed(files, "--evaluations", "verdicts.jsonl")["activations"]
    first, second = swept(files, "--evaluations", "verdicts.jsonl", "--workers", workers)["settings"]

    assert found["activated_at"] > T0 + BAD_FROM + 1
    assert first["armed"]["made_up"] > 0.9
    for each in (first, second):
        assert (each["measures"]["found"], each["measures"]["false"]) == (1, 0)
    decided = found["evidence"]["event_time"] - T0 - BAD_FROM
    assert decided <= first["measures"]["delay_p50_s"] <= found["activated_at"] - T0 - BAD_FROM
    assert swept(files, "--workers", workers)["settings"][0]["measures"]["activations"] == 0


def test_a_malformed_verdict_is_counted_by_a_sweep(files):
    """As a replay does."""
    with (files / "verdicts.jsonl").open("a") as out:
        out.write("\nno verdict\n")
    found = swept(files, "--evaluations", "verdicts.jsonl")

    assert (found["records"], found["malformed"]) == (1200, 1)


def test_notebooks_take_verdicts_too(files):
    """The same activation as by the command, in a replay and in a sweep."""
    options = {"evaluations": files / "verdicts.jsonl"}
    found = replay(files / "calls.jsonl", CONTRACT, **options).result
    (tried,) = sweep(files / "calls.jsonl", CONTRACT, {}, **options).result.tried

    assert [each.mode for each in found.activations] == ["hallucination_spike"]
    assert tried.digest == found.digest


def test_the_lag_is_that_of_most_verdicts():
    """One in twenty may take longer, and what was too late to be judged says nothing."""
    verdicts = [
        Evaluation(event_time=T0 + lag, call_time=T0, route="chat", name="x")
        for lag in (*range(1, 20), 500, 10_000, 20_000)
    ]

    assert VerdictLag(verdicts).p95_s() == 19
    assert VerdictLag([]).p95_s() == 0


@pytest.mark.parametrize("routes", [1, 5])
def test_a_verdict_after_the_last_call_makes_no_silence(files, routes):
    """The recording ends, the traffic may have gone on: neither a route nor all of them are called silent."""
    silence = "  silence: {type: absence, after_s: 30}\nmodes:\n  telemetry_silence: {when: silence}\n"
    (files / "contract.yaml").write_text(CONTRACT.replace("modes:\n", silence), "utf-8")
    calls = [
        {"event_time": T0 + i / 10, "route": f"r{i % routes}", "request_id": f"{i}"} for i in range(6000)
    ]
    verdict = {"event_time": T0 + 720, "route": "r0", "request_id": "5990", "name": "hallucination"}
    (files / "calls.jsonl").write_text("\n".join(map(json.dumps, calls)), "utf-8")
    (files / "verdicts.jsonl").write_text(json.dumps(verdict | {"failed": False}), "utf-8")

    found = replayed(files, "--evaluations", "verdicts.jsonl")

    assert found["activations"] == []
    assert found["digest"] == replayed(files)["digest"]
