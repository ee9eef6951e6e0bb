"""`sweep`: each setting decides as a replay of its own would, and is measured by the terms."""

import json
import random
import re
from itertools import pairwise

import msgspec
import pytest
from typer.testing import CliRunner

from detector.cli.main import build
from detector.contract.loader import load_contract
from detector.lab.columns import Columns
from detector.lab.files import read_rows
from detector.lab.incidents import Incident, write_labels
from detector.lab.replay import replay
from detector.lab.settings_grid import SettingError, grid, parse_sets
from detector.lab.sweep import sweep, sweep_rows
from detector.lab.sweep_measure import Calls, Stretch
from detector.lab.sweep_report import as_text
from topics.telemetry import TelemetryRecord

T0 = 1_700_000_000
CONTRACT = """
version: 1
predicates:
  errors: {type: rate, field: error, ceiling: 0.01}
  output.drift: {type: divergence, field: output_tokens, threshold_nats: 0.07, window_s: 10}
modes:
  error_spike: {when: errors}
  token_drift: {when: output.drift}
fallbacks:
  rule: {type: rule, p99_ms: 20, share: 1}
matrix:
  - {mode: "*", input_class: "*", fallbacks: [rule]}
"""
FAULTS = [("chat", 60, 75, 0.9), ("chat", 300, 315, 0.9), ("chat", 420, 435, 0.25)]
INCIDENTS = [Incident(route, "error_spike", T0 + start, T0 + end) for route, start, end, _ in FAULTS]


def traffic():
    """Ten minutes of two routes, 10 calls a second each."""
    draw = random.Random(1)
    for i in range(6000):
        for route in ("chat", "code"):
            at = i / 10
            share = next((s for r, a, b, s in FAULTS if r == route and a <= at < b), 0.002)
            failed = draw.random() < share
            tokens = None if failed else int(draw.lognormvariate(5, 1))
            yield TelemetryRecord(
                event_time=T0 + at, route=route, output_tokens=tokens, error="500" if failed else ""
            )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    lines = [msgspec.json.encode(record) for record in traffic()]
    lines.insert(7, b"no record")
    (folder / "calls.jsonl").write_bytes(b"\n".join(lines))
    (folder / "contract.yaml").write_text(CONTRACT)
    write_labels(folder / "incidents.csv", INCIDENTS)
    return folder


@pytest.fixture(scope="module")
def swept(recorded):
    settings = grid(CONTRACT, "c", {"predicates.errors.ceiling": [0.01, 0.3, 0.6]})
    return sweep([recorded / "calls.jsonl"], settings, incidents=INCIDENTS, workers=1)


def test_a_setting_decides_as_a_replay_of_its_contract_does(recorded, swept):
    """Same digest, same shares armed: the lab judges by the production code."""
    for each in swept.tried:
        ceiling = each.setting.values["predicates.errors.ceiling"]
        contract = load_contract(CONTRACT.replace("ceiling: 0.01", f"ceiling: {ceiling}"))
        alone = replay([recorded / "calls.jsonl"], contract)
        # The contract's digest is of its text as it was written; all else is the same.
        assert [(each.scope, each.kind, each.at, each.evidence) for each in alone.decisions] == [
            (other.scope, other.kind, other.at, other.evidence) for other in each.decisions
        ]
        assert alone.armed == each.armed


def test_worker_processes_change_nothing(recorded, swept):
    """Two processes come to the decisions and measures of one."""
    settings = [each.setting for each in swept.tried]
    apart = sweep([recorded / "calls.jsonl"], settings, incidents=INCIDENTS, workers=2)

    assert [each.measures for each in apart.tried] == [each.measures for each in swept.tried]
    assert [each.digest for each in apart.tried] == [each.digest for each in swept.tried]
    assert (apart.records, apart.malformed) == (swept.records, swept.malformed) == (12000, 1)


def test_the_sharper_ceiling_finds_more_and_sooner(swept):
    """Found falls and delay grows with the ceiling; the choice is what makes the fewest mistakes."""
    found = [each.measures.found for each in swept.tried]

    assert found == sorted(found, reverse=True)
    assert found == [3, 2, 2]
    assert [each.chosen for each in swept.tried] == [True, False, False]
    assert swept.tried[0].pareto
    assert swept.tried[0].measures.delay_p50_s < swept.tried[1].measures.delay_p50_s
    assert swept.tried[-1].measures.diverted < swept.tried[0].measures.diverted


