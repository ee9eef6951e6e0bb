"""Silence of most routes together is one notice; silence of one is its own, a little later."""

from dataclasses import replace

import pytest

from detector.contract.model import Contract, Mode, PredicateSpec
from detector.pipeline import Pipeline
from topics.telemetry import TelemetryRecord

START = 1_700_000_000.0
CONTRACT = Contract(
    predicates={"silence": PredicateSpec(name="silence", type="absence", after_s=30.0)},
    modes={"telemetry_silence": Mode(name="telemetry_silence", when="silence", severity="notice")},
)


def spoken(routes, seconds=20, pipeline=None):
    """A pipeline in which routes have called once a second for a while; route -> when it stops."""
    pipeline = pipeline or Pipeline(CONTRACT, partition=3)
    offset = 0
    for second in range(seconds):
        for route, stops in routes.items():
            if second < stops:
                record = TelemetryRecord(event_time=START + second, route=route)
                assert pipeline.step([record], [offset], [record.event_time]) == []
                offset += 1
    return pipeline


def heard(pipeline, until, since=20):
    """What ticks say of each second, as (second, kind, scope)."""
    return [
        (second, decision.kind, decision.scope)
        for second in range(since, until)
        for decision in pipeline.tick(START + second)
    ]


def test_one_silent_route_among_many_is_said_of_itself():
    """One route of five stops: one notice of its own, some seconds past its bound."""
    pipeline = spoken(dict.fromkeys("abcd", 70) | {"e": 20}, seconds=70)

    assert heard(pipeline, 75, since=70) == [(70, "activated", "e")]


def test_most_routes_together_are_one_notice():
    """Three of five stop within two seconds: one `*`, no notice of their own; one more when they are back."""
    pipeline = spoken({"a": 18, "b": 19, "c": 20, "d": 60, "e": 60}, seconds=60)
    said = heard(pipeline, 62, since=60)
    assert [(kind, scope) for _, kind, scope in said] == [("activated", "*")]

    for offset, route in enumerate("abcde", 1000):
        record = TelemetryRecord(event_time=START + 63, route=route)
        assert pipeline.step([record], [offset], [record.event_time]) == []
    assert [(kind, scope) for _, kind, scope in heard(pipeline, 70, since=64)] == [("deactivated", "*")]


@pytest.mark.parametrize(("stops", "told"), [("a", {"a"}), ("ab", {"*"}), ("abc", {"*"})])
def test_a_route_alone_is_never_everything(stops, told):
    """Of two or three that stop together it is the telemetry; one that is the only one is itself."""
    pipeline = spoken(dict.fromkeys(stops, 20))

    assert {scope for _, _, scope in heard(pipeline, 70)} == told


def test_of_three_routes_one_that_stops_is_said_of_itself():
    """The others go on, so the telemetry is there."""
    pipeline = spoken({"a": 20, "b": 70, "c": 70}, seconds=70)

    assert {scope for _, _, scope in heard(pipeline, 75, since=70)} == {"a"}


def test_the_same_silence_has_the_same_name_after_a_restore():
    """A pipeline restored from before the silence was told of names it as the one before did."""
    pipeline, other = spoken(dict.fromkeys("abcde", 20)), Pipeline(CONTRACT, partition=3)
    for route in "abcde":
        other.restore(pipeline.snapshot(route))
    (said,) = [decision for second in range(20, 60) for decision in pipeline.tick(START + second)]

    (again,) = other.tick(START + 61)

    assert (again.event_id, again.transition) == (said.event_id, said.transition)
    assert (said.scope, said.disposition) == ("*", "notice")


def taken_over(saved, contract=CONTRACT):
    """A pipeline that takes over with the snapshots there are."""
    other = Pipeline(contract, partition=3)
    for data in saved.values():
        other.restore(data)
    return other


