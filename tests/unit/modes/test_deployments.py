"""A deployment that alone is at fault is avoided, and the route goes on with its primary."""

import numpy as np
import pytest

from detector.modes import deployments
from detector.pipeline import Caps, Pipeline
from tests.builders import ERRORS_AND_SLOWNESS, T0, contract, evaluation, in_order, record, run, spec

PER_S = 100


class Loop:
    """A route whose gateway obeys; `fault(t, deployment)`: share of calls that fail.

    Attributes:
        told: acting decisions, in their order.
        served: by second, calls by deployment; those of fallbacks under "".
    """

    def __init__(
        self,
        fault,
        *,
        deployments=4,
        seed=1,
        weights=None,
        contract=ERRORS_AND_SLOWNESS,
        takes=lambda at, name: 0.05,
    ):
        self.fault = fault
        self.takes = takes
        self.pipeline = Pipeline(contract)
        self.names = [f"eu-{i}" for i in range(deployments)]
        self.weights = weights or [1 / deployments] * deployments
        self.draw = np.random.default_rng(seed)
        self.now = {}
        self.told = []
        self.served = {}
        self.sent = 0

    def play(self, until):
        while self.sent < until * PER_S:
            at = self.sent / PER_S
            call = self.call(at)
            counts = self.served.setdefault(int(at), {})
            counts[call.deployment] = counts.get(call.deployment, 0) + 1
            for each in self.pipeline.step([call], [self.sent], [T0 + at]):
                if each.disposition == "act":
                    self.told.append(each)
                    self.now[each.scope] = each
            self.sent += 1
        return self

    def call(self, at):
        draw = self.draw
        name, probe, by = str(draw.choice(self.names, p=self.weights)), False, "primary"
        route, mine = self.now.get("chat"), self.now.get(f"chat@{name}")
        avoided = {scope.partition("@")[2] for scope, each in self.now.items() if each.state == "active"}
        if route is not None and route.state == "active":
            probe = draw.random() < route.primary_share
            name, by = (name, "primary") if probe else ("", "rule")
        elif mine is not None and mine.state == "active":
            probe = draw.random() < mine.primary_share
            if not probe:
                name = str(draw.choice([each for each in self.names if each not in avoided]))
        took = self.takes(at, name) if by == "primary" else 0.01
        bad = by == "primary" and draw.random() < max(0.002, self.fault(at, name))
        return record(
            at, deployment=name, served_by=by, probe=probe, latency_s=took, error="boom" if bad else ""
        )

    def scopes(self):
        return [each.scope for each in self.told if each.kind == "activated"]


def one(at, name):
    return 0.5 if 100 <= at < 130 and name == "eu-1" else 0.0


def test_only_the_deployment_is_avoided_and_it_comes_back():
    loop = Loop(one).play(170)

    assert loop.scopes() == ["chat@eu-1"]
    began, ended = loop.told[0], loop.told[-1]
    assert (began.route, began.deployment, began.state, began.mode) == ("chat", "eu-1", "active", "errors")
    assert began.at - T0 < 102
    assert began.evidence.detail["deployment"] == "eu-1"
    assert began.evidence.detail["others_rate"] < 0.01
    assert "eu-1 alone" in began.reason
    assert (ended.kind, ended.state, ended.scope) == ("deactivated", "inactive", "chat@eu-1")
    assert 130 < ended.at - T0 < 160
    assert loop.served[120].get("", 0) == 0
    assert loop.served[120]["eu-1"] < PER_S / 8
    assert loop.served[165]["eu-1"] > PER_S / 8


def test_its_probes_are_a_part_of_its_own_calls():
    """A quarter of the route's calls would be all that it ever gets: it would not be avoided at all."""
    began = Loop(one).play(110).told[0]

    assert began.evidence.detail["usual_share"] == pytest.approx(0.25, abs=0.03)
    assert began.primary_share <= ERRORS_AND_SLOWNESS.defaults.probe_share_max


@pytest.mark.parametrize("struck", [("eu-0", "eu-1", "eu-2", "eu-3"), ("eu-0", "eu-1", "eu-2")])
def test_a_fault_of_most_deployments_is_the_routes(struck):
    loop = Loop(lambda at, name: 0.5 if 100 <= at < 110 and name in struck else 0.0).play(112)

    assert "chat" in loop.scopes()


def test_when_a_second_deployment_fails_the_route_acts():
    """It may be the load that the first one no longer takes: avoiding it too would only move that on."""
    began = {"eu-1": 100, "eu-2": 110}
    loop = Loop(lambda at, name: 0.6 if began.get(name, 1e9) <= at < 150 else 0.0, deployments=6, seed=2)
    loop.play(145)

    assert loop.scopes() == ["chat@eu-1", "chat"]


def test_what_the_route_acts_on_is_not_the_deployments():
    """All are slow, and one of them fails beside: it is avoided for its errors alone."""
    loop = Loop(
        lambda at, name: 0.6 if at >= 120 and name == "eu-1" else 0.0,
        takes=lambda at, name: 0.4 if at >= 100 else 0.05,
    ).play(135)

    assert loop.scopes() == ["chat", "chat@eu-1"]
    assert next(each for each in loop.told if each.deployment).modes == ("errors",)