def test_a_split_shares_out_activations_and_incidents(recorded):
    """The parts add up to the whole, and what is held out does not enter the choice."""
    settings = grid(CONTRACT, "c", {"predicates.errors.ceiling": [0.01, 0.3]})
    whole, split = (
        sweep([recorded / "calls.jsonl"], settings, incidents=INCIDENTS, split=part, workers=1)
        for part in (None, 0.4)
    )
    for all_of_it, cut in zip(whole.tried, split.tried, strict=True):
        for count in ("found", "incidents", "false", "activations", "flaps"):
            both = getattr(cut.measures, count) + getattr(cut.held_out, count)
            assert getattr(all_of_it.measures, count) == both
    # One fault before the cut, which both find; the weak one after it tells them apart.
    assert [each.measures.found for each in split.tried] == [1, 1]
    assert [each.held_out.found for each in split.tried] == [2, 1]


def test_where_no_incident_begins_in_the_first_part_none_is_chosen(recorded, capsys):
    """All of them missed nothing there, the deafest too; it is said before the table."""
    settings = grid(CONTRACT, "c", {"predicates.errors.ceiling": [0.01, 0.3]})
    late = [each for each in INCIDENTS if each.start == max(one.start for one in INCIDENTS)]
    result = sweep([recorded / "calls.jsonl"], settings, incidents=late, split=0.4, workers=1)
    as_text(result)
    told = capsys.readouterr().out

    assert not any(each.chosen for each in result.tried)
    assert told.index("none is chosen") < told.index("chosen on the first part")


def test_without_incidents_nothing_is_called_false(recorded):
    """Counts of activations, and no verdict on them."""
    rows = read_rows([recorded / "calls.jsonl"], Columns())
    (only,) = sweep_rows(rows, grid(CONTRACT, "c", {})).tried

    assert (only.measures.activations, only.measures.false, only.measures.needless) == (3, None, None)
    assert not only.pareto
    assert not only.chosen


def flaps_with(failing):
    """Flaps, and what was acted on, where 40 calls a second fail as told."""
    rows = [
        TelemetryRecord(event_time=T0 + i / 40, route="chat", error="500" if failing(i / 40) else "")
        for i in range(6000)
    ]
    (only,) = sweep_rows(rows, grid(CONTRACT, "c", {})).tried
    return only.measures.flaps, [each for each in only.decisions if each.disposition == "act"]


def test_a_relapse_on_the_ramp_is_a_flap_and_the_ramp_after_many_probes_is_none():
    """Probes at a quarter of the calls are followed by a tenth, the first step of the way back."""
    flaps, decided = flaps_with(lambda at: 60 <= at < 75)
    shares = [each.primary_share for each in decided]
    assert (flaps, shares[0] > 0.1, shares[-3:]) == (0, True, [0.5, 1.0, 1.0])
    assert any(later < sooner for sooner, later in pairwise(shares))

    ramp = next(each.at for each in decided if each.primary_share == 0.5) - T0
    flaps, decided = flaps_with(lambda at: 60 <= at < 75 or ramp <= at < ramp + 10)
    assert (flaps, sum(each.kind == "activated" for each in decided)) == (1, 1)


def test_calls_between_two_moments_add_up():
    """Whatever a stretch is cut into, its calls are the same."""
    draw = random.Random(3)
    calls = Calls()
    for _ in range(2000):
        calls.add("chat", draw.choice(["a", "b"]), draw.uniform(0, 100))
    cuts = sorted([0.0, 100.0, *(draw.uniform(0, 100) for _ in range(40)), 17.2, 17.3])

    assert calls.total(Stretch(0, 100)) == 2000
    assert sum(calls.total(Stretch(a, b)) for a, b in pairwise(cuts)) == pytest.approx(2000)


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("predicates.erors.ceiling", "predicates.errors"),
        ("predicates.errors.celing", "predicates.errors.ceiling"),
        ("predicats.errors.ceiling", "predicates"),
        ("modes.error_spike.hold", "modes.error_spike.hold_s"),
        ("predicates.output.drift.treshold_nats", "predicates.output.drift.threshold_nats"),
        ("matrix.7.mode", "0"),
    ],
)
def test_a_path_that_leads_nowhere_names_the_nearest_key(path, nearest):
    """Whoever mistypes a key is told the right one."""
    with pytest.raises(SettingError) as caught:
        grid(CONTRACT, "c", {path: [1]})

    assert nearest in str(caught.value).partition(";")[2]


