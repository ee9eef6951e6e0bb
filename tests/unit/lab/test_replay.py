"""`replay`: the same decisions however the input is cut, in the form that the surface promises."""

import json
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from detector.cli.main import build
from detector.contract.loader import load_contract
from detector.lab.outcome import activations_of, digest_of
from detector.lab.replay import replay, replay_rows
from topics.telemetry import TelemetryRecord

T0 = 1_700_000_000
CONTRACT = """
version: 1
predicates:
  errors: {type: rate, field: error, ceiling: 0.01}
  output_drift: {type: divergence, field: output_tokens, threshold_nats: 0.07, window_s: 10}
modes:
  error_spike: {when: errors}
  token_drift: {when: output_drift}
fallbacks:
  rule: {type: rule, p99_ms: 20, share: 1}
matrix:
  - {mode: "*", input_class: "*", fallbacks: [rule]}
"""
JSON_KEYS = {
    "records",
    "malformed",
    "late",
    "first_event_time",
    "last_event_time",
    "elapsed_s",
    "activations",
    "armed",
    "digest",
}


def traffic(seed=0, routes=("chat", "code", "search")):
    """A minute of three routes, 20 calls a second, up to a second out of order; `code` fails for a while."""
    draw = random.Random(seed)
    for i in range(60 * 20):
        for route in routes:
            at = T0 + i / 20 + draw.random()
            faulty = route == "code" and 30 <= i / 20 < 40
            yield TelemetryRecord(
                event_time=at,
                route=route,
                output_tokens=None if faulty else int(draw.lognormvariate(5, 1)),
                error="500" if faulty else "",
            )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    file = tmp_path_factory.mktemp("recorded") / "calls.jsonl"
    lines = [msgspec.json.encode(record) for record in traffic()]
    lines.insert(100, b"not a record")
    file.write_bytes(b"\n".join(lines))
    return file


@pytest.fixture(scope="module")
def contract():
    return load_contract(CONTRACT)


@pytest.fixture(scope="module")
def whole(recorded, contract):
    return replay([recorded], contract)


def test_a_burst_of_errors_is_one_activation_of_its_route(whole):
    """The fault is detected where and when it is, and nothing else is."""
    assert [(each.scope, each.mode) for each in whole.activations] == [("code", "error_spike")]
    activation = whole.activations[0]
    assert T0 + 30 <= activation.activated_at <= T0 + 32
    assert activation.evidence.predicate == "errors"


def test_evidence_names_the_row_that_crossed_the_line(whole, recorded):
    """The offset is the row's index in the file, malformed rows included: here a failed call of the route."""
    rows = recorded.read_bytes().split(b"\n")
    record = msgspec.json.decode(rows[whole.activations[0].evidence.offset], type=TelemetryRecord)

    assert (record.route, record.error) == ("code", "500")
    assert whole.records == len(rows) - 1
    assert (whole.malformed, whole.shown[0].row) == (1, 100)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 5000))
def test_the_digest_does_not_depend_on_batches(recorded, contract, whole, batch):
    """Any size of batch gives the same decisions."""
    assert replay([recorded], contract, batch=batch).digest == whole.digest


@pytest.mark.parametrize("partitions", [2, 3, 8])
def test_the_digest_does_not_depend_on_partitions(recorded, contract, whole, partitions):
    """One pipeline or one per partition come to the same decisions, on the same rows."""
    assert replay([recorded], contract, partitions=partitions).digest == whole.digest


def test_a_file_cut_in_two_is_the_same_stream(recorded, contract, whole, tmp_path):
    """Row indices and time go on from one file to the next."""
    lines = recorded.read_bytes().split(b"\n")
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    first.write_bytes(b"\n".join(lines[:1000]))
    second.write_bytes(b"\n".join(lines[1000:]))

    assert replay([first, second], contract).digest == whole.digest


def test_other_input_gives_another_digest(contract, tmp_path, whole):
    """The digest is of the decisions: without the fault it is that of no decisions."""
    file = tmp_path / "calm.jsonl"
    file.write_bytes(b"\n".join(msgspec.json.encode(record) for record in traffic(routes=("chat",))))
    calm = replay([file], contract)

    assert calm.decisions == ()
    assert calm.digest == digest_of([]) != whole.digest


def test_an_activation_ends_with_its_own_deactivation(whole):
    """Activated and deactivated are paired scope by scope; one without an end is open."""
    ended = [each for each in whole.decisions if each.kind == "deactivated"]
    unfinished = [each for each in whole.decisions if each.kind != "deactivated"]

    assert [each.deactivated_at for each in activations_of(whole.decisions)] == [
        each.at for each in ended
    ] or [None]
    assert [each.deactivated_at for each in activations_of(unfinished)] == [None]


def test_an_empty_file_is_no_error(contract, tmp_path):
    """No rows, no decisions, no bounds of time."""
    file = tmp_path / "empty.csv"
    file.touch()
    result = replay([file], contract)

    assert (result.records, result.malformed, result.activations, result.first_event_time) == (0, 0, (), None)


