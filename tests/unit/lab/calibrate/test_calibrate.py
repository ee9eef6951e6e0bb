"""From files to a contract that passes `check`: what is learnt, left out, refused and written."""

import random
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from detector.cli.main import build
from detector.contract import check_text, load_contract
from detector.contract.calibration import CalibratedPredicate, CalibratedRoute, Calibration
from detector.lab.calibrate import NotHealthyError, calibrate, page, report
from detector.lab.calibrate.section import SectionError, with_calibration
from detector.lab.columns import parse_columns
from detector.predicates.base import Budget

EXAMPLE = (Path(__file__).parents[3] / "data" / "contracts" / "example.yaml").read_text()
T0 = 1_700_000_040
PER_S = 8


def calls(
    seconds: int, seed: int = 1, bad_minutes: range = range(0), slow_ms: float = 60
) -> list[dict[str, Any]]:
    """Calls of one route; in the bad minutes a third of them fail and prompts are short."""
    draw = random.Random(seed)
    found = []
    for i in range(seconds * PER_S):
        at = i / PER_S
        bad = at // 60 in bad_minutes
        found.append(
            {
                "event_time": T0 + at,
                "route": "chat",
                "input_tokens": int(draw.lognormvariate(3 if bad else 6, 1)),
                "output_tokens": int(draw.lognormvariate(5, 0.8)),
                "latency_s": draw.lognormvariate(0, 0.4) * slow_ms / 1000,
                "upstream_s": 0.02,
                "error": "timeout" if draw.random() < (0.33 if bad else 0.002) else "",
                "hallucinated": draw.random() < 0.004 if draw.random() < 0.9 else None,
            }
        )
    return found


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in records))
    return path


def learnt(path: Path, records: list[dict[str, Any]], predicate: str) -> CalibratedPredicate:
    """What the example contract's predicate learns from them."""
    one = calibrate([write(path, records)], load_contract(EXAMPLE)).calibration.of("chat", predicate)
    assert one is not None
    return one


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("calls") / "healthy.jsonl", calls(5400))


def test_the_calibrated_contract_passes_check_and_keeps_the_users_text(healthy: Path) -> None:
    """Everything outside the section stays to the letter, and calibrating again replaces the section."""
    result = calibrate([healthy], load_contract(EXAMPLE))
    text, dropped = with_calibration(EXAMPLE, result.calibration)
    head, _, tail = EXAMPLE.partition("calibration: {}")

    assert check_text(text) == []
    assert dropped == 0
    assert text.startswith(head)
    assert tail.strip() in text
    assert with_calibration(text, result.calibration) == (text, 0)
    found = load_contract(text)
    assert set(found.calibration.routes["chat"].predicates) == set(found.predicates) - {"silence"}
    for name, one in result.calibration.routes["chat"].predicates.items():
        learnt = found.calibrated("chat", name)
        assert learnt is not None
        assert (learnt.records, learnt.edges, learnt.reference) == (one.records, one.edges, one.reference)
        assert learnt.ceiling == (None if one.ceiling is None else pytest.approx(one.ceiling, rel=1e-5))


@pytest.mark.parametrize("ending", ["\r\n", ""], ids=["ends", "ends-in-its-last-line"])
def test_lines_end_as_the_users_do(ending: str) -> None:
    """A contract written on Windows has one kind of line ends afterwards, as before."""
    plain, _, _ = EXAMPLE.partition("calibration: {}")
    mine = plain.strip().replace("\n", "\r\n") + ending
    text, _ = with_calibration(mine, Calibration(records=7))

    assert text.startswith(mine)
    assert text.count("\n") == text.count("\r\n") > mine.count("\n")
    assert load_contract(text).calibration.records == 7


def test_the_order_of_files_does_not_matter(tmp_path: Path) -> None:
    """Two halves either way round, or in one file, teach the same."""
    records = calls(3000)
    half = 1500 * PER_S
    a, b = write(tmp_path / "a.jsonl", records[:half]), write(tmp_path / "b.jsonl", records[half:])
    whole = write(tmp_path / "whole.jsonl", records)
    contract = load_contract(EXAMPLE)
    one, two, three = (calibrate(files, contract).calibration.routes for files in ([a, b], [b, a], [whole]))

    assert one == two == three


