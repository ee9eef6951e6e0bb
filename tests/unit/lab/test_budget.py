"""What a promise leaves for fallbacks: stated and measured figures against the limits."""

from dataclasses import replace

import pytest

from detector.contract import example_text, load_contract
from detector.contract.model import RouteRule, Slo
from detector.lab.budget import LEAST, budget
from tests.builders import record

EXAMPLE = load_contract(example_text())


def calls(served_by, latency_s, count=LEAST, **fields):
    """So many calls that one of the fallbacks, or the primary, took so long for."""
    return [record(i, served_by=served_by, latency_s=latency_s, **fields) for i in range(count)]


def test_the_example_leaves_50_ms_and_30_for_the_mean():
    """The figures that the contract's own comment names."""
    found = budget(EXAMPLE)

    assert found.ok
    assert {line.limit_ms for line in found.fallbacks} == {50.0}
    assert found.mean.limit_ms == 30.0
    assert found.mean.stated_ms == pytest.approx(23.5)


@pytest.mark.parametrize(
    ("served_by", "latency_s", "ok"),
    [("cache", 0.049, True), ("cache", 0.052, False), ("primary", 0.19, True), ("primary", 0.21, False)],
)
def test_measured_figures_count_beside_the_stated_ones(served_by, latency_s, ok):
    """A fallback, or the primary itself, that takes longer in truth than it may is found."""
    found = budget(EXAMPLE, calls(served_by, latency_s))
    line = next(each for each in (*found.routes, *found.fallbacks) if each.n)

    assert line.measured_ms == pytest.approx(1000 * latency_s, rel=0.011)
    assert line.ok == found.ok == ok


def test_few_calls_and_failed_ones_measure_nothing():
    """A 99 % point of fewer than a hundred is their maximum; failed calls stay out, as everywhere."""
    few = budget(EXAMPLE, calls("cache", 9.0, LEAST - 1) + calls("rule", 9.0, error="timeout"))

    assert few.ok
    assert all(line.measured_ms is None for line in few.fallbacks)


def test_the_measured_mean_needs_all_fallbacks_and_is_weighted_by_share():
    """0.8 * 20 + 0.15 * 45 + 0.05 * 49 = 25.2 ms."""
    parts = calls("rule", 0.020) + calls("cache", 0.045)
    assert budget(EXAMPLE, parts).mean.measured_ms is None
    mean = budget(EXAMPLE, parts + calls("secondary", 0.049)).mean

    assert mean.measured_ms == pytest.approx(25.2, rel=0.011)
    assert mean.ok
    assert not budget(EXAMPLE, calls("rule", 0.04) + parts[LEAST:] + calls("secondary", 0.049)).mean.ok


def test_the_tightest_route_sets_the_limit_and_each_route_is_measured_by_itself():
    """First match wins, as when judging."""
    rules = (RouteRule(match="fast*", slo=Slo(p99_ms=120, primary_p99_ms=90)), *EXAMPLE.routes)
    found = budget(
        replace(EXAMPLE, routes=rules), calls("primary", 0.15, route="faster") + calls("primary", 0.15)
    )
    fast, rest = found.routes

    assert {line.limit_ms for line in found.fallbacks} == {30.0}
    assert [line.ok for line in found.fallbacks] == [True, False, False]
    assert (fast.ok, rest.ok) == (False, True)


def test_the_mean_is_held_to_what_check_holds_it_to():
    """The least that is left beside monitoring need not be the tightest route's."""
    rules = (
        RouteRule(match="a*", slo=Slo(p99_ms=250, primary_p99_ms=200, monitoring_ms=5)),
        RouteRule(match="*", slo=Slo(p99_ms=260, primary_p99_ms=200, monitoring_ms=30)),
    )
    one = {"rule": replace(EXAMPLE.fallbacks["rule"], p99_ms=40.0, share=1.0)}
    found = budget(replace(EXAMPLE, routes=rules, fallbacks=one))

    assert (found.mean.limit_ms, found.monitoring_ms) == (30.0, 30.0)
    assert not found.ok
    exactly = {"rule": replace(one["rule"], p99_ms=30.0)}
    assert budget(replace(EXAMPLE, routes=rules, fallbacks=exactly)).ok
    hardly = {"rule": replace(one["rule"], p99_ms=30.005)}
    assert not budget(replace(EXAMPLE, routes=rules, fallbacks=hardly)).ok
