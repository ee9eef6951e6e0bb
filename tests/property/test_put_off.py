"""Calls that are put off and ticks that are left out must not be missed by anybody."""

from dataclasses import replace

import numpy as np
import pytest

from detector.contract.model import PredicateSpec
from detector.modes.plan import Plan
from detector.pipeline import Pipeline
from detector.predicates.absence import TOGETHER_S
from detector.predicates.base import Budget
from detector.windows.inbox import MOST
from tests.builders import T0, by_scope, contract, core_contract, faulty_stream, in_order, record, run, spec

STREAM = faulty_stream(seed=3, seconds=60)
CONTRACT = core_contract()


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_small_batches_decide_what_a_whole_stream_does(size):
    """However few calls come at once, decisions and counts are those of all of them at once."""
    whole, drops = Pipeline(CONTRACT), Pipeline(CONTRACT)
    expected = by_scope(run(whole, STREAM))

    assert by_scope(run(drops, STREAM, range(size, len(STREAM), size))) == expected
    assert {"chat", "code"} <= expected.keys()
    assert drops.counts == whole.counts
    assert drops.armed() == whole.armed()


def test_a_decision_comes_with_the_call_that_causes_it():
    """Of calls given one by one, an activation comes out at the one that its evidence names, not later."""
    pipeline = Pipeline(CONTRACT)
    calls = in_order(
        [record(i / 100, hallucinated=False) for i in range(50)]
        + [record(0.5 + i / 100, hallucinated=True) for i in range(40)]
    )
    for i in range(len(calls)):
        found = [each for each in pipeline.step(*calls[i : i + 1].args()) if each.kind == "activated"]
        if found:
            assert [each.evidence.offset for each in found] == [i]
            return
    pytest.fail("no activation")


@pytest.mark.parametrize("where", [(), (("tenant", ("acme",)),)])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_what_is_suspicious_on_one_route_alone_is_seen_at_once_too(size, where):
    """A judge that learns what is usual: the same call brings the decision, however many come at once."""
    short = PredicateSpec(
        name="unsure", type="shortfall", field="logprob_mean", below_nats=0.5, where=where, design_effect=1.0
    )
    usual = {"chat": -1.0, "code": -3.0}
    calls = in_order(
        record(
            i / 400,
            ("chat", "code")[i % 2],
            tenant="acme",
            input_tokens=100,
            logprob_mean=-3.0 if i > 8100 else usual[("chat", "code")[i % 2]] + (i % 7) / 1000,
        )
        for i in range(8400)
    )
    whole, drops = Pipeline(contract([short])), Pipeline(contract([short]))
    (expected, *_) = run(whole, calls)
    found = []
    for first in range(0, len(calls), size):
        found += drops.step(*calls[first : first + size].args())
        if found:
            assert first <= found[0].evidence.offset < first + size
            break

    assert (expected.kind, expected.scope) == ("activated", "chat")
    assert expected.evidence.offset > 8100
    assert found[0] == expected


def test_a_bad_call_waits_where_it_cannot_raise_an_alarm():
    """A single one among good ones is not looked at alone; as many as may raise an alarm are, at once."""
    pipeline = Pipeline(CONTRACT)
    calls = in_order(
        [record(i / 1000, hallucinated=False) for i in range(50)]
        + [record(0.1 + i / 1000, hallucinated=True) for i in range(40)]
    )
    pipeline.step(*calls[:50].args())
    waiting = [len(pipeline.route("chat").inbox)]
    for i in range(50, 90):
        pipeline.step(*calls[i : i + 1].args())
        waiting.append(len(pipeline.route("chat").inbox))

    assert waiting[:2] == [0, 1]
    assert 0 in waiting[2:]


def test_a_bad_call_does_not_wait_behind_many():
    """Where many wait as objects, walking them costs little for each, and the longer they wait the more."""
    pipeline = Pipeline(CONTRACT)
    calls = in_order(record(i / 1000, hallucinated=i == 190) for i in range(191))
    for i in range(190):
        pipeline.step(*calls[i : i + 1].args())
    assert len(pipeline.route("chat").inbox) == 189
    pipeline.step(*calls[190:].args())

    assert not pipeline.route("chat").inbox