def test_minutes_that_hold_an_incident_are_left_out(tmp_path: Path) -> None:
    """The bad minutes are named, and what is learnt is what healthy traffic alone teaches."""
    bad = range(40, 44)
    mixed = calibrate([write(tmp_path / "mixed.jsonl", calls(5400, bad_minutes=bad))], load_contract(EXAMPLE))
    ((start, end),) = mixed.left_out["chat"]
    errors = mixed.calibration.of("chat", "errors")
    drift = mixed.calibration.of("chat", "input_drift")

    assert start <= T0 + 40 * 60
    assert end >= T0 + 44 * 60
    assert end - start <= 7 * 60
    assert errors is not None
    assert errors.rate is not None
    assert errors.rate < 0.003
    assert errors.ceiling is not None
    assert errors.ceiling < 0.006
    assert drift is not None
    assert drift.tolerance_nats == pytest.approx(0.035, abs=0.02)


def test_healthy_traffic_keeps_its_minutes(healthy: Path) -> None:
    """Chance alone makes no incident."""
    assert calibrate([healthy], load_contract(EXAMPLE)).left_out == {}


def test_a_recording_that_is_mostly_incident_is_refused(tmp_path: Path) -> None:
    """Over a fifth of the minutes out of line is no healthy recording, nor is an empty one."""
    sick = write(tmp_path / "sick.jsonl", calls(3600, bad_minutes=range(10, 28)))
    with pytest.raises(NotHealthyError, match="look like incidents"):
        calibrate([sick], load_contract(EXAMPLE))
    with pytest.raises(NotHealthyError, match=r"look like incidents.*--map tenant=x: no such column"):
        calibrate([sick], load_contract(EXAMPLE), columns=parse_columns(["tenant=x"]))
    with pytest.raises(NotHealthyError, match="no record"):
        calibrate([write(tmp_path / "empty.jsonl", [])], load_contract(EXAMPLE))


def test_a_limit_that_healthy_traffic_exceeds_is_unusable_and_a_better_one_proposed(tmp_path: Path) -> None:
    """The proposed limit is kept; `check` notes that the user's ceiling does not hold, and passes."""
    contract = load_contract(EXAMPLE)
    slow = write(tmp_path / "slow.jsonl", calls(3600, slow_ms=150))
    result = calibrate([slow], contract)
    one = result.calibration.of("chat", "slow_responses")
    assert one is not None
    assert not one.usable
    assert one.proposed_above_ms is not None
    text, _ = with_calibration(EXAMPLE, result.calibration)

    assert {(each.rule, each.severity) for each in check_text(text)} == {("ceiling-under-traffic", "note")}
    assert any("Unusable" in says for each in result.learnt for says in each.limits)
    better = EXAMPLE.replace("above_ms: 200", f"above_ms: {one.proposed_above_ms}")
    again = calibrate([slow], load_contract(better)).calibration.of("chat", "slow_responses")
    assert again is not None
    assert again.usable
    assert one.proposed_above_ms < 1.5 * 150 * 2.718 ** (0.4 * 3.1)


