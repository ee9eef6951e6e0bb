"""What is said of a high ceiling: that calls are few, or a question; and one of a thing is not several."""

import random
from pathlib import Path

import pytest

from detector.contract import load_contract
from detector.lab.calibrate import report
from detector.lab.calibrate.learn import CalibrateResult, calibrate_rows
from topics.telemetry import TelemetryRecord

EXAMPLE = (Path(__file__).parents[3] / "data" / "contracts" / "example.yaml").read_text()
T0 = 1_700_000_040
FEW = "so few calls allow no lower one; a longer recording would"
ASKED = "does the verdict mean that something is wrong"
AT_TIMES = "was something wrong then"


def learnt(bad: list[bool], per_s: float = 8.0) -> CalibrateResult:
    """From calls of one route, of which these failed."""
    rows = [
        TelemetryRecord(event_time=T0 + i / per_s, route="chat", error="500" if failed else "")
        for i, failed in enumerate(bad)
    ]
    return calibrate_rows(rows, load_contract(EXAMPLE), ["calls.jsonl"])


def drawn(n: int, share: float) -> list[bool]:
    draw = random.Random(4)
    return [draw.random() < share for _ in range(n)]


def said(result: CalibrateResult) -> str:
    (errors,) = [each for each in result.learnt if each.spec.name == "errors"]
    return "\n".join(errors.limits)


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        pytest.param([False] * 50, FEW, id="0 of 50: the ceiling is 10.7 %"),
        pytest.param([False], FEW, id="0 of 1"),
        pytest.param([True, *[False] * 59], FEW, id="1 of 60"),
        pytest.param([False] * 500, None, id="0 of 500: the ceiling is 1.2 %"),
        pytest.param(drawn(28_800, 0.05), None, id="5 %"),
        pytest.param(drawn(600, 0.09), ASKED, id="9 % of 600: more calls would hardly lower it"),
        pytest.param(drawn(60, 0.3), ASKED, id="a third of 60"),
        pytest.param(drawn(28_800, 0.18), ASKED, id="18 %"),
        pytest.param(
            [each for hour in range(30) for each in drawn(1500, 0.11 if hour % 5 == 4 else 0.005)],
            AT_TIMES,
            id="one hour in five with 11 %",
        ),
    ],
)
def test_a_high_ceiling_is_put_down_to_what_makes_it_high(bad: list[bool], expected: str | None) -> None:
    """To few calls where more of the same would lower it, else to how many are bad, which may be usual."""
    result = learnt(bad, per_s=8 if len(bad) < 40_000 else 1500 / 3600)
    found = said(result)

    assert [each for each in (FEW, ASKED, AT_TIMES) if each in found] == ([expected] if expected else [])
    assert "outage" not in report.as_text(result)


def test_few_calls_are_named_with_what_was_seen_of_them() -> None:
    """Nothing was bad: the report says so, how many calls there were, and where the ceiling lies."""
    assert "The learnt ceiling is 10.7%, though none of 50 judged calls is bad: so few" in said(
        learnt([False] * 50)
    )


def test_one_of_a_thing_is_not_several() -> None:
    """A record, a judged call, a minute, a record left out, and a day."""
    one, day = learnt([False]), learnt([False] * 1440, per_s=1 / 60)
    text = report.as_text(one)

    for phrase in (
        "1 record, ",
        "The recording holds 1 minute of traffic",
        "1 judged call is too few to show",
        "Only 1 judged call: how far",
    ):
        assert phrase in text
    for word in ("records,", "minutes of", "calls are too", "calls: how"):
        assert f" 1 {word}" not in text.replace("\n", " ")
    assert "; 1 day of it cannot show" in report.as_text(day)
    assert " days of it cannot show" in text


def test_a_field_with_one_value_is_not_said_to_wander() -> None:
    """What an embedding answers has no tokens: nothing can be told from its wander, for there is none."""
    rows = [
        TelemetryRecord(event_time=T0 + i / 8, route="embed", input_tokens=50 + i % 40, output_tokens=0)
        for i in range(40_000)
    ]
    result = calibrate_rows(rows, load_contract(EXAMPLE), ["calls.jsonl"])
    says = {one.spec.name: " ".join(one.limits) for one in result.learnt}

    assert "output_tokens has one value in this recording" in says["output_drift"]
    assert "wander" not in says["output_drift"]
    assert "has one value" not in says["input_drift"]
