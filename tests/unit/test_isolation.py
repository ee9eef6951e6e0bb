"""An error of ours in the judgement of one route ends that judgement, not its neighbours'."""

import pytest

from detector.modes.plan import Plan
from detector.modes.route import RouteJudge
from detector.pipeline import Pipeline
from tests.builders import T0, by_scope, core_contract, faulty_stream, record, run

CONTRACT = core_contract()
STREAM = faulty_stream(seconds=90, per_s=10)


@pytest.fixture
def broken(monkeypatch):
    """Makes a method of one route's judge fail, `times` times, once it was called `after` times."""

    def breaks(method, route, after, times=10**9):
        whole, calls = getattr(RouteJudge, method), [0]

        def failing(self, *args, **more):
            calls[0] += self.route == route
            if self.route == route and after < calls[0] <= after + times:
                raise ZeroDivisionError(method)
            return whole(self, *args, **more)

        monkeypatch.setattr(RouteJudge, method, failing)

    return breaks


@pytest.mark.parametrize("method", ["_close", "take", "tick"])
@pytest.mark.parametrize("after", [0, 60])
def test_neighbours_are_judged_as_if_nothing_had_happened(broken, method, after):
    whole = by_scope(run(Pipeline(CONTRACT), STREAM, range(50, len(STREAM), 50)))
    broken(method, "chat", after)
    told = []
    pipeline = Pipeline(CONTRACT, on_failure=lambda route, error: told.append((route, type(error))))

    found = by_scope(run(pipeline, STREAM, range(50, len(STREAM), 50)))
    found_at_ticks = pipeline.tick(STREAM.arrivals[-1])
    for route in pipeline.routes:
        pipeline.snapshot(route)

    assert {scope: each for scope, each in found.items() if scope != "chat"} == {
        scope: each for scope, each in whole.items() if scope != "chat"
    }
    assert all(each.scope == "chat" or each.mode for each in found_at_ticks)
    assert set(told) <= {("chat", ZeroDivisionError)}
    assert told or method == "tick"
    assert pipeline.counts.judged <= len(STREAM)


@pytest.mark.parametrize("after", [0, 10])
def test_an_error_before_routes_are_told_apart_costs_nobody_a_decision(monkeypatch, after):
    """What waits is found by looking at all calls of a batch at once; where that fails, none waits."""
    whole = by_scope(run(Pipeline(CONTRACT), STREAM, range(50, len(STREAM), 50)))
    look, calls = Plan.suspected, [0]

    def failing(self, table, judges):
        calls[0] += 1
        if calls[0] > after:
            raise OverflowError
        return look(self, table, judges)

    monkeypatch.setattr(Plan, "suspected", failing)
    told = []
    pipeline = Pipeline(CONTRACT, on_failure=lambda route, error: told.append(route))

    assert by_scope(run(pipeline, STREAM, range(50, len(STREAM), 50))) == whole
    assert set(told) == {"*"}
    with pytest.raises(OverflowError):
        run(Pipeline(CONTRACT), STREAM)


def test_a_scope_that_was_active_is_so_no_more_and_its_transitions_go_on(broken):
    told = []
    pipeline = Pipeline(CONTRACT, on_failure=lambda route, error: told.append(route))
    decisions = run(pipeline, STREAM[: len(STREAM) // 2])
    assert pipeline.route("chat").machine.engaged
    last = [each for each in decisions if each.scope == "chat" and each.disposition == "act"][-1]

    broken("feed", "chat", 0)
    at = STREAM.arrivals[len(STREAM) // 2]
    (ended,) = pipeline.step([record(at - T0)], [10**6], [at])

    assert told == ["chat"]
    assert (ended.kind, ended.state, ended.transition) == ("deactivated", "inactive", last.transition + 1)
    assert "failed" in ended.reason
    assert not pipeline.route("chat").machine.engaged


def test_a_route_whose_state_cannot_be_saved_begins_anew(broken):
    """Else no snapshot would ever be written, and no commit pass it."""
    told = []
    pipeline = Pipeline(CONTRACT, on_failure=lambda route, error: told.append(route))
    run(pipeline, STREAM[: len(STREAM) // 2])
    transitions = pipeline.route("chat").machine.status.transition
    broken("_flush", "chat", 0, times=1)

    taken = Pipeline(CONTRACT)
    taken.restore(pipeline.snapshot("chat"))
    (ended,) = [each for each in pipeline.tick(STREAM.arrivals[-1]) if each.scope == "chat"][:1]

    assert told == ["chat"]
    assert (ended.kind, ended.transition) == ("deactivated", transitions + 1)
    assert taken.route("chat").machine.status.transition == transitions + 1


def test_what_was_counted_before_is_no_rate_of_calls(broken):
    """A route of 30 calls a second asks for probes by its present rate, not by all calls that it ever had."""
    pipeline = Pipeline(CONTRACT, on_failure=lambda route, error: None)
    healthy = [record(i / 30, latency_s=0.1) for i in range(3000)]
    pipeline.step(healthy, range(3000), [each.event_time for each in healthy])
    broken("feed", "chat", 0, times=1)
    later = [record(100 + i / 30, latency_s=0.1) for i in range(300)]
    for number, call in enumerate(later):
        pipeline.step([call], [3000 + number], [call.event_time])

    assert pipeline.route("chat").probing.rate() == pytest.approx(30, rel=0.2)


def test_nothing_is_kept_silent_where_nobody_asked_for_it(broken):
    """In files and tests an error is an error."""
    broken("feed", "chat", 0)

    with pytest.raises(ZeroDivisionError):
        run(Pipeline(CONTRACT), STREAM)


def test_a_route_that_failed_is_judged_on(broken, monkeypatch):
    """It begins anew and finds the next fault."""
    pipeline = Pipeline(CONTRACT, on_failure=lambda route, error: None)
    broken("feed", "chat", 0)
    pipeline.step([record(0.0)], [0], [T0])
    monkeypatch.undo()

    calls = [record(1 + i / 50, latency_s=0.1, hallucinated=i > 800) for i in range(1000)]
    found = pipeline.step(calls, range(1, 1001), [each.event_time for each in calls])

    assert [each.mode for each in found if each.kind == "activated"] == ["hallucination_spike"]
