"""A predicate for some routes does not exist on all others: no judge, no state, no part in a mode there."""

from dataclasses import replace

import msgspec
import pytest

from detector.contract import load_contract
from detector.contract.model import Condition, Mode
from detector.modes.plan import Plan
from detector.pipeline import Pipeline
from detector.predicates.base import Budget
from detector.service.survey import Survey
from tests.builders import T0, contract, in_order, record, run, spec
from tests.unit.modes.traffic import stream

PER_S = 20
ERRORS = spec("rate", name="errors", field="error", ceiling=0.02)
SLOW = spec("exceedance", name="slow", above_ms=100.0, ceiling=0.02, routes=("embed",))
TEXT = """version: 1
predicates:
  slow_chat: {type: exceedance, field: latency_s, above_ms: 9000, ceiling: 0.01, where: {route: chat}}
  slow_embed:
    type: exceedance
    field: latency_s
    above_ms: 100
    ceiling: 0.01
    where: {tenant: acme, route: [embed, rerank]}
modes:
  chat_is_slow: {when: slow_chat}
  embed_is_slow: {when: slow_embed}
fallbacks: {rule: {type: rule, p99_ms: 20, share: 1}}
matrix: [{mode: "*", input_class: "*", fallbacks: [rule]}]
"""


def calls(seconds=60, routes=("chat", "embed", "code"), **fields):
    """Of each route's calls half fail and half take a second from 40 s on, unless `fields` say otherwise."""
    made = []
    for i in range(seconds * PER_S):
        bad = i >= 40 * PER_S
        usual = {"latency_s": 1.0 if bad else 0.05, "error": "x" if bad and i % 2 else ""} | fields
        made += [record(i / PER_S, route, **usual) for route in routes]
    return in_order(made)


def test_each_route_has_a_limit_of_its_own():
    """Calls of 5 s are well in a chat, and too slow of an embedding for that tenant, and for no other."""
    whose = {"chat": "acme", "embed": "acme", "rerank": "blue", "other": "acme"}
    made = [
        record(i / PER_S, route, latency_s=0.01 if i < 600 else 5.0, tenant=tenant)
        for i in range(900)
        for route, tenant in whose.items()
    ]
    decisions = run(Pipeline(load_contract(TEXT)), in_order(made))

    assert {(each.scope, each.mode) for each in decisions} == {("embed", "embed_is_slow")}


def test_there_is_no_judge_where_the_predicate_does_not_exist():
    """Nor anything of it in what a snapshot holds."""
    pipeline = Pipeline(contract([ERRORS, SLOW]))
    run(pipeline, calls(5))
    names = {route: set(pipeline.route(route).judges) for route in pipeline.routes}
    saved = msgspec.msgpack.decode(pipeline.snapshot("chat"), strict=False)

    assert names == {"chat": {"errors"}, "embed": {"errors", "slow"}, "code": {"errors"}}
    assert set(saved["judges"]) == set(saved["armed"]) == {"errors"}


def test_it_can_be_armed_on_all_records_of_its_routes():
    """Records of other routes are not counted, and where none of its routes is held there is no share."""
    pipeline = Pipeline(contract([ERRORS, SLOW]))
    run(pipeline, calls(30, latency_s=0.05, error=""))
    pipeline.tick(T0 + 40)
    without = Pipeline(contract([ERRORS, SLOW]))
    run(without, calls(30, ("chat", "code"), latency_s=0.05, error=""))

    assert pipeline.armed() == {"errors": 1.0, "slow": 1.0}
    assert without.armed().keys() == {"errors"}


def test_routes_without_it_are_not_counted_among_those_that_have_not_learnt_yet():
    """`detector state` tells on how many routes a predicate stands how: three routes, one of which has it."""
    pipeline = Pipeline(contract([ERRORS, SLOW]))
    run(pipeline, calls(30, latency_s=0.05, error=""))
    survey = Survey(pipeline)
    survey.turn(0.0)

    assert sum(survey.found["slow"].routes.values()) == 1
    assert sum(survey.found["errors"].routes.values()) == 3


@pytest.mark.parametrize(
    ("least", "acting"),
    [
        pytest.param(1, {"chat", "code", "embed"}, id="any"),
        pytest.param(2, {"embed"}, id="all"),
    ],
)
def test_what_does_not_exist_does_not_hold(least, acting):
    """All of two predicates need a route that has both; any of them needs one."""
    mode = Mode(name="m", when=Condition(least, ("slow", "errors")), keep_s=0.0)
    decisions = run(Pipeline(contract([ERRORS, SLOW], [mode])), calls())

    assert {each.scope for each in decisions if each.kind == "activated"} == acting


def test_a_route_more_leaves_what_is_known_of_the_others_as_it_is():
    """Their judges take their state over, in breach too."""
    before = Pipeline(contract([ERRORS, SLOW]))
    run(before, calls(45))
    after = Pipeline(contract([ERRORS, replace(SLOW, routes=("code", "embed"))]))
    after.restore(before.snapshot("embed"))

    assert before.route("embed").judges["slow"].latched
    assert after.route("embed").judges["slow"].state() == before.route("embed").judges["slow"].state()


def test_a_route_that_loses_its_predicate_comes_back():
    """What was acted on is over there; nothing is left that could hold it."""
    modes = [Mode(name="slow", when="slow", keep_s=0.0)]
    before = Pipeline(contract([SLOW], modes))
    made = calls(70, ("embed",))
    run(before, made[:900])
    after = Pipeline(contract([replace(SLOW, routes=("chat",))], modes))
    after.restore(before.snapshot("embed"))
    decisions = after.step(*made[900:].args())

    assert before.route("embed").machine.engaged
    assert decisions[-1].kind == "deactivated"
    assert not after.route("embed").machine.open


def test_one_deployment_is_told_apart_by_what_exists_on_its_route():
    """By errors on a route that has no limit of its own, whatever others have."""
    judged_by = contract([SLOW, ERRORS])

    def call(at, name, draw):
        return {"error": "x" if at > 40 and name == "d0" else "", "latency_s": 5.0}

    pipeline = Pipeline(judged_by)
    (first, *_) = run(pipeline, stream(60, call))
    (judge,) = pipeline.route("chat").deployments

    assert first.scope == "chat@d0"
    assert set(judge.judges) == {"errors"}
    assert Plan(judged_by, 0, ("calls", "verdicts")).apart_walkers == ["slow", "errors"]


def test_limits_of_different_routes_share_no_budget():
    """One record updates no more detectors than its route has."""
    same = contract([ERRORS, SLOW])
    more = contract([ERRORS, SLOW, *(replace(SLOW, name=f"s{i}", routes=(f"r{i}",)) for i in range(5))])
    everywhere = contract([ERRORS, replace(SLOW, routes=())])

    assert Budget.of(more) == Budget.of(same) == Budget.of(everywhere)
