"""A contract that changes while something is active: a fault that goes on is not forgotten."""

from dataclasses import replace

import numpy as np
import pytest

from detector.pipeline import Pipeline
from tests.builders import T0, contract, in_order, record, spec

PER_S = 20
RULES = [
    spec("rate", name="errors", field="error", ceiling=0.01),
    spec("exceedance", name="slow", ceiling=0.01),
]


def some(first, last, bad, seed=1):
    """Calls of which a share `bad(at)` fail and are slow."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(first * PER_S, last * PER_S):
        wrong = draw.random() < bad(i / PER_S)
        made.append(record(i / PER_S, probe=first > 0, error="x" if wrong else "", hallucinated=False))
    return in_order(made)


def after(rules, changed, until, bad):
    """Decisions that act, from the reload at 70 s on; the fault began at 60 s."""
    before = Pipeline(rules)
    before.step(*some(0, 70, lambda at: 0.5 if at >= 60 else 0.0).args())
    pipeline = Pipeline(changed)
    pipeline.restore(before.snapshot("chat"))
    rest = some(70, until, bad, seed=2)
    offsets = range(70 * PER_S, until * PER_S)
    told = pipeline.step(rest.records, offsets, rest.arrivals)
    return [each for each in told if each.disposition == "act"], [
        each for each in told if each.disposition != "act"
    ]


@pytest.mark.parametrize("ceiling", [0.005, 0.03])
def test_a_fault_that_goes_on_stays_active_under_another_limit(ceiling):
    """Half of the probes fail on: extended, by what they show, and nobody calls the predicate unusable."""
    changed = contract([spec("rate", name="errors", field="error", ceiling=ceiling)])
    acting, others = after(contract(RULES[:1]), changed, 100, lambda at: 0.5)

    assert {each.kind for each in acting} == {"extended"}
    assert all("probes bad since the last attempt" in each.reason for each in acting)
    assert others == []


def test_a_fault_that_is_over_ends_under_another_limit():
    """Healthy probes end it as they would have."""
    changed = contract([spec("rate", name="errors", field="error", ceiling=0.03)])
    acting, _ = after(contract(RULES[:1]), changed, 120, lambda at: 0.0)

    assert acting[-1].kind == "deactivated"
    assert acting[-1].at - T0 < 110


@pytest.mark.parametrize(
    "other", [{"field": "hallucinated"}, {"field": "error", "where": (("tenant", ("acme",)),)}]
)
def test_what_was_found_in_other_calls_is_not_held_against_these(other):
    """By the same name another field, or other tenants: nothing is known of those."""
    changed = contract([spec("rate", name="errors", ceiling=0.01, **other)])
    acting, _ = after(contract(RULES[:1]), changed, 100, lambda at: 0.5)

    assert acting[-1].kind == "deactivated"


def test_the_rate_that_was_found_is_what_probes_are_held_against():
    """A recovery is told from half of the calls, not from the least that the new limit would have shown."""
    before, taken = Pipeline(contract(RULES[:1])), Pipeline(contract([replace(RULES[0], ceiling=0.02)]))
    before.step(*some(0, 70, lambda at: 0.5 if at >= 60 else 0.0).args())
    taken.restore(before.snapshot("chat"))
    old, new = (each.route("chat").judges["errors"].verdict for each in (before, taken))

    assert (new.value, new.samples) == (old.value, old.samples)
    assert new.threshold == 0.02