@pytest.mark.parametrize("gone_s", [5, 0], ids=["silent still", "back before the first look"])
def test_the_end_of_a_common_silence_is_told_once_after_a_takeover(gone_s):
    """One snapshot more tells that it is open, and one that it is over; nothing is said twice."""
    pipeline = spoken(dict.fromkeys("abcde", 20))
    saved = {route: pipeline.snapshot(route) for route in "abcde"}
    (began,) = [decision for second in range(20, 60) for decision in pipeline.tick(START + second)]
    (told,) = pipeline.dirty()
    saved[told] = pipeline.snapshot(told)

    other = taken_over(saved)
    assert heard(other, 60 + gone_s, since=60) == []
    for offset, route in enumerate("abcde", 1000):
        other.step([TelemetryRecord(event_time=START + 66, route=route)], [offset], [START + 66])
    for route in "abcde":
        saved[route] = other.snapshot(route)
    (over,) = [decision for second in range(67, 70) for decision in other.tick(START + second)]
    assert (over.kind, over.transition) == ("deactivated", began.transition + 1)

    saved |= {route: other.snapshot(route) for route in other.dirty()}
    assert heard(taken_over(saved), 72, since=70) == []


def test_a_common_silence_that_nobody_asks_for_any_more_keeps_no_route_quiet():
    """The contract taken over with has no such mode; nor does it matter that few routes are left."""
    pipeline = spoken(dict.fromkeys("abcde", 20))
    heard(pipeline, 60)
    saved = {route: pipeline.snapshot(route) for route in "abcde"}
    none = taken_over(saved, replace(CONTRACT, modes={}))
    few = taken_over({route: saved[route] for route in "ab"})
    few.step([TelemetryRecord(event_time=START + 66, route="a")], [1000], [START + 66])

    assert not none._silence.open
    assert few._silence.open
    assert heard(few, 68, since=67) == [(67, "deactivated", "*"), (67, "activated", "b")]


@pytest.mark.parametrize("mode", ["error_spike", "renamed"])
def test_a_contract_that_lost_a_mode_still_restores(mode):
    """State kept under a mode that a new contract does not know is let go, and judging goes on."""
    spec = PredicateSpec(name="errors", type="rate", field="error", ceiling=0.01)
    old = Contract(
        predicates={"errors": spec}, modes={"error_spike": Mode(name="error_spike", when="errors")}
    )
    new = Contract(predicates={"errors": spec}, modes={mode: Mode(name=mode, when="errors")})
    before = Pipeline(old)
    records = [
        TelemetryRecord(event_time=START + i / 10, route="r", error="timeout" if i > 50 else "")
        for i in range(90)
    ]
    times = [record.event_time for record in records]
    assert before.step(records, range(90), times)
    after = Pipeline(new)
    after.restore(before.snapshot("r"))

    good = [TelemetryRecord(event_time=START + 10 + i / 10, route="r") for i in range(900)]
    after.step(good, range(90, 990), [record.event_time for record in good])

    assert not after.route("r").machine.engaged


@pytest.mark.parametrize("stops", [3, 20])
@pytest.mark.parametrize("others", [0, 9], ids=["alone", "with most others"])
def test_a_route_that_has_fallen_silent_asks_for_no_more_ticks(stops, others):
    """Told of or not, alone or together, or with too few calls for a habit: nothing is left to do."""
    pipeline = spoken({f"r{i}": stops for i in range(1 + others)})
    told = heard(pipeline, 100)
    routes = list(pipeline._routes.values())
    together = stops == 20 and others > 0

    assert len(told) == (stops == 20)
    assert pipeline._silence.open == together
    assert not any(route.overdue(START + 1e6, together=together) for route in routes)
    # Once the telemetry is back, those that are still silent are told of one by one.
    assert any(route.overdue(START + 1e6) for route in routes) == together


def test_a_silence_that_has_to_hold_first_is_waited_for():
    """For twenty seconds and up to a pane, by ticks alone: no call comes that would close one."""
    ((usual, *_),) = heard(spoken({"a": 20}), 100)
    modes = {name: replace(mode, hold_s=20.0) for name, mode in CONTRACT.modes.items()}
    patient = Pipeline(replace(CONTRACT, modes=modes), partition=3)
    ((held, *_),) = heard(spoken({"a": 20}, pipeline=patient), 100)

    assert 20 <= held - usual <= 21
