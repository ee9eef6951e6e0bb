"""What passes the check can be judged: contract and predicates agree on types, methods and fields."""

import itertools
from typing import get_args

import pytest

from detector.contract import check_text, load_contract
from detector.contract.fields import KINDS
from detector.contract.model import Method, PredicateType
from detector.pipeline import Pipeline
from detector.predicates.base import Budget
from detector.predicates.registry import judge_for
from topics.telemetry import TelemetryRecord

SOURCES = [
    *(f"field: {name}" for name in [*KINDS, "features.topic"]),
    "evaluation: hallucination",
    "cause: hardware_throttling",
    "",
]
BUDGET = Budget(run_length=1e9, alpha=1e-7)
LIMITS = [
    "",
    ", above_ms: 200",
    ", above_ms: 200, consecutive: 9",
    ", score_below: 0.5",
    ", score_above: 0.5",
    ", above_share: 0.7",
    ", below_share: 0.3",
    ", below_nats: 0.5",
]
FRAME = """version: 1
predicates: {{judged: {{type: {type}, method: {method}{source}{limit}}}}}
modes: {{bad: {{when: judged, severity: notice}}}}
"""


def test_callers_are_told_apart_by_what_was_asked_or_of_whom() -> None:
    """On a rate of telemetry by the default method; on nothing else would it be read."""
    for kind, method, source, field, rules in (
        ("rate", "default", "field: error", "tenant", []),
        ("rate", "default", "field: hallucinated", "template", []),
        ("rate", "default", "field: error", "tenand", ["unknown-field"]),
        ("rate", "default", "field: error", "deployment", ["field-type"]),
        ("rate", "literal", "field: error", "tenant", ["unused-key"]),
        ("rate", "default", "evaluation: toxic", "tenant", ["unused-key"]),
        ("divergence", "default", "field: input_tokens", "tenant", ["unused-key"]),
        ("exceedance", "default", "field: latency_s, above_ms: 200", "tenant", ["unused-key"]),
    ):
        text = FRAME.format(type=kind, method=method, source=f", {source}", limit=f", unless_alone: {field}")
        assert [found.rule for found in check_text(text)] == rules, (kind, method, source, field)


@pytest.mark.parametrize(
    ("predicate_type", "method"), list(itertools.product(get_args(PredicateType), get_args(Method)))
)
def test_whatever_loads_has_a_judge(predicate_type: str, method: str) -> None:
    """No combination of type, method, source and limit passes the check and then cannot be built."""
    built = 0
    for source, limit in itertools.product(SOURCES, LIMITS):
        text = FRAME.format(
            type=predicate_type, method=method, source=f", {source}" if source else "", limit=limit
        )
        if all(found.severity == "warning" for found in check_text(text)):
            spec = load_contract(text).predicates["judged"]
            judge_for(spec, BUDGET)
            built += 1
    plain = dict.fromkeys(("attribution", "repetition", "shortfall"), ("default",))
    plain["absence"] = ("default", "literal")
    # An early sign of slower calls is a matter of values, not of shares or distributions.
    fits = method != "log_cusum" or predicate_type == "exceedance"
    assert (built > 0) == (fits and method in plain.get(predicate_type, (method,)))


def test_an_attribution_says_which_cause() -> None:
    """Without a cause, or with one that the decision table does not know, there is nothing to name."""
    for source, rule in (("", "missing-key"), (", cause: gremlins", "unknown-choice")):
        text = FRAME.format(type="attribution", method="default", source=source, limit="")
        assert [found.rule for found in check_text(text)] == [rule]


def test_a_limit_belongs_to_its_field() -> None:
    """A repetition and a shortfall need theirs, and a shortfall no limit in another field's unit."""
    for kind, source, limit, rules in (
        ("repetition", "field: token_ids", "", ["no-limit"]),
        ("shortfall", "field: output_tokens", "", ["no-limit"]),
        ("shortfall", "field: output_tokens", ", below_share: 0.2, below_nats: 1", ["unit-mismatch"]),
        ("shortfall", "field: logprob_mean", ", below_share: 0.2", ["no-limit", "unit-mismatch"]),
        ("shortfall", "field: latency_s", ", below_share: 0.2", ["field-type"]),
        ("repetition", "field: output_tokens", ", above_share: 0.7", ["field-type"]),
    ):
        text = FRAME.format(type=kind, method="default", source=f", {source}", limit=limit)
        assert [found.rule for found in check_text(text)] == rules


