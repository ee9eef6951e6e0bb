"""Malformed rows are told on stderr: by file where they are many, by one example where they are few."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from detector.cli.main import build
from detector.lab import replay
from tests.unit.lab.test_replay import CONTRACT, T0

ROWS = [{"event_time": T0 + i / 10, "route": "chat", "latency_s": 0.1} for i in range(990)]
SLOW = {"event_time": T0, "route": "chat", "latency_s": -1.0}


def write(path, bad, rows=ROWS):
    rows = [*rows[:17], *[SLOW] * bad, *rows[17:]]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ROWS[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    return path


def command(folder, verb, *files):
    contract = folder / "contract.yaml"
    contract.write_text(CONTRACT)
    args = {
        "replay": [*files, "--contract", contract],
        "sweep": [*files, "--contract", contract, "--set", "predicates.errors.ceiling=0.01"],
        "calibrate": [*files, "--contract", contract, "--out", folder / "out.yaml"],
        "budget": [contract, *(part for file in files for part in ("--telemetry", file))],
    }[verb]
    return CliRunner().invoke(build(), [verb, *map(str, args)])


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("verb", ["replay", "sweep", "calibrate", "budget"])
def test_more_than_one_row_in_a_hundred_is_told_with_the_count_and_the_first(tmp_path, verb, kind):
    """Of that file alone; the exit code stays what it is, as most of the rows count."""
    many, few = write(tmp_path / f"many.{kind}", 11), write(tmp_path / f"few.{kind}", 10)
    result = command(tmp_path, verb, few, many)
    lines = [line for line in result.stderr.splitlines() if "malformed" in line]

    assert result.exit_code == 0, result.stderr
    assert lines == [
        f"detector: {many}: 11 of 1,001 rows are malformed and left out, the first of them "
        "row 17 at $.latency_s: Expected `float` >= 0.0"
    ]


@pytest.mark.parametrize("verb", ["replay", "sweep", "calibrate"])
def test_a_file_alone_that_is_mostly_malformed_is_told_once(tmp_path, verb):
    """As what is wrong; beside a good one it is a warning, whatever the whole."""
    bad, good = write(tmp_path / "bad.jsonl", 300, ROWS[:200]), write(tmp_path / "good.jsonl", 0)
    alone, beside = command(tmp_path, verb, bad), command(tmp_path, verb, good, bad)

    assert (alone.exit_code, alone.stderr.count("malformed")) == (1, 1)
    assert "300 of 500 rows are malformed, such as" in alone.stderr
    assert beside.exit_code == 0
    assert f"{bad}: 300 of 500 rows are malformed and left out" in beside.stderr


def test_late_verdicts_are_told_alike(tmp_path):
    """A file of their own, whose rows are no calls."""
    verdict = {"event_time": T0 + 5, "route": "chat", "request_id": "1"}
    verdicts = tmp_path / "verdicts.jsonl"
    verdicts.write_text("\n".join(map(json.dumps, [verdict, verdict | {"name": "x", "failed": True}])))
    result = command(tmp_path, "replay", write(tmp_path / "a.jsonl", 0), "--evaluations", verdicts)

    assert f"{verdicts}: 1 of 2 rows is malformed" in result.stderr
    assert "row 0 at $: Object missing required field `name`" in result.stderr


def test_a_notebook_is_warned_once():
    """A frame has no other place to say it."""
    frame = pa.Table.from_pylist([row | {"error": ""} for row in [*ROWS, *[SLOW] * 20]])
    with pytest.warns(
        UserWarning, match=r"^frame: 20 of 1,010 rows are malformed .* row 990 at \$\.latency_s"
    ) as told:
        replay(frame, CONTRACT)

    assert len([each for each in told if "malformed" in str(each.message)]) == 1
