"""Rows that come too late to be judged: how many there are, and what helps where files overlap in time."""

import json
import re
import warnings

import pytest
from typer.testing import CliRunner

from detector import lab
from detector.cli.main import build
from detector.lab.files import Malformed
from detector.lab.report import many_late, unjudged

T0 = 1_700_000_000
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
MERGE = "merge those of one route that overlap in time, or give each by itself"


@pytest.fixture
def contract(tmp_path):
    file = tmp_path / "contract.yaml"
    file.write_text(CONTRACT)
    return file


def csv(path, times, route="chat"):
    path.write_text("\n".join(["event_time,route,error", *(f"{T0 + at},{route}," for at in times)]))
    return path


def command(*args):
    return CliRunner().invoke(build(), [*map(str, args)])


def judged(stdout):
    """(judged, of all, too late) of the first line of a summary."""
    found = re.match(
        r"([\d,]+) of ([\d,]+) records judged in .*, 0 malformed, ([\d,]+) too late to be judged", stdout
    )
    assert found is not None, stdout
    return tuple(int(each.replace(",", "")) for each in found.groups())


@pytest.mark.parametrize("verb", ["replay", "sweep"])
def test_rows_of_files_that_overlap_are_not_said_to_be_judged(contract, tmp_path, verb):
    """The second file begins where the first one did: merging helps, no order of the files does."""
    files = [csv(tmp_path / f"{name}.csv", range(1000)) for name in ("conv", "code")]
    options = {"replay": [], "sweep": ["--set", "predicates.errors.ceiling=0.01"]}[verb]
    result = command(verb, *files, "--contract", contract, *options)
    document = json.loads(command(verb, *files, "--contract", contract, *options, "--json").stdout)
    late = document["late"]

    assert result.exit_code == 0
    assert 0 < late < 1000
    assert document["records"] == 2000
    if verb == "replay":
        assert judged(result.stdout) == (2000 - late, 2000, late)
    else:
        assert f"2,000 records, 0 malformed, {late} too late to be judged, 1 setting" in result.stdout
    assert f"{late} of 2,000 records are older than every window and were not judged" in result.stderr
    assert MERGE in result.stderr


def test_what_is_advised_of_files_that_overlap_helps(contract, tmp_path):
    """Merged by time, of different routes, or given one by one, all rows are judged."""
    conv, code = csv(tmp_path / "conv.csv", range(1000)), csv(tmp_path / "code.csv", range(1000))
    merged = csv(tmp_path / "merged.csv", sorted([*range(1000), *range(1000)]))
    other = csv(tmp_path / "other.csv", range(1000), route="code")

    for files in ([merged], [conv, other], [conv], [code]):
        result = command("replay", *files, "--contract", contract)
        assert re.match(r"[12],000 records judged in .*, 0 malformed, 0 late", result.stdout)
        assert "older than every window" not in result.stderr


def test_of_one_file_nothing_is_said_of_others(contract, tmp_path):
    """Its rows are to be sorted by time."""
    file = csv(tmp_path / "calls.csv", [*range(1000), *range(300)])
    result = command("replay", file, "--contract", contract)

    assert "were not judged: sort the rows by time" in result.stderr
    assert "overlap" not in result.stderr


def test_files_most_of_whose_rows_are_late_are_told_of_overlaps(contract, tmp_path):
    """Three files over the same time: none is in descending order."""
    files = [csv(tmp_path / f"{name}.csv", range(1000)) for name in "abc"]
    result = command("replay", *files, "--contract", contract)

    assert result.exit_code == 1
    assert "rows are late: is a file in descending time order, or do files overlap?" in result.stderr
    assert MERGE in result.stderr
    with pytest.warns(UserWarning, match=MERGE):
        lab.replay(files, contract)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lab.replay(files[0], contract)


def test_one_row_is_not_several():
    """Whatever is counted."""
    assert "1 of 100 records is older" in many_late(1, 100)
    assert "2 of 100 records are older" in many_late(2, 100)
    shown = (Malformed("calls.csv", 0, "$.route", "expected a name"),)
    assert unjudged(0, 0, 1, shown) == (
        "the only row is no record: calls.csv row 0 at $.route: expected a name",
    )
    assert unjudged(1, 0, 2, shown)[0].endswith("; only the other record counts")
