"""Files: `detector replay` reads what a simulation writes, and the labels lie beside it."""

import csv

import pytest

from detector.contract.loader import load_contract
from detector.lab.columns import Columns
from detector.lab.files import read_rows
from detector.lab.replay import replay
from detector.lab.simulator import simulate
from detector.lab.simulator.__main__ import main

CONTRACT = """
version: 1
predicates:
  errors: {type: rate, field: error, ceiling: 0.01}
modes:
  error_spike: {when: errors}
fallbacks:
  rule: {type: rule, p99_ms: 20, share: 1}
matrix:
  - {mode: "*", input_class: "*", fallbacks: [rule]}
"""


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_file_holds_the_stream_and_its_labels(tmp_path, suffix):
    """Reading the file gives the records; the csv has scope, mode, from and to of each incident."""
    simulation = simulate(
        "error_spike", 3, duration_s=12.0, fault_start_s=5.0, fault_duration_s=4.0, judge_lag_s=1.0
    )
    path = tmp_path / f"calls{suffix}"
    written = simulation.write(path)
    with (tmp_path / "calls.incidents.csv").open(encoding="utf-8") as file:
        labels = list(csv.DictReader(file))
    (incident,) = simulation.incidents

    assert set(written) == set(tmp_path.iterdir()) == {
        path, tmp_path / f"calls.evaluations{suffix}", tmp_path / "calls.incidents.csv"
    }  # fmt: skip
    assert list(read_rows([path], Columns())) == list(simulation.records())
    assert labels == [
        {"scope": "chat", "mode": "error_spike", "from": repr(incident.start), "to": repr(incident.end)}
    ]


def test_equal_streams_make_equal_files(tmp_path):
    """Neither the time of writing nor the name is in a compressed file."""
    simulation = simulate("healthy", 3, duration_s=3.0)
    simulation.write(tmp_path / "a.jsonl.gz")
    simulation.write(tmp_path / "b.jsonl.gz")

    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_replay_finds_the_fault_in_the_file(tmp_path):
    """A gross fault in a simulated file is decided on by the production code, inside its label."""
    simulation = simulate(
        "error_spike", 3, duration_s=30.0, fault_start_s=15.0, fault_duration_s=10.0, fault_size=0.9
    )
    path = tmp_path / "calls.jsonl.gz"
    simulation.write(path)
    result = replay([path], load_contract(CONTRACT))
    (incident,) = simulation.incidents

    assert result.malformed == result.late == 0
    assert [each.scope for each in result.activations] == ["chat"]
    assert incident.start <= result.activations[0].activated_at <= incident.end


def test_the_command_writes_and_says_what_it_wrote(tmp_path, capsys):
    """Exit 0, the files it names exist, and the incident is told; without a name it lists the catalogue."""
    out = tmp_path / "x.jsonl"
    arguments = ["error_spike", "--seed", "2", "--out", str(out), "--profile", "api_only"]
    sets = ["--set", "duration_s=8", "--set", "fault_start_s=2", "--set", "fault_duration_s=3"]

    assert main([*arguments, *sets]) == 0
    said = capsys.readouterr().out
    assert out.stat().st_size > 10_000
    assert str(out) in said
    assert "error_spike" in said
    assert main([]) == 0
    assert "hardware_throttling" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["healthy"], ["nonsense", "--out", "x.jsonl"], ["healthy", "--out", "x.csv"],
     ["healthy", "--out", "x.jsonl", "--set", "colour=1"], ["healthy", "--out", "x.jsonl", "--set", "seed"]],
)  # fmt: skip
def test_wrong_use_ends_with_2(tmp_path, monkeypatch, arguments):
    """A missing file name, an unknown scenario, format or field, no number: exit 2, nothing written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert not list(tmp_path.iterdir())