@pytest.mark.parametrize(("verb", "code"), [("replay", 0), ("sweep", 1), ("calibrate", 1)])
def test_of_no_rows_every_verb_speaks_and_only_replay_has_its_answer(contract_file, tmp_path, verb, code):
    """In no calls nothing is wrong; a comparison and a calibration of nothing are none."""
    (tmp_path / "empty.jsonl").touch()
    out = tmp_path / "out.yaml"
    options = {"sweep": ["--set", "predicates.errors.ceiling=0.01"], "calibrate": ["--out", out]}
    args = [verb, tmp_path / "empty.jsonl", "--contract", contract_file, *options.get(verb, [])]
    result = CliRunner().invoke(build(), [*map(str, args)])

    assert result.exit_code == code
    assert "detector: no record to learn from" in result.stderr or "there are no rows" in result.stderr
    assert not out.exists()


def command(*args):
    return CliRunner().invoke(build(), ["replay", *map(str, args)])


@pytest.fixture(scope="module")
def contract_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("contract") / "contract.yaml"
    file.write_text(CONTRACT)
    return file


def test_json_output_is_one_document_with_the_keys_promised(recorded, contract_file, whole):
    """stdout is exactly the document of the surface, whatever goes to stderr."""
    result = command(recorded, "--contract", contract_file, "--json")
    document = json.loads(result.stdout)

    assert result.exit_code == 0
    assert set(document) == JSON_KEYS
    assert document["digest"] == whole.digest
    assert set(document["activations"][0]) == {
        "scope",
        "mode",
        "predicate",
        "disposition",
        "activated_at",
        "deactivated_at",
        "evidence",
    }


def test_text_output_names_what_was_detected_and_what_was_malformed(recorded, contract_file):
    """A person sees scope, mode, evidence and the bad row."""
    result = command(recorded, "--contract", contract_file)

    assert result.exit_code == 0
    for word in ("code", "error_spike", "errors", "row 100", "digest"):
        assert word in result.stdout


CALIBRATED = """
calibration:
  routes:
    chat:
      records_per_s: 20
      predicates:
        errors: {records: 100000, rate: 0.05, ceiling: 0.06, run_length: 1.0e+06, usable: false}
"""