def test_what_is_given_tells_calls_apart() -> None:
    """Token counts, given what was asked and never what came of it, by the default method, without `by`."""
    for field, given, more, rules in (
        ("output_tokens", "tenant", "", []),
        ("output_tokens", "input_tokens", "", []),
        ("input_tokens", "template", "", []),
        ("output_tokens", "output_tokens", "", ["field-type"]),
        ("output_tokens", "latency_s", "", ["field-type"]),
        ("output_tokens", "features.topic", "", ["field-type"]),
        ("output_tokens", "request_id", "", ["field-type"]),
        ("output_tokens", "deployment", "", []),
        ("output_tokens", "finish_reason", "", ["field-type"]),
        ("output_tokens", "error", "", ["field-type"]),
        ("input_tokens", "output_tokens", "", ["field-type"]),
        ("input_tokens", "model", "", ["field-type"]),
        ("output_tokens", "tenand", "", ["unknown-field"]),
        ("latency_s", "tenant", "", ["field-type"]),
        ("features.size", "tenant", "", ["field-type"]),
        ("output_token", "tenant", "", ["unknown-field"]),
        ("output_tokens", "tenant", ", by: [tenant]", ["two-ways"]),
    ):
        text = FRAME.format(
            type="divergence", method="default", source=f", field: {field}", limit=f", given: {given}{more}"
        )
        assert [found.rule for found in check_text(text)] == rules, (field, given)
    text = FRAME.format(
        type="divergence", method="literal", source=", field: output_tokens", limit=", given: tenant"
    )
    assert [found.rule for found in check_text(text)] == ["unused-key"]


@pytest.mark.parametrize(
    ("type_", "method", "keys"),
    [
        ("rate", "default", ", field: error, ceiling: 0.01, min_samples: 100"),
        ("rate", "literal", ", field: error, ceiling: 0.01, window_s: 60, design_effect: 2"),
        ("divergence", "literal", ", field: input_tokens, min_samples: 100"),
    ],
)
def test_a_key_that_a_method_does_not_read_is_told(type_: str, method: str, keys: str) -> None:
    """Else somebody would rely on a number of samples that nobody waits for."""
    text = FRAME.format(type=type_, method=method, source=keys, limit="")

    assert [found.rule for found in check_text(text)] == ["unused-key"]


@pytest.mark.parametrize(
    ("where", "mode", "rules"),
    [
        ("{error: timeout}", "", ["filter-blind"]),
        ("{served_by: rule}", "", ["filter-blind"]),
        ("{served_by: [primary, rule]}", "", []),
        ("{probe: false}", "", ["filter-blind"]),
        ("{probe: [true, false]}", "", []),
        ("{probe: false}", ", shadow: true", []),
    ],
)
def test_a_filter_leaves_what_the_predicate_has_to_see(where: str, mode: str, rules: list[str]) -> None:
    """Good calls beside failed ones, what the primary answered, and the probes that end an activation."""
    text = f"""version: 1
predicates: {{errors: {{type: rate, field: error, where: {where}}}}}
modes: {{bad: {{when: errors{mode}}}}}
fallbacks: {{rule: {{type: rule, p99_ms: 20, share: 1}}}}
matrix: [{{mode: "*", input_class: "*", fallbacks: [rule]}}]
"""
    assert [found.rule for found in check_text(text)] == rules


def test_a_filter_that_is_not_read_is_not_called_blind_as_well() -> None:
    """Silence has no calls to filter, and that is all there is to say."""
    text = """version: 1
predicates: {silence: {type: absence, where: {error: timeout}}}
modes: {quiet: {when: silence, severity: notice}}
"""
    assert [found.rule for found in check_text(text)] == ["filter-unread"]


@pytest.mark.parametrize(
    "extreme",
    [
        "errors: {type: rate, field: error, ceiling: 1.0e-9, design_effect: 10000}",
        "drift: {type: divergence, field: output_tokens}",
    ],
)
def test_the_extremes_that_pass_the_check_can_be_judged(extreme: str) -> None:
    """The smallest ceiling and budget and the greatest design effect: no number runs over."""
    text = f"""version: 1
defaults: {{false_alarms_per_week: 1.0e-6, fleet_records_per_s: 1000000}}
predicates: {{{extreme}}}
modes: {{bad: {{when: {extreme.partition(":")[0]}, severity: notice}}}}
"""
    rules = load_contract(text)
    pipeline = Pipeline(rules)
    calls = [
        TelemetryRecord(event_time=1.7e9 + i / 10, route="chat", error="x" * (i % 2), output_tokens=i % 90)
        for i in range(9000)
    ]

    pipeline.step(calls, range(len(calls)), [each.event_time for each in calls])