@pytest.mark.parametrize(
    ("path", "value"),
    [("predicates.errors.ceiling", 2), ("predicates.errors", 1), ("modes.error_spike.when", "x")],
)
def test_a_value_that_makes_no_contract_is_refused(path, value):
    """Every setting passes the rules of a contract file."""
    with pytest.raises(SettingError, match=path):
        grid(CONTRACT, "c", {path: [value]})


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("modes.error_spike.mutes", "modes.error_spike.mutes takes several values at once"),
        ("predicates.errors.where", "predicates.errors.where takes several values at once"),
        ("modes.token_drift.when", "there are modes.token_drift.when.* of any"),
        ("matrix.0", "there are matrix.0.* of mode, "),
    ],
)
def test_what_takes_more_than_one_value_is_refused_with_what_can_be_tried(path, says):
    """Never with a list of nothing."""
    contract = CONTRACT.replace("when: output.drift", "when: {any: [output.drift, errors]}")
    with pytest.raises(SettingError, match=re.escape(says)):
        grid(contract, "c", {path: ["errors"]})


def test_the_one_predicate_of_a_mode_can_be_tried():
    """A condition that is a name is a single value; its parts are where it has some."""
    found = grid(CONTRACT, "c", parse_sets(["modes.error_spike.when=errors,output.drift"]))

    assert [each.contract.modes["error_spike"].predicates for each in found] == [
        ("errors",),
        ("output.drift",),
    ]


def test_several_paths_make_a_grid_and_keys_not_written_can_be_set():
    """Every combination, names with dots in them included; the defaults need not be in the file."""
    sets = parse_sets(["predicates.output.drift.threshold_nats=0.05,0.1", "defaults.lateness_s=1,2,3"])
    settings = grid(CONTRACT, "c", sets)

    assert [
        (each.contract.predicates["output.drift"].threshold_nats, each.contract.defaults.lateness_s)
        for each in settings
    ] == [(0.05, 1), (0.05, 2), (0.05, 3), (0.1, 1), (0.1, 2), (0.1, 3)]


def command(*args):
    return CliRunner().invoke(build(), ["sweep", *map(str, args)])


def test_the_command_prints_a_table_or_one_document(recorded):
    """Constants of records and paths of the contract share `--set`, told apart by name."""
    args = [
        recorded / "calls.jsonl",
        *("--contract", recorded / "contract.yaml", "--incidents", recorded / "incidents.csv"),
        *(
            "--set",
            "predicates.errors.ceiling=0.01,0.3",
            "--set",
            "model=gpt",
            "--workers",
            1,
            "--split",
            0.4,
        ),
    ]
    text, document = command(*args), command(*args, "--json")

    assert text.exit_code == document.exit_code == 0
    for word in ("ceiling", "found", "held out", "diverted"):
        assert word in text.stdout
    settings = json.loads(document.stdout)["settings"]
    assert [each["set"] for each in settings] == [
        {"predicates.errors.ceiling": 0.01},
        {"predicates.errors.ceiling": 0.3},
    ]
    assert settings[0]["measures"]["found_share"] == 1
    assert settings[0]["measures"]["false_per_week_interval"][1] > 0


def of_rows(recorded, tmp_path, lines, *extra):
    (tmp_path / "calls.jsonl").write_bytes(b"\n".join(lines))
    args = ["--contract", recorded / "contract.yaml", "--workers", 1]
    return command(tmp_path / "calls.jsonl", *args, *extra)


def line(at, **more):
    return msgspec.json.encode({"event_time": T0 + at, "route": "chat", **more})