def test_what_calibration_found_unusable_is_said_at_once_and_not_acted_on():
    """No burst has to come first; nor is it acted on after hours that were better."""
    draw = random.Random(1)
    bad = [0.05] * 60 + [0.0] * 120 + [0.05] * 120  # a second each
    rows = [
        TelemetryRecord(
            event_time=T0 + i / 20, route="chat", error="500" if draw.random() < bad[i // 20] else ""
        )
        for i in range(300 * 20)
    ]
    found = replay_rows(iter(rows), load_contract(CONTRACT + CALIBRATED))

    first = found.notices[0]
    assert (first.predicate, first.scope) == ("errors", "chat")
    assert "is unusable" in first.reason
    assert first.at < T0 + 5
    assert found.activations == ()


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_a_predicate_that_cannot_be_used_is_named(contract_file, tmp_path, json_option):
    """Traffic that fails at 5 % from its first record on has a ceiling that is wrong, which is no silence."""
    draw = random.Random(1)
    rows = [
        {"event_time": T0 + i / 20, "route": "chat", "error": "500" if draw.random() < 0.05 else ""}
        for i in range(6000)
    ]
    (tmp_path / "bad.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    result = command(tmp_path / "bad.jsonl", "--contract", contract_file, *json_option)

    assert result.exit_code == 0
    said = result.stderr if json_option else result.stdout
    assert said.count("errors is unusable") == 1
    assert not json_option or json.loads(result.stdout)["activations"] == []


def test_one_row_stamped_a_year_ahead_does_not_deafen_the_rest(recorded, contract_file, whole, tmp_path):
    """What comes behind it is judged as without it, and it is counted."""
    rows = recorded.read_bytes().split(b"\n")
    odd = TelemetryRecord(event_time=T0 + 31_536_000, route="chat", output_tokens=100)
    (tmp_path / "odd.jsonl").write_bytes(b"\n".join([*rows[:500], msgspec.json.encode(odd), *rows[500:]]))
    document = json.loads(command(tmp_path / "odd.jsonl", "--contract", contract_file, "--json").stdout)
    (found,) = document["activations"]

    assert found["activated_at"] == whole.activations[0].activated_at
    assert document["late"] == whole.late
    assert document["last_event_time"] == whole.last_event_time
    assert "1 stamped too far ahead" in command(tmp_path / "odd.jsonl", "--contract", contract_file).stdout


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_a_file_without_a_record_is_something_wrong(contract_file, tmp_path, json_option):
    """A unit that was forgotten: exit code 1, and the path to the first fault."""
    (tmp_path / "ms.csv").write_text(f"event_time,route\n{T0}000,chat\n{T0}001,chat\n", "utf-8")
    result = command(tmp_path / "ms.csv", "--contract", contract_file, *json_option)

    assert result.exit_code == 1
    assert "not one of 2 rows" in result.stderr
    assert "$.event_time" in result.stderr
    assert not json_option or json.loads(result.stdout)["malformed"] == 2


@pytest.mark.parametrize(
    "args", [["no-such.csv"], ["{recorded}", "--map", "x=y"], ["{recorded}", "--time-unit", "h"]]
)
def test_wrong_use_exits_with_2_and_no_traceback(args, recorded, contract_file):
    """Missing files and impossible options are explained."""
    result = command(*(arg.format(recorded=recorded) for arg in args), "--contract", contract_file)

    assert result.exit_code == 2
    assert result.stderr.startswith("detector: ")


def test_a_contract_that_cannot_run_is_wrong_use(recorded, tmp_path):
    """Every finding goes to stderr with its place."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nmodes: {x: {when: nothing}}\n")
    result = command(recorded, "--contract", bad)

    assert result.exit_code == 2
    assert f"{bad}:2:" in result.stderr


@pytest.mark.parametrize(("old", "told"), [(9, False), (20, True)])
def test_many_rows_that_came_too_late_are_told_beside_the_document(contract_file, tmp_path, old, told):
    """A file that is not in order is judged in part, and its digest does not say so."""
    rows = [{"event_time": T0 + at, "route": "chat"} for at in (*range(9000, 10_000), *range(old))]
    (tmp_path / "old.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    result = command(tmp_path / "old.jsonl", "--contract", contract_file, "--json")

    assert json.loads(result.stdout)["late"] == old
    assert (f"{old} of {1000 + old:,} records are older than every window" in result.stderr) is told


def test_a_start_given_for_absolute_times_is_something_wrong(recorded, contract_file):
    """No row is judged half a century ahead."""
    result = command(recorded, "--contract", contract_file, "--start", "2026-01-01")

    assert result.exit_code == 1
    assert "at $.event_time: expected a time relative to the start" in result.stderr


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_a_file_that_begins_with_its_end_is_something_wrong(contract_file, tmp_path, json_option):
    """Newest first: nearly all rows are late, which "nothing detected" does not tell."""
    rows = [{"event_time": T0 + at, "route": "chat"} for at in range(5000, 0, -1)]
    (tmp_path / "down.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    result = command(tmp_path / "down.jsonl", "--contract", contract_file, *json_option)

    assert result.exit_code == 1
    assert (
        "of 5,000 rows are late: is the file in descending time order? sort the rows by time" in result.stderr
    )
    assert "detector:" not in result.stdout


@pytest.mark.parametrize("json_option", [[], ["--json"]])
@pytest.mark.parametrize(("bad", "code"), [(50, 0), (51, 1)])
def test_a_file_that_is_mostly_malformed_is_something_wrong(contract_file, tmp_path, bad, code, json_option):
    """Over half; the row that is named has the fault that most have, and the advice is beside it."""
    good = [{"event_time": T0 + at, "route": "chat"} for at in range(50)]
    odd = {"event_time": T0, "route": "chat", "latency_s": -1}
    rows = [*good, odd, *({"event_time": (T0 + at) * 1000, "route": "chat"} for at in range(bad - 1))]
    (tmp_path / "odd.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    result = command(tmp_path / "odd.jsonl", "--contract", contract_file, *json_option)

    assert result.exit_code == code
    assert (f"{bad} of {50 + bad} rows are malformed, such as " in result.stderr) is bool(code)
    assert ("say --time-unit ms" in result.stderr) is bool(code)


@pytest.mark.parametrize("verb", ["sweep", "calibrate"])
def test_other_verbs_tell_of_rows_that_are_mostly_no_records(verb, contract_file, tmp_path):
    """A comparison, or a calibration, from the smaller part is made all the same, and ends with 1."""
    rows = [{"event_time": T0 + at, "route": "chat" if at < 200 else None} for at in range(500)]
    (tmp_path / "odd.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    out = tmp_path / "out.yaml"
    options = {"sweep": ["--set", "predicates.errors.ceiling=0.01"], "calibrate": ["--out", out]}[verb]
    args = [verb, tmp_path / "odd.jsonl", "--contract", contract_file, *options]
    result = CliRunner().invoke(build(), [*map(str, args)])

    assert result.exit_code == 1
    assert "300 of 500 rows are malformed" in result.stderr
    assert out.exists() is (verb == "calibrate")


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_predicate_for_one_route_is_armed_for_a_share_of_its_records(partitions):
    """Records of others do not count, wherever they lie; one for a route that never came is never armed."""
    text = CONTRACT.replace("error, ceiling: 0.01}", "error, ceiling: 0.01, where: {route: search}}")
    rows = sorted(traffic(), key=lambda each: each.event_time)
    everywhere = replay_rows(rows, load_contract(CONTRACT), partitions=partitions)
    one = replay_rows(rows, load_contract(text), partitions=partitions)
    nowhere = replay_rows(rows, load_contract(text.replace("search", "serach")), partitions=partitions)

    assert 0.9 < one.armed["errors"] == pytest.approx(everywhere.armed["errors"], abs=0.02)
    assert nowhere.armed["errors"] == 0.0
    assert {each.scope for each in everywhere.activations if each.mode == "error_spike"} == {"code"}
    assert [each for each in one.activations if each.mode == "error_spike"] == []
