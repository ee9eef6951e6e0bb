"""Calls that only let panes close can wait: whenever they are judged, the decisions are the same."""

from hypothesis import given
from hypothesis import strategies as st

from detector.contract.model import Mode
from detector.pipeline import Pipeline
from tests.builders import T0, contract, record, spec

SUBJECT = contract(
    [
        spec("rate", name="errors", field="error"),
        spec("divergence", name="answers", field="finish_reason", window_s=10.0),
        spec("divergence", name="lengths", field="output_tokens", given="template", window_s=10.0),
    ],
    [
        Mode(name="errors", when="errors"),
        Mode(name="token_drift", when="answers"),
        Mode(name="longer", when="lengths"),
    ],
)


def traffic(seconds=90, per_s=20):
    """Two routes; the answers of one change at second 60, calls of the other fail from 70 on."""
    for i in range(seconds * per_s):
        at = i / per_s
        ends = ("stop", "length")[i // 2 % 2] if at < 60 else ("tool", "filter")[i // 2 % 2]
        if i % 2:
            tokens = 1 << i % 8 + (0 if at < 80 else 4)
            yield record(at, route="drifts", finish_reason=ends, template=f"t{i % 3}", output_tokens=tokens)
        else:
            yield record(at, route="fails", error="500" if at >= 70 else "", finish_reason="stop")


CALLS = list(traffic())


def told(decisions):
    """By route, in order."""
    return {
        route: [(each.kind, each.mode, each.at, each.evidence) for each in decisions if each.route == route]
        for route in ("drifts", "fails")
    }


def whole():
    """All calls in one go."""
    pipeline = Pipeline(SUBJECT)
    return told(pipeline.step(CALLS, range(len(CALLS)), [each.event_time for each in CALLS]))


WHOLE = whole()


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 3)), min_size=5, max_size=60))
def test_when_what_can_wait_is_judged_changes_no_decision(turns):
    """Batches of any size, and after each of them none, some or all of what waits."""
    pipeline, decisions, start = Pipeline(SUBJECT), [], 0
    for size, settled in [*turns, (len(CALLS), 3)]:
        some = CALLS[start : start + size]
        decisions += pipeline.take(some, range(start, start + len(some)), [each.event_time for each in some])
        start += len(some)
        for _ in range(settled if settled < 3 else 1000):
            if pipeline.held:
                decisions += pipeline.settle()

    assert told(decisions) == WHOLE
    assert WHOLE["drifts"]
    assert WHOLE["fails"]


def test_an_alarm_is_told_at_once_while_panes_of_other_routes_wait():
    """The failing route's decision comes out of `take` itself; the other one's calls are still held."""
    pipeline = Pipeline(SUBJECT)
    calls = [each for each in CALLS if each.event_time < T0 + 75]
    found = []
    for first in range(0, len(calls), 40):
        some = calls[first : first + 40]
        where = range(first, first + len(some))
        found += pipeline.take(some, where, [each.event_time for each in some])

    assert {each.route for each in found} == {"fails"}
    assert pipeline.held
    assert "drifts" not in pipeline.dirty()
    assert pipeline.first_uncovered()["telemetry"] == 0
    while pipeline.held:
        pipeline.settle()
    assert set(pipeline.dirty()) == {"drifts", "fails"}
    assert pipeline.counts.judged == len(calls)


def test_calls_of_a_route_that_is_active_never_wait():
    """Also those that succeed: they may be the ones that bring its primary back."""
    pipeline = Pipeline(SUBJECT)
    calls = [each for each in CALLS if each.route == "fails" and each.event_time < T0 + 75]
    pipeline.step(calls, range(len(calls)), [each.event_time for each in calls])
    assert pipeline.route("fails").open
    for i in range(40):
        call = record(75.0 + i / 4, "fails", finish_reason="stop", probe=True)
        pipeline.take([call], [len(calls) + i], [call.event_time])

        assert pipeline.held == 0
        assert pipeline.counts.judged == len(calls) + i + 1


def test_a_tick_judges_what_waits_first():
    """Time does not pass calls by."""
    pipeline = Pipeline(SUBJECT)
    for some in (range(100), range(100, 200)):
        calls = [CALLS[i] for i in some]
        pipeline.take(calls, some, [each.event_time for each in calls])
    assert pipeline.held
    pipeline.tick(T0 + 30.0)

    assert not pipeline.held
    assert pipeline.counts.judged == 200


def test_what_comes_between_two_turns_of_a_tick_is_judged_in_its_order():
    """Held behind a route that the tick has not come to yet, it goes before what comes after the tick."""
    pipeline = Pipeline(SUBJECT)
    rows = [record(i / 100, route) for i in range(100) for route in ("fails", "drifts")]
    pipeline.step(rows, range(200), [each.event_time for each in rows])
    ticks = pipeline.ticks(T0 + 12.0)
    next(ticks)
    next(ticks)  # the first route's
    pipeline.take([record(11.0, "drifts")], [200], [T0 + 12.2])
    assert pipeline.held == 1
    for _ in ticks:
        pass

    assert pipeline.held == 0
    pipeline.take([record(12.0 + i / 1000, "drifts") for i in range(20)], range(201, 221), [T0 + 12.3] * 20)
    assert pipeline.route("drifts").covers[0] >= 201
