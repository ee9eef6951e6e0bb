"""Calls that are in a recording twice are told, by a count for which memory is bounded."""

import json
import re
import tracemalloc

import pytest
from typer.testing import CliRunner

from detector.cli.main import build
from detector.lab.repeats import Repeats
from tests.unit.lab.test_replay import CONTRACT
from topics.telemetry import TelemetryRecord

T0 = 1_700_000_000.0


def call(number=0, **more):
    fields = {"event_time": T0 + number, "route": "chat", "request_id": f"id-{number}"}
    return TelemetryRecord(**fields | more)


def counted(calls, kept=1 << 16):
    """The number that is told, and whether it is an estimate."""
    repeats = Repeats(kept)
    for each in calls:
        repeats.take(each)
    found = re.match(r"(about )?([\d,]+) rows? tells? of a call that a row before", repeats.said())
    return (int(found[2].replace(",", "")), bool(found[1])) if found else (0, False)


def test_every_row_but_the_first_of_a_call_is_a_repeat():
    """However far apart they lie."""
    once = [call(number) for number in range(1000)]

    assert counted(once) == (0, False)
    assert counted([*once, call(3)]) == (1, False)
    assert counted([*once, *once[:300], *once[:100]]) == (400, False)


@pytest.mark.parametrize(
    "other",
    [
        {"event_time": T0 + 0.5},
        {"route": "code"},
        {"deployment": "eu"},
        {"served_by": "rule"},
        {"request_id": ""},
    ],
)
def test_a_second_attempt_and_the_answer_of_a_fallback_are_no_repeats(other):
    """They share the id of the first, and are calls of their own; without an id nothing can be told."""
    assert counted([call(), call(**other), call(request_id="")]) == (0, False)


def test_of_many_calls_repeats_are_estimated_within_bounded_memory():
    """From a sample that is even over all ids: 20,000 repeats of 100,000 calls, of which 1,000 are kept."""
    calls = [*map(call, range(100_000)), *map(call, range(40_000, 60_000))]
    repeats = Repeats(1000)
    tracemalloc.start()
    for each in calls:
        repeats.take(each)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    number, estimated = counted(calls, 1000)

    assert estimated
    assert number == pytest.approx(20_000, rel=0.3)
    assert peak < 1 << 20


@pytest.mark.parametrize("verb", ["replay", "sweep", "calibrate", "budget"])
def test_every_verb_that_reads_files_tells_of_repeats(verb, tmp_path):
    """The same file twice, and the rows count as they stand."""
    file, contract = tmp_path / "calls.jsonl", tmp_path / "contract.yaml"
    rows = [
        {"event_time": T0 + i / 10, "route": "chat", "error": "", "request_id": f"{i}"} for i in range(900)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    contract.write_text(CONTRACT)
    options = {
        "replay": [file, file, "--contract", contract],
        "sweep": [file, file, "--contract", contract, "--set", "predicates.errors.ceiling=0.01"],
        "calibrate": [file, file, "--contract", contract, "--out", tmp_path / "out.yaml"],
        "budget": [contract, "--telemetry", file, "--telemetry", file],
    }[verb]
    result = CliRunner().invoke(build(), [verb, *map(str, options)])

    assert "detector: 900 rows tell of a call that a row before told of already" in result.stderr