def test_the_first_to_be_too_slow_is_not_blamed_where_all_slow_down():
    """The others are still within the limit, but far from what they usually take."""
    with_causes = contract(
        [
            spec("exceedance", name="slow", ceiling=0.01, above_ms=200.0),
            spec("attribution", name="throttled", cause="hardware_throttling"),
        ],
        false_alarms_per_week=0.15,
    )

    def scopes(others):
        loop = Loop(
            lambda at, name: 0.0,
            takes=lambda at, name: 0.05 if at < 150 else 0.3 if name == "eu-1" else others,
            contract=with_causes,
        )
        return loop.play(165).scopes()

    assert scopes(0.12) == ["chat"]
    assert scopes(0.05) == ["chat@eu-1"]


def test_of_many_that_failed_lately_only_some_are_watched(monkeypatch):
    monkeypatch.setattr(deployments, "_MOST_WATCHED", 1)
    began = {"eu-1": 100, "eu-2": 160}
    loop = Loop(lambda at, name: 0.8 if began.get(name, 1e9) <= at < began.get(name, 0) + 5 else 0.0).play(
        220
    )

    assert loop.scopes() == ["chat@eu-1", "chat@eu-2"]
    assert [each.deployment for each in loop.pipeline.route("chat").deployments] == ["eu-2"]


def test_of_two_deployments_none_is_blamed():
    loop = Loop(one, deployments=2).play(110)

    assert loop.scopes() == ["chat"]


def test_a_relapse_is_damped_like_a_routes():
    loop = Loop(lambda at, name: 0.6 if at >= 100 and at % 40 < 15 and name == "eu-1" else 0.0).play(300)

    assert set(loop.scopes()) == {"chat@eu-1"}
    assert any(each.damped_until for each in loop.told)
    assert [each.transition for each in loop.told if each.kind != "extended"] == list(
        range(1, 1 + sum(each.kind != "extended" for each in loop.told))
    )


def test_transitions_go_on_after_it_is_no_longer_watched():
    loop = Loop(lambda at, name: 0.6 if name == "eu-1" and (100 <= at < 105 or 800 <= at < 805) else 0.0)
    loop.play(780)
    assert len(loop.pipeline.route("chat").deployments) == 0
    before = loop.told[-1].transition

    loop.play(804)
    again = next(each for each in loop.told if each.at > T0 + 800)
    assert (again.scope, again.transition) == ("chat@eu-1", before + 1)


def test_transitions_go_on_after_the_route_was_forgotten():
    loop = Loop(lambda at, name: 0.6 if name == "eu-1" and (100 <= at < 105 or 200 <= at < 205) else 0.0)
    loop.pipeline = Pipeline(ERRORS_AND_SLOWNESS, caps=Caps(routes=1))
    loop.play(150)
    before = loop.told[-1].transition
    loop.pipeline.step([record(150, route="other")], [10**6], [T0 + 150])
    assert list(loop.pipeline.routes) == ["other"]
    loop.sent += PER_S

    loop.play(204)
    again = next(each for each in loop.told if each.at > T0 + 200 and each.deployment)
    assert (again.scope, again.transition) == ("chat@eu-1", before + 1)


def test_what_is_judged_is_counted_once():
    loop = Loop(one).play(170)

    assert loop.pipeline.counts.judged == loop.sent


def test_judged_state_names_the_deployments_scope():
    loop = Loop(one).play(110)

    assert {each.scope: each.state for each in loop.pipeline.judged()} == {"chat@eu-1": "active"}


def test_verdicts_on_its_answers_do_not_count_for_the_route():
    judged = contract(
        [
            spec("rate", name="errors", field="error", ceiling=0.01),
            spec("rate", name="verdicts", field="", evaluation="hallucination", ceiling=0.02),
        ]
    )
    loop = Loop(one, contract=judged).play(110)
    told = [
        evaluation(110 + i / 100, route="chat", request_id=f"r{i}", deployment="eu-1", failed=True)
        for i in range(200)
    ]
    decisions = loop.pipeline.step_evaluations(told, list(range(200)), [each.event_time for each in told])

    assert [each for each in decisions if each.disposition == "act"] == []
    assert loop.pipeline.counts.verdicts_skipped == 200


def test_one_of_many_deployments_with_few_calls_each_is_found():
    """One call in five seconds each: the route's own test takes minutes, of which ten seconds say nothing."""
    draw = np.random.default_rng(6)
    calls = []
    for i in range(9 * 3000):
        name = int(draw.integers(45))
        fails = name == 0 and i >= 9 * 2000
        calls.append(
            record(i / 9, deployment=f"gpu-{name}", error="500" if fails or draw.random() < 0.004 else "")
        )
    pipeline = Pipeline(contract([spec("rate", name="errors", field="error", ceiling=0.01)]))
    active = {each.scope for each in run(pipeline, in_order(calls)) if each.state == "active"}

    assert active == {"chat@gpu-0"}
