"""The section `calibration`: read by place, typed, and second to what the user says."""

import re

import pytest

from detector.contract import check_text, example_text, load_contract
from detector.contract.calibration import CalibratedPredicate
from detector.predicates.base import Budget
from detector.predicates.registry import applied, judge_for

SECTION = """calibration:
  made_at: "2025-01-02T03:04:05Z"
  made_from: [a.jsonl, b.csv.gz]
  records: 5000
  first_event_time: 1700000000.5
  last_event_time: 1700086400
  fleet_records_per_s: 57.5
  routes:
    chat:
      records_per_s: 50
      predicates:
        input_drift:
          {records: 4000, design_effect: 1.5, tolerance_nats: 0.04, thresholds_nats: {"3": 0.2, "300": 0.07},
           edges: [1, 10.5], categories: null, reference: [10, 20, 30], smallest_detectable_nats: 0.1,
           false_per_week: 0.001, basis: estimated}
        errors:
          {records: 4000, rate: 0.001, ceiling: 0.002, design_effect: 1, run_length: 1.0e+9, usable: true,
           proposed_above_ms: null, smallest_detectable_rate: 0.05, false_per_week: 0.01, basis: guaranteed}
"""
TEXT = example_text().replace("calibration: {}", SECTION)


def test_every_value_arrives_typed() -> None:
    """Nothing is lost between the text and the values, and null is "not learnt"."""
    assert check_text(TEXT) == []
    contract = load_contract(TEXT)

    drift = contract.calibrated("chat", "input_drift")
    assert drift is not None
    assert drift.thresholds_nats == {3: 0.2, 300: 0.07}
    assert (drift.edges, drift.categories, drift.reference, drift.bins) == ((1, 10.5), None, (10, 20, 30), 3)
    errors = contract.calibrated("chat", "errors")
    assert errors == CalibratedPredicate(
        records=4000,
        rate=0.001,
        ceiling=0.002,
        run_length=1e9,
        smallest_detectable_rate=0.05,
        false_per_week=0.01,
        basis="guaranteed",
    )
    assert contract.calibrated("chat", "silence") is None
    assert contract.calibrated("search", "errors") is None
    assert contract.calibration.made_from == ("a.jsonl", "b.csv.gz")
    assert contract.fleet_records_per_s == 57.5


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("records: 5000", "records: 5000.5", "wrong-type"),
        ("records_per_s: 50", "records_per_s: -1", "out-of-range"),
        ("design_effect: 1.5", "design_effect: 0.9", "out-of-range"),
        ("basis: guaranteed", "basis: hoped", "unknown-choice"),
        ("edges: [1, 10.5]", "edges: [1, .nan]", "out-of-range"),
        ("edges: [1, 10.5]", "edges: [10.5, 1]", "calibration-bins"),
        ("edges: [1, 10.5]", "edges: 7", "wrong-type"),
        ("reference: [10, 20, 30]", "reference: [10, -1, 30]", "out-of-range"),
        ("reference: [10, 20, 30]", "reference: [10, 20]", "calibration-bins"),
        ("categories: null", "categories: [a]", "calibration-bins"),
        ("edges: [1, 10.5], categories: null", "categories: [a, a]", "calibration-bins"),
        ("edges: [1, 10.5], categories: null", "categories: [a, 2]", "wrong-type"),
        ('{"3": 0.2, "300": 0.07}', '{"0": 0.2}', "window-length"),
        ('{"3": 0.2, "300": 0.07}', '{"3": -0.2}', "out-of-range"),
        ('{"3": 0.2, "300": 0.07}', "[0.2]", "wrong-type"),
        ("ceiling: 0.002", "ceiling: 1", "out-of-range"),
        ("run_length: 1.0e+9", "run_length: null", "wrong-type"),
        ("false_per_week: 0.01,", "fals_per_week: 0.01,", "unknown-key"),
        ("        errors:\n", "        eror:\n", "stale-calibration"),
    ],
)
def test_a_bad_value_is_one_finding_at_its_place(old: str, new: str, rule: str) -> None:
    """It is reported once, in the line where it stands."""
    assert TEXT.count(old) == 1
    text = TEXT.replace(old, new)
    (found,) = check_text(text)

    assert found.rule == rule
    assert found.line == text[: text.index(new) + 1].count("\n") + 1


