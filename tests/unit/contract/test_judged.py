"""What passes the check can be judged: contract and predicates agree on types, methods and fields."""

import itertools
from typing import get_args

import pytest

from detector.contract import check_text, load_contract
from detector.contract.fields import KINDS
from detector.contract.model import Method, PredicateType
from detector.predicates.base import Budget
from detector.predicates.registry import judge_for

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
]
FRAME = """version: 1
predicates: {{judged: {{type: {type}, method: {method}{source}{limit}}}}}
modes: {{bad: {{when: judged, severity: notice}}}}
"""


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
    # Only an absence and an attribution have no choice of methods.
    plain = {"absence": ("default", "literal"), "attribution": ("default",)}
    assert (built > 0) == (method in plain.get(predicate_type, (method,)))


def test_an_attribution_says_which_cause() -> None:
    """Without a cause, or with one that the decision table does not know, there is nothing to name."""
    for source, rule in (("", "missing-key"), (", cause: gremlins", "unknown-choice")):
        text = FRAME.format(type="attribution", method="default", source=source, limit="")
        assert [found.rule for found in check_text(text)] == [rule]
