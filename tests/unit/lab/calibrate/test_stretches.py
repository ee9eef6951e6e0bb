"""A ceiling that a few stretches alone made so high is told, with what it would be without them."""

import random
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest

from detector.contract import load_contract
from detector.lab.calibrate import CalibrateResult, calibrate, page, report, shares, stretches
from detector.lab.calibrate.learn import Learnt

EXAMPLE = (Path(__file__).parents[3] / "data" / "contracts" / "example.yaml").read_text()
OPEN = EXAMPLE.replace("field: error, ceiling: 0.01", "field: error, design_effect: 1")
OPEN = OPEN.replace("above_ms: 200, ceiling: 0.01", "above_ms: 200, design_effect: 1")
T0 = 1_700_000_520  # two minutes after ten minutes begin
PER_S, HOURS = 4, 6


def calibrated(path: Path, text: str, bad_s: int, share: float, field: str = "error") -> CalibrateResult:
    """Six hours at 0.1 %, but for the first seconds."""
    draw, bad = random.Random(1), {"error": "500", "latency_s": 0.5}
    records = []
    for i in range(HOURS * 3600 * PER_S):
        each = {"event_time": T0 + i / PER_S, "route": "chat", "error": "", "latency_s": 0.1}
        if draw.random() < (share if i < bad_s * PER_S else 0.001):
            each[field] = bad[field]
        records.append(each)
    path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in records))
    return calibrate([path], load_contract(text))


def said(result: CalibrateResult, predicate: str) -> tuple[Learnt, list[str]]:
    (one,) = [each for each in result.learnt if each.spec.name == predicate]
    return one, [says for says in one.limits if "of traffic alone" in says]


def at(seconds: int) -> str:
    return datetime.fromtimestamp(T0 + seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("field", "predicate", "share"), [("error", "errors", 0.03), ("latency_s", "slow_responses", 0.04)]
)
def test_stretches_that_alone_set_a_ceiling_are_named(
    tmp_path: Path, field: str, predicate: str, share: float
) -> None:
    """The first 48 minutes of six hours: when, how high, what the rest keeps; in every report."""
    result = calibrated(tmp_path / "calls.jsonl", OPEN, 2880, share, field)
    one, (says,) = said(result, predicate)
    found = re.search(r"ceiling of ([0-9.]+)% is .* 1 stretch .* alone, (.*): all .* keep ([0-9.]+)%", says)

    assert result.left_out == {}
    assert found is not None, says
    assert float(found[1]) == pytest.approx(100 * (one.one.ceiling or 0), abs=0.006)
    assert found[2] == f"{at(0)} .. {at(2880)}"
    assert float(found[3]) < 0.4 * float(found[1])
    assert one.one.basis == "estimated"  # though calls are independent, as stated
    assert says in report.as_text(result)
    assert says in page.render(result)
    assert says in [each["says"] for each in report.as_json(result)["limits"]]


def test_without_them_the_ceiling_is_what_was_said(tmp_path: Path) -> None:
    """Leaving them out teaches just that."""
    one, (says,) = said(calibrated(tmp_path / "calls.jsonl", OPEN, 2880, 0.03), "errors")
    lines = (tmp_path / "calls.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "rest.jsonl").write_bytes(b"".join(lines[2880 * PER_S :]))
    rest = calibrate([tmp_path / "rest.jsonl"], load_contract(OPEN)).calibration.of("chat", "errors")

    assert rest is not None
    assert rest.ceiling is not None
    assert f"keep {rest.ceiling:.2%}" in says
    assert rest.basis == "guaranteed"
    assert one.one.ceiling is not None
    assert one.one.ceiling > 5 * rest.ceiling


@pytest.mark.parametrize(
    ("text", "bad_s", "share"),
    [(EXAMPLE, 3000, 0.03), (OPEN, 0, 0.0), (OPEN, 3000, 0.0015), (OPEN, 9000, 0.03)],
    ids=["stated", "steady", "hardly-worse", "almost-half"],
)
def test_nothing_is_said_where_the_ceiling_is_stated_or_is_that_of_the_traffic(
    tmp_path: Path, text: str, bad_s: int, share: float
) -> None:
    """The users' own ceiling stands anyhow; 40 % of the time is how the traffic is."""
    assert said(calibrated(tmp_path / "calls.jsonl", text, bad_s, share), "errors")[1] == []


@pytest.mark.parametrize("per_s", [1, 20])
def test_chance_and_the_swing_of_a_day_name_no_stretch(per_s: int) -> None:
    """A steady rate, a rare one and one that swings by four fifths, for a day each."""
    draw, seconds = np.random.default_rng(2), np.arange(86_400) + T0
    swing = 0.01 * (1 + 0.8 * np.sin(np.arange(86_400) / 13_751))
    for rate in (0.001, 0.0001, swing):
        bad = draw.binomial(per_s, rate, len(seconds))
        judged = np.full(len(seconds), per_s)
        ceiling = shares.measure(judged, bad).ceiling()
        minutes = {
            minute: (60 * per_s, np.sort(draw.choice(60 * per_s, n, replace=False)))
            for minute, n in enumerate(bad.reshape(-1, 60).sum(axis=1), T0 // 60)
        }

        assert (
            stretches.set_by(
                (seconds, judged, bad), minutes, ceiling, least=0.001, run_length=1e11, phi=1.0, highest=0.45
            )
            is None
        )
