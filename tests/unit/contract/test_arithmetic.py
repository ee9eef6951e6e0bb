"""The numbers that depend on each other: envelope, run rule, lease."""

import random
from math import inf, nextafter
from pathlib import Path

import pytest

from detector.contract import check_text, load_contract
from detector.contract.envelope import CORRELATION_MARGIN, false_runs_per_day, shortest_run
from detector.contract.model import Contract, Defaults, PredicateSpec

EXAMPLE = (Path(__file__).parents[2] / "data" / "contracts" / "example.yaml").read_text()


def rules(text: str) -> list[str]:
    return [found.rule for found in check_text(text)]


@pytest.mark.parametrize(
    ("bad_share", "run", "per_s", "per_day"),
    [(0.01, 3, 10_000, 855), (0.01, 3, 100, 8.55), (0.05, 3, 100, 1026), (0.001, 3, 10_000, 0.863)],
)
def test_false_runs_follow_the_closed_form(bad_share: float, run: int, per_s: float, per_day: float) -> None:
    """86400 λ (1-p) p^k / (1-p^k) a day, times the margin for correlation."""
    assert false_runs_per_day(run, bad_share, per_s) / CORRELATION_MARGIN == pytest.approx(per_day, rel=0.01)


def test_the_closed_form_counts_the_runs_of_independent_calls() -> None:
    """A seeded count of runs that start anew after each activation agrees within five standard errors."""
    draw, calls, run, bad_share = random.Random(7), 400_000, 3, 0.2
    found = in_a_row = 0
    for _ in range(calls):
        in_a_row = in_a_row + 1 if draw.random() < bad_share else 0
        if in_a_row == run:
            found, in_a_row = found + 1, 0
    expected = false_runs_per_day(run, bad_share, calls / 86_400) / CORRELATION_MARGIN

    assert abs(found - expected) < 5 * expected**0.5


@pytest.mark.parametrize("bad_share", [1e-6, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("per_s", [0.01, 100.0, 10_000.0])
def test_the_advised_run_is_the_shortest_within_the_budget(bad_share: float, per_s: float) -> None:
    """One shorter is over the budget, unless it is one already."""
    contract = Contract(defaults=Defaults(fleet_records_per_s=per_s))
    budget = contract.defaults.false_alarms_per_week / 7
    run = shortest_run(contract, PredicateSpec(name="slow", type="exceedance", ceiling=bad_share))

    assert false_runs_per_day(run, bad_share, per_s) <= budget
    assert run == 1 or false_runs_per_day(run - 1, bad_share, per_s) > budget


@pytest.mark.parametrize("run", range(1, 20))
@pytest.mark.parametrize("bad_share", [0.01, 0.02, 0.12, 0.3, 0.5, 0.77])
def test_a_run_that_spends_the_budget_to_the_last_is_advised(run: int, bad_share: float) -> None:
    """Rounding makes the advice neither one too long nor one too short."""
    weekly = 7 * false_runs_per_day(run, bad_share, 10_000.0)
    while weekly / 7 < false_runs_per_day(run, bad_share, 10_000.0):
        weekly = nextafter(weekly, inf)
    contract = Contract(defaults=Defaults(false_alarms_per_week=weekly))

    assert shortest_run(contract, PredicateSpec(name="slow", type="exceedance", ceiling=bad_share)) == run


def test_the_run_that_is_advised_passes_and_a_run_left_out_counts_as_three() -> None:
    """The advice can be followed to the letter."""
    literal = EXAMPLE.replace("above_ms: 200,", "above_ms: 200, method: literal,")
    (found,) = check_text(literal)

    assert found.rule == "run-too-short"
    assert load_contract(literal).predicates["slow_responses"].method == "literal"  # it runs as asked
    advised = found.advice.split(",")[0]
    assert advised == "consecutive: 7"
    assert rules(literal.replace("method: literal,", f"method: literal, {advised},")) == []
    assert rules(literal.replace("method: literal,", "method: literal, consecutive: 6,")) == ["run-too-short"]
    assert rules(literal.replace("ceiling: 0.01}\n  slow_up", "ceiling: 0.000001}\n  slow_up")) == []


@pytest.mark.parametrize(("p99_ms", "expected"), [(50, []), (50.1, ["fallback-too-slow"])])
def test_the_envelope_includes_its_edge(p99_ms: float, expected: list[str]) -> None:
    """A fallback may take exactly p99_ms - primary_p99_ms."""
    assert rules(EXAMPLE.replace("p99_ms: 45, share: 0.05", f"p99_ms: {p99_ms}, share: 0.05")) == expected


@pytest.mark.parametrize(("rule_ms", "expected"), [(28.125, []), (28.2, ["fallback-mean-too-slow"])])
def test_the_mean_includes_its_edge(rule_ms: float, expected: list[str]) -> None:
    """0.8 x + 0.15 * 35 + 0.05 * 45 <= 30."""
    assert rules(EXAMPLE.replace("p99_ms: 20, share: 0.8", f"p99_ms: {rule_ms}, share: 0.8")) == expected


def test_the_tightest_route_decides() -> None:
    """A fallback has to fit every route, whichever serves it."""
    strict = "routes:\n  - {match: chat, slo: {p99_ms: 230, primary_p99_ms: 200, monitoring_ms: 0}}"
    findings = check_text(EXAMPLE.replace("routes:  ", strict + "  #"))

    assert [found.rule for found in findings] == ["fallback-too-slow", "fallback-too-slow"]
    assert all("'chat'" in found.message for found in findings)


@pytest.mark.parametrize(
    ("lease_s", "expected"),
    [
        (12, ["lease-too-short"]),
        (12.1, []),
        (15, []),
        (3600, []),
        (3601, ["out-of-range"]),
    ],
)
def test_a_lease_is_longer_than_a_takeover_and_no_reader_believes_more_than_an_hour(
    lease_s: float, expected: list[str]
) -> None:
    """Heartbeat, session time-out, rebalance and claim are 12 seconds together."""
    assert rules(EXAMPLE.replace("lease_s: 15", f"lease_s: {lease_s}")) == expected


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("ceiling: 0.02", "ceiling: 0", "out-of-range"),
        ("ceiling: 0.02", "ceiling: 1", "out-of-range"),
        ("ceiling: 0.02", "ceiling: -0.1", "out-of-range"),
        ("ceiling: 0.02", "ceiling: .inf", "out-of-range"),
        ("ceiling: 0.02", 'ceiling: "0.02"', "wrong-type"),
        ("ceiling: 0.02", "ceiling: true", "wrong-type"),
        ("ceiling: 0.02", "ceiling: ~", "wrong-type"),
        ("ceiling: 0.02", "ceiling: [0.02]", "wrong-type"),
        ("above_ms: 200", "above_ms: 0", "out-of-range"),
        ("after_s: 30", "after_s: -30", "out-of-range"),
        ("output_tokens, threshold_nats: 0.07", "output_tokens, threshold_nats: 0", "out-of-range"),
        (
            "tokens, threshold_nats: 0.07, window_s: 300}\n  hal",
            "tokens, window_s: 3601}\n  hal",
            "window-length",
        ),
        ("probe_share: 0.05", "probe_share: 1.5", "out-of-range"),
        ("probe_share: 0.05", "probe_share: 0", "out-of-range"),
        ("revert_within_s: 10", "revert_within_s: 10.5", "revert-too-slow"),
        ("revert_within_s: 10", "revert_within_s: 0", "out-of-range"),
        ("{when: output_drift}", "{when: output_drift, keep_s: 11}", "revert-too-slow"),
        ("availability: 0.9999", "availability: 99.99", "out-of-range"),
        ("version: 1", "version: 1.5", "wrong-type"),
        ("version: 1", 'version: "1"', "wrong-type"),
        ("mutes: [latency_spike]", "mutes: latency_spike", "wrong-type"),
        ("calibration: {}", "calibration: {records: -1}", "out-of-range"),
        ("45, share: 0.05}", "45, share: 1.05}", "out-of-range"),
    ],
)
def test_a_number_that_cannot_be_is_the_one_finding(old: str, new: str, rule: str) -> None:
    """A value that is wrong by itself is reported once, and nothing is concluded from it."""
    assert EXAMPLE.count(old) == 1
    assert rules(EXAMPLE.replace(old, new)) == [rule]