@pytest.mark.parametrize("burst", [1.0, 3.0])
def test_what_is_unusable_says_how_bad_it_is_at_least(tmp_path: Path, burst: float) -> None:
    """The bound is a lower one; it is above the mean only where the share wanders, and then at times."""
    draw = random.Random(3)
    records = [
        {
            "event_time": T0 + i / PER_S,
            "route": "chat",
            "error": "500" if draw.random() < (0.04 * burst if i // 4000 % 2 else 0.04) else "",
        }
        for i in range(3600 * PER_S)
    ]
    result = calibrate([write(tmp_path / "calls.jsonl", records)], load_contract(EXAMPLE))
    (says,) = [says for one in result.learnt for says in one.limits if "Unusable" in says]
    found = re.search(
        r"([0-9.]+)% of the time, (and at times )?surely more than ([0-9.]+)%, while 1.00%", says
    )

    assert found is not None, says
    mean, at_times, least = float(found[1]), found[2], float(found[3])
    assert (bool(at_times), least > mean) == (burst > 1, burst > 1)


@pytest.mark.parametrize(("bad", "asked"), [(0.06, False), (0.12, True), (0.4, True)])
@pytest.mark.parametrize("stated", [True, False])
def test_a_recording_that_is_bad_all_along_is_asked_about(
    tmp_path: Path, bad: float, asked: bool, stated: bool
) -> None:
    """No minute stands out of a long outage; over one bad call in ten the report asks."""
    contract = (
        EXAMPLE
        if stated
        else EXAMPLE.replace("error, ceiling: 0.01", "error").replace(
            "above_ms: 200, ceiling: 0.01", "above_ms: 200"
        )
    )
    draw = random.Random(4)
    records = [
        {"event_time": T0 + i / PER_S, "route": "chat"}
        | {"error": "500" if draw.random() < bad else "", "latency_s": 0.5 if draw.random() < bad else 0.1}
        for i in range(3600 * PER_S)
    ]
    result = calibrate([write(tmp_path / "calls.jsonl", records)], load_contract(contract))
    question = "does the verdict mean that something is wrong"
    said = {one.spec.name for one in result.learnt for says in one.limits if question in says}

    assert result.left_out == {}
    assert said == ({"errors", "slow_responses"} if asked else set())
    assert (question in report.as_text(result)) is asked


def test_a_limit_in_the_midst_of_healthy_calls_is_not_made_good_by_a_high_ceiling(tmp_path: Path) -> None:
    """Without a stated ceiling a quarter of all calls could be slow; a limit in the tail is proposed."""
    open_ = EXAMPLE.replace(
        "field: latency_s, above_ms: 200, ceiling: 0.01", "field: latency_s, above_ms: 200"
    )
    assert open_ != EXAMPLE
    slow = write(tmp_path / "slow.jsonl", calls(3600, slow_ms=150))
    result = calibrate([slow], load_contract(open_))
    one = result.calibration.of("chat", "slow_responses")
    assert one is not None
    assert one.usable
    assert one.proposed_above_ms is not None
    assert 200 < one.proposed_above_ms < 1.5 * 150 * 2.718 ** (0.4 * 3.1)
    assert any("no limit for slow ones" in says for each in result.learnt for says in each.limits)


@pytest.mark.parametrize("n", [1, 100, 350])
def test_too_few_calls_are_no_proof_that_a_ceiling_is_exceeded(tmp_path: Path, n: int) -> None:
    """A rare route whose calls were all good is judged; that little is known of it is said."""
    every = 86_400 // n
    rare = [each | {"event_time": T0 + i * every} for i, each in enumerate(calls(60)[:n])]
    for each in rare:
        each |= {"error": "", "hallucinated": False}
    result = calibrate([write(tmp_path / "rare.jsonl", rare)], load_contract(EXAMPLE))
    text, _ = with_calibration(EXAMPLE, result.calibration)
    (errors,) = [each for each in result.learnt if each.spec.name == "errors"]

    assert errors.one.usable
    assert errors.one.basis == "estimated"
    assert any("too few to show" in says for says in errors.limits)
    assert check_text(text) == []


def slow_for_minutes(seconds: int, minutes: range, share: float) -> list[dict[str, Any]]:
    """Calls of which in these minutes a share takes a second."""
    draw = random.Random(3)
    return [
        each | {"latency_s": 1.0} if i // (60 * PER_S) in minutes and draw.random() < share else each
        for i, each in enumerate(calls(seconds))
    ]


@pytest.mark.parametrize("stated", [True, False], ids=["stated", "learnt"])
def test_a_slight_burst_is_left_out_where_the_user_states_the_ceiling_and_taught_where_not(
    tmp_path: Path, stated: bool
) -> None:
    """6 % of slow calls for two minutes: a learnt ceiling knows of them, a stated one stays usable."""
    file = write(tmp_path / "calls.jsonl", slow_for_minutes(5400, range(40, 42), 0.06))
    text = EXAMPLE if stated else EXAMPLE.replace("above_ms: 200, ceiling: 0.01", "above_ms: 200")
    result = calibrate([file], load_contract(text))
    one = result.calibration.of("chat", "slow_responses")

    assert one is not None
    assert one.usable
    assert bool(result.left_out) == stated
    assert one.proposed_above_ms is None
    assert one.ceiling is not None
    assert one.ceiling >= 0.01


def test_a_great_burst_is_left_out_whoever_sets_the_ceiling(tmp_path: Path) -> None:
    """A fifth of all calls slow for two minutes is an incident; the ceiling knows nothing of it."""
    file = write(tmp_path / "calls.jsonl", slow_for_minutes(5400, range(40, 42), 0.2))
    text = EXAMPLE.replace("above_ms: 200, ceiling: 0.01", "above_ms: 200")
    result = calibrate([file], load_contract(text))
    one = result.calibration.of("chat", "slow_responses")

    assert result.left_out
    assert one is not None
    assert one.ceiling == pytest.approx(0.01)


def test_a_proposed_limit_has_a_narrower_margin_where_days_were_recorded(tmp_path: Path) -> None:
    """Traffic that never changes: 1.5 times what it needs after an hour, less if the same took four days."""
    hour = calls(3600, slow_ms=150)
    days = [each | {"event_time": T0 + 4 * 86_400.0 * i / len(hour)} for i, each in enumerate(hour)]
    proposed = [
        learnt(tmp_path / f"{name}.jsonl", records, "slow_responses").proposed_above_ms or 0.0
        for name, records in (("hour", hour), ("days", days))
    ]
    needed = 150 * 2.718 ** (0.4 * 2.4)

    assert 1.4 * needed < proposed[0] < 1.65 * needed
    assert 1.25 * needed < proposed[1] < 0.96 * proposed[0]


def test_traffic_of_a_call_every_two_seconds_is_proposed_a_limit_too(tmp_path: Path) -> None:
    """Ten minutes hold three hundred calls: as many of them as hold a thousand are taken together."""
    day = [each | {"event_time": T0 + 2.0 * i} for i, each in enumerate(calls(5400, slow_ms=150))]
    one = learnt(tmp_path / "slow.jsonl", day, "slow_responses")
    needed = 150 * 2.718 ** (0.4 * 2.4)

    assert not one.usable
    assert one.proposed_above_ms is not None
    assert 1.1 * needed < one.proposed_above_ms < 1.8 * needed


def test_a_proposed_limit_is_one_that_every_ten_minutes_kept(tmp_path: Path) -> None:
    """Twenty of ninety have answers slower by a third: the limit is theirs, not that of the others."""
    steady = calls(5400, slow_ms=150)
    slower = [
        each | {"latency_s": 1.33 * each["latency_s"]} if 2400 <= i // PER_S < 3600 else each
        for i, each in enumerate(steady)
    ]
    limits = [
        learnt(tmp_path / f"{name}.jsonl", records, "slow_responses").proposed_above_ms or 0.0
        for name, records in (("steady", steady), ("slower", slower))
    ]

    assert limits[1] == pytest.approx(1.33 * limits[0], rel=0.1)


def test_what_is_found_is_found_in_quiet_minutes_too(tmp_path: Path) -> None:
    """Ten minutes of ninety with a quarter of the calls: less is sure to be found."""
    steady = calls(5400)
    quiet = [each for i, each in enumerate(steady) if not 1560 <= i // PER_S < 2160 or i % 4 == 0]
    least = [
        learnt(tmp_path / f"{name}.jsonl", records, "errors").smallest_detectable_rate or 1.0
        for name, records in (("steady", steady), ("quiet", quiet))
    ]

    assert least[1] > 1.5 * least[0]


def test_where_quiet_minutes_show_nothing_what_usual_ones_show_is_said(tmp_path: Path) -> None:
    """At a call every ten seconds nothing is found within ten; that half of the time has more is told."""
    day = [each for i, each in enumerate(calls(10_800)) if i < 5400 * PER_S or not i % (10 * PER_S)]
    result = calibrate([write(tmp_path / "calls.jsonl", day)], load_contract(EXAMPLE))
    said = {one.spec.name: " ".join(one.limits) for one in result.learnt}

    assert re.search(
        r"in quiet minutes, nothing can be found within 10 s; at .*/s, which is usual", said["errors"]
    )
    assert re.search(
        r"of quiet minutes, but drifts of .* nats and more are at the usual rate", said["input_drift"]
    )


def test_what_one_caller_alone_makes_bad_is_not_learnt_either(tmp_path: Path) -> None:
    """Every ten minutes one of twenty tenants has only errors for half a minute: that is no healthy rate."""
    records = calls(5400)
    for i, each in enumerate(records):
        each["tenant"] = f"t{i * 7 % 20}"
        if i // PER_S % 600 < 30 and each["tenant"] == "t3":
            each["error"] = "429"
    file = write(tmp_path / "calls.jsonl", records)
    text = EXAMPLE.replace("field: error, ceiling: 0.01", "field: error, unless_alone: tenant")
    all_count = EXAMPLE.replace("field: error, ceiling: 0.01", "field: error")
    assert text != EXAMPLE
    alone, counted = (
        calibrate([file], load_contract(each)).calibration.of("chat", "errors") for each in (text, all_count)
    )

    assert alone is not None
    assert counted is not None
    assert alone.rate < 0.75 * counted.rate
    assert alone.design_effect < 0.6 * counted.design_effect
    assert alone.smallest_detectable_rate < 0.7 * counted.smallest_detectable_rate


def test_a_recording_without_any_rules_out_three_in_its_length(tmp_path: Path) -> None:
    """Ninety minutes: 3 / (90 minutes) is 336 a week, whatever was aimed at."""
    result = calibrate([write(tmp_path / "calls.jsonl", calls(5400))], load_contract(EXAMPLE))

    assert report.false_per_week_bound(result) == pytest.approx(336, rel=0.01)
    assert report.false_per_week(result) < 0.15
    assert "of it cannot show that they are fewer than 336" in report.as_text(result)
    assert "<b>336</b>" in page.render(result)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("shortfall", "field: output_tokens, below_share: 0.5"),
        ("repetition", "field: token_ids, above_share: 0.5"),
    ],
)
def test_a_ceiling_that_no_recording_teaches_is_said_not_to_be_learnt(
    tmp_path: Path, kind: str, keys: str
) -> None:
    """Among the limits, with the ceiling that stands and how to try it."""
    added = f"predicates:\n  odd: {{type: {kind}, {keys}, ceiling: 0.03}}"
    text = EXAMPLE.replace("predicates:", added, 1)
    result = calibrate([write(tmp_path / "calls.jsonl", calls(600))], load_contract(text))
    (said,) = [says for says in result.limits if says.startswith("odd ")]

    assert f"not calibrated: no recording teaches the ceiling of a {kind}" in said
    assert "3.00%" in said