def test_a_bad_call_may_wait_behind_many_that_were_laid_out():
    """As arrays they cost next to nothing until somebody looks."""
    pipeline = Pipeline(CONTRACT)
    calls = in_order(record(i / 1000, hallucinated=i == 90) for i in range(91))
    pipeline.step(*calls[:1].args())
    pipeline.step(*calls[1:].args())

    assert len(pipeline.route("chat").inbox) == 90


def test_a_call_older_than_every_window_is_late_though_calls_wait():
    """While others wait to be judged, too: it is counted as late, and not judged."""
    pipeline = Pipeline(CONTRACT)
    calls = in_order([record(1000 + i / 100) for i in range(50)] + [record(1.0)] + [record(1000.6)])
    for i in range(len(calls)):
        pipeline.step(*calls[i : i + 1].args())

    assert (pipeline.counts.late, pipeline.counts.judged) == (1, 51)


@pytest.mark.parametrize("size", [5, 60], ids=["few", "many"])
def test_such_a_call_is_late_behind_a_pane_that_has_closed_too(size):
    """Those around it wait, in the same batch as the one that closed it."""
    pipeline = Pipeline(CONTRACT)
    pipeline.step(*in_order([record(100.0 + i) for i in range(9)]).args())
    together = [record(109.9), *(record(109.9 + i / 1000) for i in range(size))]
    pipeline.step(together, range(9, 10 + size), [T0 + 110.0] * (1 + size))
    waiting = len(pipeline.route("chat").inbox)
    late = [record(110.9), record(20.0), *(record(110.9 + i / 1000) for i in range(size))]
    pipeline.step(late, range(10 + size, 12 + 2 * size), [T0 + 111.0] * (2 + size))

    assert waiting == 1 + size
    assert (pipeline.counts.late, pipeline.counts.judged) == (1, 11 + 2 * size)


def test_what_ought_not_to_have_waited_is_not_lost_in_silence(monkeypatch):
    """If a judge missed a suspicion, its route would fail, which is told, rather than leave calls out."""
    monkeypatch.setattr("detector.pipeline.MOST", 8)
    monkeypatch.setattr(Plan, "suspected", lambda *_: set())
    failed = []
    pipeline = Pipeline(CONTRACT, on_failure=lambda route, error: failed.append((route, type(error))))
    calls = in_order(
        [record(i / 1000, hallucinated=False) for i in range(50)]
        + [record(0.1 + i / 1000, hallucinated=True) for i in range(12)]
    )
    pipeline.step(*calls[:50].args())
    for i in range(50, 62):
        pipeline.step(*calls[i : i + 1].args())

    assert failed == [("chat", AssertionError)]


def test_no_more_calls_wait_than_memory_allows():
    """A clock that stands still lets no pane close; what waits is judged all the same."""
    pipeline = Pipeline(CONTRACT)
    calls = in_order([record(1.0) for _ in range(4 * MOST)])
    for first in range(0, 4 * MOST, 512):
        pipeline.step(*calls[first : first + 512].args())
        assert len(pipeline.route("chat").inbox) <= MOST + 512

    assert pipeline.counts.judged == 4 * MOST


def test_a_silence_is_noticed_at_the_tick_that_ends_its_bound():
    """Between two closing panes too: the notice is at most one tick later than the wait for other routes."""
    pipeline = Pipeline(CONTRACT)
    run(pipeline, in_order([record(i / 10) for i in range(101)]))
    ticks = [10 + i * 0.05 for i in range(1, 400)]
    noticed = next(at for at in ticks if pipeline.tick(T0 + at))

    assert noticed - 10 == pytest.approx(5.0 + TOGETHER_S, abs=0.051)
    assert noticed > 10 + 5.0 + TOGETHER_S - 1e-9