PROMISES = """version: 1
routes:
  - {match: embed, slo: {p99_ms: 100, primary_p99_ms: 50}}
  - {match: "*", slo: {p99_ms: 9000, primary_p99_ms: 8000}}
predicates:
  slow: {type: exceedance, field: latency_s, above_ms: %s, ceiling: 0.01%s}
  more: {type: exceedance, field: latency_s, above_ms: %s, ceiling: 0.01%s}
modes: {m: {when: slow}, n: {when: more}}
fallbacks: {rule: {p99_ms: 20, share: 1}}
matrix: [{mode: "*", input_class: "*", fallbacks: [rule]}]
"""
CHAT, EMBED = ", where: {route: chat}", ", where: {route: embed}"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param((100, "", 9000, ""), [], id="one of two is within each promise"),
        pytest.param((101, "", 9000, ""), ["limit-over-promise"] * 2, id="neither is for one route"),
        pytest.param((100, EMBED, 9000, CHAT), [], id="each route has its own"),
        pytest.param((101, EMBED, 9000, CHAT), ["limit-over-promise"], id="one route's own is too high"),
        pytest.param((100, EMBED, 9001, ""), ["limit-over-promise"], id="the rest's is too high"),
    ],
)
def test_a_limit_beyond_what_a_route_promises_is_noted(
    limits: tuple[float, str, float, str], expected: list[str]
) -> None:
    """If nothing that acts on whole calls there lies within it: they may be slower, and nobody is told."""
    assert rules(PROMISES % limits) == expected


def test_what_is_only_said_or_promised_by_default_is_not_noted() -> None:
    """A notice switches nothing, and a route without a p99_ms of its own promises nothing."""
    over = PROMISES % (101, "", 9000, "")

    assert rules(over.replace("when: slow}, n", "when: slow, severity: notice}, n")) == ["limit-over-promise"]
    assert rules(over.replace("p99_ms: 100, primary_p99_ms: 50", "primary_p99_ms: 200")) == []