def test_the_pace_of_a_sparse_route_counts_its_silence_and_no_hole_of_the_recording(tmp_path: Path) -> None:
    """A call every half an hour on each of two days, a busy route beside it, and three days between them."""
    day, sparse_gap_s = 86_400, 1800
    records = [
        {"event_time": T0 + start + at, "route": route, "error": "", "latency_s": 0.1}
        for start in (0, 4 * day)
        for route, gap_s in (("sparse", sparse_gap_s), ("busy", 20))
        for at in range(0, day, gap_s)
    ]
    result = calibrate([write(tmp_path / "calls.jsonl", records)], load_contract(EXAMPLE))
    errors = result.calibration.of("sparse", "errors")

    assert result.calibration.routes["sparse"].records_per_s == pytest.approx(1 / sparse_gap_s, rel=0.02)
    assert result.calibration.routes["busy"].records_per_s == pytest.approx(1 / 20, rel=0.001)
    assert result.calibration.fleet_records_per_s == pytest.approx(1 / sparse_gap_s + 1 / 20, rel=0.001)
    assert result.covered_s == 2 * day
    assert errors is not None
    budget = Budget.of(replace(load_contract(EXAMPLE), calibration=result.calibration))
    a_week = 7 * day / sparse_gap_s
    assert errors.false_per_week == pytest.approx(a_week / budget.run_length, rel=0.02)


