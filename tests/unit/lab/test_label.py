"""`label`: a person's word on an activation, once, whole, and where `sweep` reads it."""

import json

import pytest
from typer.testing import CliRunner

from detector.cli.main import build
from detector.lab.incidents import Incident, read_incidents, write_labels
from detector.lab.label import (
    LabelError,
    candidates_of_replay,
    candidates_of_transitions,
    choose,
    write_label,
)
from detector.lab.matching import match
from detector.lab.outcome import Activation
from topics.control import ControlRecord, Evidence

T0 = 1_700_000_000.0
OUT = {
    "records": 9000,
    "last_event_time": T0 + 900,
    "activations": [
        {
            "scope": scope,
            "mode": mode,
            "predicate": "p",
            "disposition": "act",
            "activated_at": T0 + start,
            "deactivated_at": None if end is None else T0 + end,
            "evidence": {"predicate": "p", "event_time": T0 + start, "window_s": window},
        }
        for scope, mode, start, end, window in (
            ("chat", "error_spike", 100, 130, None),
            ("chat", "token_drift", 500, 560, 300),
            ("code", "error_spike", 700, None, None),
        )
    ],
}


@pytest.fixture
def out(tmp_path):
    file = tmp_path / "out.json"
    file.write_text(json.dumps(OUT))
    return file


def command(*args):
    return CliRunner().invoke(build(), ["label", *map(str, args)])


def test_an_activation_labelled_true_is_true_in_a_sweep(out, tmp_path):
    """What label writes, matching counts: the activation itself, and one that other settings start sooner."""
    file = tmp_path / "incidents.csv"
    result = command("code", "true", "--incidents", file, "--replay", out)
    incidents = read_incidents(file)
    sooner = [Activation(**{**OUT["activations"][2], "activated_at": T0 + 650, "evidence": Evidence()})]

    assert result.exit_code == 0, result.stderr
    assert [(each.scope, each.mode, each.end) for each in incidents] == [("code", "error_spike", T0 + 900)]
    assert len(match(sooner, incidents, longest_window_s=0).found) == 1