def test_what_the_user_states_stands_above_what_was_learnt() -> None:
    """Calibration fills in what is left open; the stricter run length counts."""
    contract = load_contract(TEXT)
    open_text = re.sub(r"(errors: +\{type: rate, field: error), ceiling: 0.01", r"\1", TEXT)
    learnt = CalibratedPredicate(design_effect=3.0, ceiling=0.002, run_length=1e30)
    budget = Budget.of(contract)
    stated, with_stated = applied(contract.predicates["errors"], budget, learnt)
    left_open, _ = applied(load_contract(open_text).predicates["errors"], budget, learnt)

    assert (stated.ceiling, stated.design_effect) == (0.01, 3.0)
    assert left_open.ceiling == 0.002
    assert with_stated.run_length == 1e30
    assert applied(stated, budget, CalibratedPredicate(run_length=2.0))[1] == budget


def test_other_bins_make_another_judge() -> None:
    """State over other bins cannot be taken over; a changed tolerance keeps it."""
    contract = load_contract(TEXT)
    spec, budget = contract.predicates["input_drift"], Budget.of(contract)
    one, same, other = (
        judge_for(
            spec, budget, CalibratedPredicate(edges=edges, reference=(1, 2), tolerance_nats=nats)
        ).identity
        for edges, nats in (((5.0,), 0.1), ((5.0,), 0.2), ((6.0,), 0.1))
    )

    assert one == same != other


@pytest.mark.parametrize(
    ("categories", "counts", "rules"),
    [("[a, b]", 36, []), ("[a, b]", 35, ["calibration-bins"]), ("[a, b]", 0, ["calibration-bins"])],
)
def test_each_stratum_has_as_many_bins_as_any_other(categories: str, counts: int, rules: list[str]) -> None:
    """Of a divergence given a text, categories are strata."""
    reference = f", reference: {[1] * counts}" if counts else ""
    text = TEXT.replace("field: input_tokens,", "field: input_tokens, given: tenant,").replace(
        "edges: [1, 10.5], categories: null, reference: [10, 20, 30]", f"categories: {categories}{reference}"
    )

    assert [found.rule for found in check_text(text)] == rules


@pytest.mark.parametrize(
    ("name", "subject", "old", "new"),
    [
        ("errors", "rate of error", "field: error,", "field: refused,"),
        ("errors", "rate of error", "field: error,", "field: error, unless_alone: tenant,"),
        ("slow_responses", "exceedance of latency_s over 200 ms", "above_ms: 200", "above_ms: 240"),
        ("output_drift", "divergence of output_tokens", "output_tokens,", "output_tokens, given: tenant,"),
        ("hallucinations", "rate of hallucinated", "hallucinated,", "hallucinated, where: {tenant: [a, b]},"),
    ],
)
def test_what_was_learnt_of_something_else_counts_no_more(
    name: str, subject: str, old: str, new: str
) -> None:
    """It is kept while the predicate judges the same, whatever else changes; else it is left out."""
    section = (
        f"calibration:\n  routes:\n    chat:\n      predicates:\n        {name}:\n"
        f'          {{made_for: "{subject}", records: 5000, design_effect: 2}}\n'
    )
    text = example_text().replace("calibration: {}", section)
    stricter = text.replace("false_alarms_per_week: 0.15", "false_alarms_per_week: 0.1")
    changed = text.replace(old, new)
    assert example_text().count(old) == 1

    for same in (text, stricter):
        learnt = load_contract(same).calibrated("chat", name)
        assert learnt is not None
        assert learnt.design_effect == 2
        assert check_text(same) == []
    (found,) = check_text(changed)
    assert found.rule == "stale-calibration"
    assert subject in found.message
    assert load_contract(changed).calibrated("chat", name) is None
