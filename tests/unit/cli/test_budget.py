"""`detector budget`: a table, a document, and an exit code that a pipeline can use."""

import json

import pytest
from typer.testing import CliRunner

from detector.cli.main import build
from detector.contract import example_text


def run(*args):
    return CliRunner().invoke(build(), ["budget", *map(str, args)])


@pytest.fixture
def contract(tmp_path):
    """The example as a file."""
    file = tmp_path / "contract.yaml"
    file.write_text(example_text(), "utf-8")
    return file


def test_it_prints_every_limit_and_ends_well(contract):
    """The example of the contract keeps within its envelope."""
    result = run(contract)

    assert result.exit_code == 0
    assert all(name in result.output for name in ("rule", "cache", "secondary", "mean by share"))


def test_a_contract_that_check_refuses_for_its_latencies_is_shown_all_the_same(contract):
    """That is what the verb is for; exit 1 says that something does not fit."""
    contract.write_text(example_text().replace("p99_ms: 45", "p99_ms: 75"), "utf-8")
    result = run(contract, "--json")
    found = json.loads(result.stdout)

    assert result.exit_code == 1
    assert [line["name"] for line in found["fallbacks"] if not line["ok"]] == ["secondary"]
    contract.write_text(example_text().replace("type: divergence", "type: divergenc"), "utf-8")
    assert run(contract).exit_code == 2


def test_telemetry_is_measured_and_bad_rows_are_counted(contract, tmp_path):
    """Calls of the cache at 60 ms, one row that is no record."""
    rows = [
        f'{{"event_time": {1.7e9 + i}, "route": "chat", "served_by": "cache", "latency_s": 0.06}}'
        for i in range(200)
    ]
    file = tmp_path / "calls.jsonl"
    file.write_text("\n".join([*rows, "{}"]), "utf-8")
    result = run(contract, "--telemetry", file, "--json")
    found = json.loads(result.stdout)

    assert result.exit_code == 1
    assert (found["malformed"], found["records"]) == (1, 200)
    (cache,) = [line for line in found["fallbacks"] if line["name"] == "cache"]
    assert (cache["n"], cache["ok"]) == (200, False)
    assert run(contract, "--telemetry", tmp_path / "none.jsonl").exit_code == 2


def test_telemetry_of_which_no_row_is_a_record_is_not_well(contract, tmp_path):
    """What was stated fits, but nothing of it was measured: a pipeline has to stop here."""
    file = tmp_path / "calls.jsonl"
    file.write_text("{}\n[]\n", "utf-8")
    result = run(contract, "--telemetry", file)
    document = json.loads(run(contract, "--telemetry", file, "--json").stdout)

    assert result.exit_code == 1
    assert f"not one of 2 rows is a record: {file} row 0 at $: " in result.stderr
    assert "malformed" not in result.stderr
    assert (document["ok"], document["malformed"], document["records"]) == (False, 2, 0)


def test_a_status_code_that_was_taken_for_an_error_is_told(contract, tmp_path):
    """Every call would have failed: their latencies are left out, and nothing else would say why."""
    file = tmp_path / "calls.csv"
    rows = [f"{1.7e9 + i},chat,0.06,200" for i in range(200)]
    file.write_text("\n".join(["event_time,route,latency_s,error", *rows]), "utf-8")
    result = run(contract, "--telemetry", file)

    assert "every call of route 'chat' carries error '200'" in result.stderr