@pytest.mark.parametrize("slow_seconds", [600, 2400])
def test_minutes_that_alone_set_a_proposed_limit_are_named(tmp_path: Path, slow_seconds: int) -> None:
    """Ten of ninety in which one call in twelve took two seconds; forty are how the traffic is."""
    begins = 1560  # with a stretch
    records = calls(5400, slow_ms=150)
    for each in records[begins * PER_S : (begins + slow_seconds) * PER_S : 12]:
        each["latency_s"] = 2.0
    result = calibrate([write(tmp_path / "calls.jsonl", records)], load_contract(EXAMPLE))
    (one,) = [each for each in result.learnt if each.spec.name == "slow_responses"]
    said = [says for says in one.limits if "of traffic alone" in says]
    limit = one.one.proposed_above_ms or 0.0

    assert limit > 2000
    assert len(said) == (slow_seconds == 600)
    for says in said:
        found = re.search(r"(\d+) ms is .* for 1 stretch .* from (.*) on: .* keep (\d+) ms", says)
        assert found is not None
        assert float(found[1]) == limit
        assert found[2] == datetime.fromtimestamp(T0 + begins, UTC).strftime("%Y-%m-%d %H:%M:%S")
        assert 400 < float(found[3]) < 700


def test_what_stands_out_again_and_again_is_how_the_traffic_is(tmp_path: Path) -> None:
    """Ten short bursts in an hour and a half are kept, and the ceiling with them; two are left out."""
    rare = write(tmp_path / "rare.jsonl", calls(5400, bad_minutes=range(30, 32)))
    often = write(tmp_path / "often.jsonl", calls(5400, bad_minutes=range(4, 90, 9)))
    contract = load_contract(EXAMPLE)
    few, many = calibrate([rare], contract), calibrate([often], contract)
    ceilings = [each.calibration.of("chat", "errors") for each in (few, many)]

    assert few.left_out
    assert not many.left_out
    assert ceilings[0] is not None
    assert ceilings[1] is not None
    assert ceilings[1].ceiling > 5 * ceilings[0].ceiling