def test_the_second_time_changes_nothing_and_another_word_replaces_the_first(out, tmp_path):
    """Idempotent to the byte; one row per activation."""
    file = tmp_path / "incidents.csv"
    args = ["--incidents", file, "--replay", out, "--json"]
    first = json.loads(command("0", "true", *args).stdout)
    written = file.read_bytes()
    second = json.loads(command("0", "true", *args).stdout)
    assert (first["changed"], second["changed"], file.read_bytes()) == (True, False, written)

    command("0", "benign", *args)
    assert [each.label for each in read_incidents(file)] == ["benign"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("first", ["false", "benign", "true"])
def test_the_lead_of_a_label_leaves_other_labelled_rows_alone(out, tmp_path, first, order):
    """A drift's window reaches over an activation before it, which has a word of its own."""
    file = tmp_path / "incidents.csv"
    document = json.loads(out.read_text())
    document["activations"][0] |= {"activated_at": T0 + 300, "deactivated_at": T0 + 330}
    document["activations"][0]["evidence"]["event_time"] = T0 + 300
    out.write_text(json.dumps(document))
    words = {0: first, 1: "true"}
    for place in order:
        assert command(str(place), words[place], "--incidents", file, "--replay", out).exit_code == 0

    activations = candidates_of_replay(out)
    told = [Activation(**{**each, "evidence": Evidence()}) for each in document["activations"][:2]]
    result = match(told, read_incidents(file), longest_window_s=0)
    of = {"false": result.false, "benign": result.benign, "true": [each for _, each in result.found]}
    if order == (0, 1):
        (drift,) = [each for each in read_incidents(file) if each.mode == "token_drift"]
        assert drift.start == activations[0].end
    if order == (0, 1) or first != "benign":
        assert activations[0].start in [each.start for each in of[first]]
        assert activations[1].start in [each.start for _, each in result.found]


def test_a_label_can_change_to_false_and_back(out, tmp_path):
    """One row all the while; what is false has no lead, what is true has it again."""
    file = tmp_path / "incidents.csv"
    rows = []
    for word in ("true", "false", "false", "true"):
        assert command("1", word, "--incidents", file, "--replay", out).exit_code == 0
        rows += read_incidents(file)

    assert [(each.label, each.start - T0) for each in rows] == [
        ("true", 200),
        ("false", 500),
        ("false", 500),
        ("true", 200),
    ]


def test_a_row_made_by_hand_is_neither_doubled_nor_overruled(out, tmp_path):
    """An incident whose real time is known keeps it; the opposite needs its exact time."""
    file = tmp_path / "incidents.csv"
    known = Incident("chat", "error_spike", T0 + 95, T0 + 125)
    write_labels(file, [known])
    candidate = candidates_of_replay(out)[0]

    assert write_label(file, candidate, "true") == (known, False)
    with pytest.raises(LabelError, match="give these as --from and --to"):
        write_label(file, candidate, "false")
    changed, _ = write_label(file, candidate, "false", start=known.start, end=known.end)
    assert read_incidents(file) == [changed]
    assert changed.label == "false"


@pytest.mark.parametrize(
    ("name", "at", "says"),
    [
        ("chat", None, "2 activations"),
        ("chat", T0 + 300, "at that time"),
        ("7", None, "chat, code"),
        ("x", None, "chat, code"),
    ],
)
def test_an_activation_that_is_not_one_is_refused_with_what_there_is(out, name, at, says):
    """The message says what could be meant."""
    with pytest.raises(LabelError, match=says):
        choose(candidates_of_replay(out), name, at)


def test_a_time_tells_the_activations_of_a_scope_apart(out):
    """`--at` is any moment at which it was open."""
    assert choose(candidates_of_replay(out), "chat", T0 + 520).mode == "token_drift"


def test_transitions_make_activations():
    """From the first active transition to the inactive one, repeats of the same event left out."""

    def record(at, state, event, mode="error_spike", disposition="act", scope="chat"):
        return ControlRecord(
            scope=scope,
            route=scope,
            state=state,
            mode=mode,
            issued_at=T0 + at,
            event_id=event,
            disposition=disposition,
            evidence=Evidence(predicate="p", event_time=T0 + at - 1),
        )

    found = candidates_of_transitions(
        [
            record(10, "active", "a"),
            record(11, "active", "n", "telemetry_silence", "notice"),
            record(20, "active", "b"),
            record(20, "active", "b"),
            record(30, "inactive", "c"),
            record(35, "inactive", "m", "telemetry_silence", "notice"),
            record(50, "active", "d", scope="code"),
        ]
    )

    assert [(each.id, each.scope, each.start - T0, each.end - T0) for each in found] == [
        ("a", "chat", 9, 30),
        ("n", "chat", 10, 35),
        ("d", "code", 49, 50),
    ]


@pytest.mark.parametrize("args", [["0", "maybe"], ["nope", "true"], ["0", "true", "--from", "noon"]])
def test_wrong_use_exits_with_2_and_writes_nothing(out, tmp_path, args):
    """No file is made by a command that was wrong."""
    file = tmp_path / "incidents.csv"
    result = command(*args, "--incidents", file, "--replay", out)

    assert (result.exit_code, file.exists()) == (2, False)
    assert result.stderr.startswith("detector: ")


@pytest.mark.parametrize("option", ["--at", "--from", "--to"])
def test_a_time_that_is_none_is_told_with_its_option(out, tmp_path, option):
    """There are three of them."""
    file = tmp_path / "incidents.csv"
    result = command("chat", "true", "--incidents", file, "--replay", out, option, "yesterday")

    assert result.exit_code == 2
    assert f"detector: {option}: expected an ISO 8601 time, got 'yesterday'" in result.stderr


def test_a_notice_is_labelled_by_its_id_and_stands_in_for_no_activation(tmp_path):
    """An activation never is a notice; one that comes after it must not take its place."""
    notice = {**OUT["activations"][0], "scope": "code", "disposition": "notice"}
    file = tmp_path / "out.json"
    file.write_text(json.dumps({**OUT, "activations": [*OUT["activations"], notice]}))
    candidates = candidates_of_replay(file)

    assert choose(candidates, "code").id == "2"
    assert choose(candidates, "3").mode == "error_spike"