LIMITS = {"chat": 9.0, "code": 0.1}  # seconds; `search` has none
BY_ROUTE = contract(
    [
        spec("exceedance", name="slow_code", above_ms=100.0, ceiling=0.02, routes=("code",)),
        spec("rate", name="errors", field="error", ceiling=0.02),
        spec("exceedance", name="slow_chat", above_ms=9000.0, ceiling=0.02, routes=("chat", "nobody")),
        PredicateSpec(
            name="unsure", type="shortfall", field="logprob_mean", below_nats=0.5, routes=("code",)
        ),
        spec(
            "rate",
            name="refusals",
            field="refused",
            ceiling=0.02,
            where=(("tenant", ("acme",)),),
            routes=("search", "chat"),
        ),
    ],
    false_alarms_per_week=1000.0,
)


def routes_with_limits(seed, seconds=40, routes=("chat", "code", "search")):
    """Healthy calls of each route would be slow, or refused, on another; later each has a fault of its own.

    How often each route is called changes all the time, so that its share of a batch does too.
    """
    draw = np.random.default_rng(seed)
    made = []
    for at in np.arange(0, seconds, 1 / 150):
        route = routes[int(draw.choice(3, p=draw.dirichlet((1.0, 1.0, 1.0))))]
        bad = at > 25 and draw.random() < 0.4
        usual = LIMITS.get(route, 30.0) * draw.uniform(0.3, 0.9)
        acme = bool(draw.random() < 0.5)
        made.append(
            record(
                float(at),
                route,
                latency_s=usual * (5 if bad and route != "search" and at > 30 else 1),
                tenant="acme" if acme else "blue",
                refused=bool(bad and acme) if route == "search" else bool(draw.random() < 0.9) and not acme,
                error="500" if draw.random() < 0.002 else "",
                input_tokens=100,
                logprob_mean=-1.0 - float(draw.random()) * (3 if route != "code" else 0.1),
            )
        )
    return in_order(made)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_routes_with_other_predicates_decide_as_if_all_calls_came_at_once(seed, size):
    """However few come at once, of whichever route: nobody flips at a call that had been left to wait."""
    stream = routes_with_limits(seed)
    whole, drops = Pipeline(BY_ROUTE), Pipeline(BY_ROUTE)
    expected = by_scope(run(whole, stream))

    assert by_scope(run(drops, stream, range(size, len(stream), size))) == expected
    assert by_scope(drops.tick(T0 + 60)) == by_scope(whole.tick(T0 + 60))
    assert [expected[route][0].evidence.predicate for route in sorted(expected)] == [
        "slow_chat",
        "slow_code",
        "refusals",
    ]
    assert drops.counts == whole.counts
    assert drops.armed() == whole.armed()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [1, 50])
def test_a_route_decides_as_under_a_contract_of_the_predicates_that_exist_there(seed, size, monkeypatch):
    """At an equal budget: what others are judged by makes no difference to it, nor do their calls."""
    monkeypatch.setattr(Budget, "of", lambda _: Budget(run_length=1e6, alpha=1e-6))
    stream = routes_with_limits(seed)
    together = Pipeline(BY_ROUTE)
    mixed = by_scope(run(together, stream, range(size, len(stream), size)))
    together.tick(T0 + 60)
    for route in ("chat", "code", "search"):
        there = {
            name: replace(each, routes=())
            for name, each in BY_ROUTE.predicates.items()
            if each.exists_on(route)
        }
        modes = {name: mode for name, mode in BY_ROUTE.modes.items() if name in there}
        alone = Pipeline(replace(BY_ROUTE, predicates=there, modes=modes))

        assert run(alone, stream.of(route)) == mixed[route]
        alone.tick(T0 + 60)
        held = together.route(route)
        assert alone.armed() == {name: held.armed[name] / held.judged for name in there}


def test_calls_that_would_be_bad_on_another_route_wait_like_good_ones():
    """The scouts of predicates that a route does not have raise no suspicion there."""
    pipeline = Pipeline(BY_ROUTE)
    calls = in_order(record(i / 10_000, "search", latency_s=30.0, refused=False) for i in range(300))
    for i in range(300):
        pipeline.step(*calls[i : i + 1].args())

    assert len(pipeline.route("search").inbox) == 299