def test_reports_name_every_predicate_and_every_limit(healthy: Path) -> None:
    """The page loads nothing from elsewhere and escapes what comes from the data."""
    result = calibrate([healthy], load_contract(EXAMPLE))
    text, html, document = report.as_text(result), page.render(result), report.as_json(result)

    for one in result.learnt:
        assert one.spec.name in text
        assert one.spec.name in html
    assert "how a day or a week swings" in text
    assert html.count("<svg") == 2 * len(result.learnt)
    assert "http" not in html
    assert "src=" not in html
    assert document["false_per_week"] <= 0.15
    msgspec.json.encode(document)


@pytest.mark.parametrize(
    "ending",
    [
        "calibration: {}\n",
        "calibration:\n  records: 5\n  routes: {}\n\n# the end\n",
        "",
        "calibration: {\n}\n",
        '"calibration": {}\n',
        "'calibration' : {}  # the end",
    ],
    ids=["empty", "old", "none", "flow", "quoted", "quoted and commented"],
)
def test_the_section_is_replaced_or_appended_wherever_it_stands(ending: str) -> None:
    """Text before and after it stays; awkward names survive the way through YAML."""
    plain = EXAMPLE[: EXAMPLE.index("calibration: {}")]
    one = CalibratedPredicate(
        categories=("", "#x: {y}", "\x7f\n\u2028", "no", "1"), reference=(1, 2, 3, 4, 5, 6)
    )
    routes = {'ro"ute: #1': CalibratedRoute(records_per_s=1e-7, predicates={"errors": one})}
    text, _ = with_calibration(plain + ending, Calibration(records=7, routes=routes))

    assert text.startswith(plain)
    assert ("# the end" in text) == ("# the end" in ending)
    assert load_contract(text).calibration == Calibration(records=7, routes=routes)


