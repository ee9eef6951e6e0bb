"""Files of incidents: read in all the forms that people and programs write, written whole or not at all."""

import os

import pytest

from detector.lab.incidents import Incident, IncidentError, read_incidents, write_labels
from detector.lab.simulator import simulate, write_incidents


def test_what_the_simulator_writes_is_read(tmp_path):
    """The simulator's labels are faults, times exact."""
    truth = simulate("neighbours", seed=1).incidents
    write_incidents(tmp_path / "truth.csv", truth)

    assert [
        (each.scope, each.mode, each.start, each.end) for each in read_incidents(tmp_path / "truth.csv")
    ] == [(each.scope, each.mode, each.start, each.end) for each in truth]


def test_written_and_read_again_is_the_same_further_columns_too(tmp_path):
    """Times keep every digit, labels and columns of one's own are kept."""
    file = tmp_path / "incidents.csv"
    file.write_text(
        "who,scope,mode,from,to,label\nann,chat,error_spike,2026-01-01T00:00:00Z,1767225660.123456,\n"
        "bob,chat@eu,input_drift,1767225600,1767225602,benign\n"
    )
    first = read_incidents(file)
    write_labels(file, first)
    second = read_incidents(file)

    assert (
        second
        == first
        == [
            Incident("chat", "error_spike", 1767225600.0, 1767225660.123456),
            Incident("chat@eu", "input_drift", 1767225600.0, 1767225602.0, "benign"),
        ]
    )
    assert [each.more for each in second] == [{"who": "ann"}, {"who": "bob"}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scope,mode,from\n", "no column to"),
        ("scope,mode,from,to\nchat,x,now,1767225600\n", ":2: from: "),
        ("scope,mode,from,to\nchat,x,1767225602,1767225600\n", ":2: it ends before it begins"),
        (
            "scope,mode,from,to\nchat,x,1767225600,1767225660\nchat,x,1767225600000,1767225660000\n",
            ":3: from: expected Unix seconds in the years 2000 to 2100, got 1767225600000",
        ),
        ("scope,mode,from,to\nchat,x,1767225600,2200-01-01\n", ":2: to: expected Unix seconds"),
        ("scope,mode,from,to,label\nchat,x,1767225600,1767225602,maybe\n", ":2: label 'maybe'"),
        ("scope,mode,from,to\n,x,1767225600,1767225602\n", ":2: no scope"),
    ],
)
def test_a_bad_file_is_refused_with_its_row(tmp_path, text, says):
    """The message names the line and the fault."""
    file = tmp_path / "incidents.csv"
    file.write_text(text)
    with pytest.raises(IncidentError, match=r"incidents\.csv") as caught:
        read_incidents(file)

    assert says in str(caught.value)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    """Readers see one version or the other."""
    file = tmp_path / "incidents.csv"
    write_labels(file, [Incident("chat", "x", 1, 2)])
    before = file.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_labels(file, [Incident("chat", "x", 3, 4)])

    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == [file.name]