def test_what_was_not_judged_is_told(recorded, tmp_path):
    """How many rows are malformed or late, the first malformed ones by name, and who could say nothing."""
    old = [line(at) for at in range(20)]
    lines = [*(line(at) for at in range(1000, 2000)), *old, *(line(0, latency_s=-1) for _ in range(7))]
    text, document = (of_rows(recorded, tmp_path, lines, *extra) for extra in ((), ("--json",)))

    assert (text.exit_code, document.exit_code) == (0, 0)
    assert "1,020 records, 7 malformed, 20 too late to be judged, 1 setting" in text.stdout
    assert text.stdout.count("row 1020 at $.latency_s") == 1
    assert text.stdout.count("  malformed: ") == 5
    assert "  and 2 more" in text.stdout
    assert "never armed, so nothing can be said by: output.drift\n" in text.stdout
    found = json.loads(document.stdout)
    assert (found["late"], found["malformed"], found["settings"][0]["late"]) == (20, 7, 20)
    assert "20 of 1,020 records are older than every window" in document.stderr
    assert "7 malformed rows were left out, such as" in document.stderr


def test_incidents_of_other_traffic_are_told(recorded, tmp_path):
    """A route mistyped, another day, one that began before the recording; those that count are not named."""
    rows = [
        Incident("chat", "error_spike", T0 + 1060, T0 + 1075),
        Incident("chat@eu", "error_spike", T0 + 1060, T0 + 1075),
        Incident("chat", "input_drift", T0 + 900, T0 + 1100, "false"),
        Incident("Chat", "error_spike", T0 + 1060, T0 + 1075),
        Incident("chat", "error_spike", T0 + 87_400, T0 + 87_500, "benign"),
        Incident("chat", "error_spike", T0, T0 + 999),
        Incident("chat", "error_spike", T0 + 900, T0 + 1100),
    ]
    why = ["no record is of its route", *["it lies outside the recorded time"] * 2]
    why.append("it begins before the first record, so it is not counted")
    lines = [line(at) for at in range(1000, 2000)]
    said = []
    for number, count in enumerate((3, 7)):
        write_labels(tmp_path / "incidents.csv", rows[:count])
        results = [
            of_rows(recorded, tmp_path, lines, "--incidents", tmp_path / "incidents.csv", *extra)
            for extra in ((), ("--json",))
        ]
        assert [each.exit_code for each in results] == [0, 0]
        unused = json.loads(results[1].stdout)["unused_incidents"]
        assert [(each["scope"], each["from"], each["why"]) for each in unused] == [
            (row.scope, row.start, reason) for row, reason in zip(rows[3:count], why * number, strict=True)
        ]
        said.append([each.stderr for each in results])

    assert said[0] == ["", ""]
    for text in said[1]:
        assert "incident of Chat error_spike, 2023-11-14 22:31:00.000Z" in text
        assert "is left out: no record is of its route; 4 such rows in all" in text


@pytest.mark.parametrize("extra", [(), ("--json",)])
@pytest.mark.parametrize(
    ("lines", "says"),
    [([], "no rows"), ([b"x", b"y"], "not one of 2 rows is a record: "), ([b""], "no rows")],
)
def test_files_of_which_nothing_could_be_used_are_something_wrong(recorded, tmp_path, lines, says, extra):
    """Whoever only looks at the exit code learns it too."""
    result = of_rows(recorded, tmp_path, lines, *extra)

    assert result.exit_code == 1
    assert says in result.stderr


@pytest.mark.parametrize(
    "extra",
    [
        ["--set", "predicates.x=1"],
        ["--split", "1"],
        ["--incidents", "none.csv"],
        ["--set", "predicates.errors.ceiling="],
    ],
)
def test_wrong_use_exits_with_2_and_no_traceback(recorded, extra):
    """Impossible options are explained."""
    result = command(recorded / "calls.jsonl", "--contract", recorded / "contract.yaml", *extra)

    assert result.exit_code == 2
    assert result.stderr.startswith("detector: ")


def test_a_choice_that_is_better_than_all_others_is_no_tie(swept, capsys):
    """Nothing is said of a difference, and what delays count from is."""
    as_text(swept)
    told = " ".join(capsys.readouterr().out.split())

    assert "no difference" not in told
    assert "from an incident's `from`, as the file states it" in told
    assert "`detector label` chose lies a minute or so before the activation" in told