def test_a_contract_without_lines_of_its_own_is_refused() -> None:
    """One flow mapping has no place for a section, however it is broken into lines."""
    flow = msgspec.json.encode(msgspec.yaml.decode(EXAMPLE))
    flat = "\n".join(line.strip() for line in msgspec.json.format(flow).decode().splitlines())
    key = EXAMPLE.replace("calibration: {}", "? calibration\n: {}")

    for text in (flow.decode(), msgspec.json.format(flow).decode(), flat, key):
        assert load_contract(text)
        with pytest.raises(SectionError, match="write the contract as lines"):
            with_calibration(text, Calibration(records=7))


def test_the_verb_writes_a_contract_and_a_page(healthy: Path, tmp_path: Path) -> None:
    """Exit codes: 0 written, 1 nothing healthy to learn from, 2 wrong use."""
    contract, out, html = tmp_path / "c.yaml", tmp_path / "out.yaml", tmp_path / "page.html"
    contract.write_text(EXAMPLE)
    app, empty = build(), write(tmp_path / "empty.jsonl", [])

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])

    written = run(healthy, "-c", contract, "-o", out, "--report", html, "--json")
    assert written.exit_code == 0
    assert msgspec.json.decode(written.stdout)["calibration"]["records"] == 5400 * PER_S
    assert check_text(out.read_bytes()) == []
    assert html.read_text().startswith("<!doctype html>")
    assert run(empty, "-c", contract, "-o", tmp_path / "no.yaml").exit_code == 1
    assert run(tmp_path / "none.csv", "-c", contract, "-o", tmp_path / "no.yaml").exit_code == 2
    assert not (tmp_path / "no.yaml").exists()


def test_the_verb_asks_where_it_writes_to_before_it_writes_or_learns_anything(
    healthy: Path, tmp_path: Path
) -> None:
    """A contract without its page, or minutes of learning for nothing, helps nobody."""
    contract, out = tmp_path / "c.yaml", tmp_path / "out.yaml"
    contract.write_text(EXAMPLE)

    for to in (
        ("-o", out, "--report", tmp_path / "none" / "page.html"),
        ("-o", out, "--report", tmp_path),
        ("-o", tmp_path / "none" / "out.yaml"),
    ):
        result = CliRunner().invoke(build(), ["calibrate", str(healthy), "-c", str(contract), *map(str, to)])

        assert result.exit_code == 2
        assert f"{to[-1]}: " in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["c.yaml"]


def test_the_verb_says_what_to_do_where_the_contract_is_json(healthy: Path, tmp_path: Path) -> None:
    """`check` passes it and `run` judges by it; here it is wrong use, in a sentence."""
    contract, out = tmp_path / "c.json", tmp_path / "out.yaml"
    contract.write_bytes(msgspec.json.encode(msgspec.yaml.decode(EXAMPLE)))
    result = CliRunner().invoke(build(), ["calibrate", str(healthy), "-c", str(contract), "-o", str(out)])

    assert result.exit_code == 2
    assert "write the contract as lines" in result.stderr
    assert not out.exists()


def test_a_filtered_predicate_learns_from_the_calls_that_it_sees(tmp_path: Path) -> None:
    """`where` leaves the others out, as in production."""
    records = calls(1500)
    for i, each in enumerate(records):
        each["tenant"] = "acme" if i % 3 == 0 else "other"
    text = EXAMPLE.replace("{type: rate, field: error,", "{type: rate, field: error, where: {tenant: acme},")
    one = calibrate([write(tmp_path / "calls.jsonl", records)], load_contract(text)).calibration.of(
        "chat", "errors"
    )

    assert one is not None
    assert one.records == len(records) / 3


def test_a_predicate_for_some_routes_is_learnt_there_alone(tmp_path: Path) -> None:
    """No minutes of others are left out by it; where none of its routes came that is told."""
    usual, failing = calls(1800), calls(1800, bad_minutes=range(5, 14))
    sick = [
        each | {"route": "sick", "input_tokens": healthy["input_tokens"]}
        for each, healthy in zip(failing, usual, strict=True)
    ]
    files = [write(tmp_path / "sick.jsonl", sick), write(tmp_path / "well.jsonl", usual)]
    well = EXAMPLE.replace("{type: rate, field: error,", "{type: rate, field: error, where: {route: chat},")
    found = calibrate(files, load_contract(well))
    nowhere = calibrate(files, load_contract(well.replace("route: chat", "route: [a, b, c, d, e]")))

    assert set(found.calibration.routes) == {"chat", "sick"}
    assert found.calibration.of("chat", "errors") is not None
    assert found.calibration.of("sick", "errors") is None
    assert (
        "errors: no call of this recording is of route 'a', 'b', 'c' or 2 more, so nothing was learnt."
        in nowhere.limits
    )


def test_one_sick_route_does_not_keep_the_others_from_learning(tmp_path: Path) -> None:
    """It is named among the limits and has no part in the calibration."""
    sick = [each | {"route": "sick"} for each in calls(1800, bad_minutes=range(5, 14))]
    files = [write(tmp_path / "sick.jsonl", sick), write(tmp_path / "well.jsonl", calls(1800))]
    result = calibrate(files, load_contract(EXAMPLE))

    assert set(result.calibration.routes) == {"chat"}
    assert any("'sick'" in says for says in result.limits)


def test_a_stated_ceiling_is_compared_with_what_an_erring_judge_shows_of_it(tmp_path: Path) -> None:
    """Verdicts with 5 % false alarms are bad in 5 % of healthy calls, which a true ceiling of 2 % allows."""
    records = calls(1800)
    for i, each in enumerate(records):
        each["hallucinated"] = i % 20 == 7
    judged = "{type: rate, field: hallucinated, judge: {specificity: 0.95},"
    text = EXAMPLE.replace("{type: rate, field: hallucinated,", judged)
    file = write(tmp_path / "calls.jsonl", records)
    told, untold = (
        calibrate([file], load_contract(each)).calibration.of("chat", "hallucinations")
        for each in (text, EXAMPLE)
    )

    assert told is not None
    assert untold is not None
    assert told.usable
    assert not untold.usable


@pytest.mark.parametrize(
    ("window_s", "said"), [(3600, "each route learns that itself"), (300, "this drift cannot be judged")]
)
def test_a_route_of_a_call_a_minute_is_told_what_it_lacks(tmp_path: Path, window_s: int, said: str) -> None:
    """An hour holds calls enough to be judged, and too few to be held against; five minutes hold five."""
    draw = random.Random(5)
    rows = [
        {"event_time": 1.7e9 + 60.0 * i, "route": "chat", "output_tokens": draw.randint(50, 500)}
        for i in range(3000)
    ]
    file = write(tmp_path / "calls.jsonl", rows)
    text = EXAMPLE.replace("window_s: 300", f"window_s: {window_s}")
    found = calibrate([file], load_contract(text))

    (one,) = [each for each in found.learnt if each.spec.name == "output_drift"]
    assert said in "\n".join(one.limits)


@pytest.mark.parametrize(("slow", "basis"), [(range(0), "guaranteed"), (range(40, 42), "estimated")])
def test_nothing_is_guaranteed_where_minutes_were_left_out(tmp_path: Path, slow: range, basis: str) -> None:
    """They may be how the traffic is."""
    file = write(tmp_path / "calls.jsonl", slow_for_minutes(5400, slow, 0.2))
    result = calibrate([file], load_contract(EXAMPLE))
    one = result.calibration.of("chat", "slow_upstream")

    assert bool(result.left_out) == bool(slow)
    assert one is not None
    assert one.basis == basis
