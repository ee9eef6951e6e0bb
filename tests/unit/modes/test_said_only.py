"""What is only said or tried out changes nothing of what acts; a drift that does no harm neither."""

from dataclasses import replace

import pytest

from detector.contract.model import Condition
from detector.pipeline import Pipeline
from tests.builders import T0, contract, in_order, record
from tests.unit.modes.traffic import ANSWERS, ERRORS, QUESTIONS, SLOW, mode, stream

ASIDE = [{"severity": "notice"}, {"shadow": True}]


def acting(rules, some, *, pipeline=None):
    """(when, scope, kind, mode, fallbacks) of the decisions that act."""
    pipeline = pipeline or Pipeline(rules)
    return [
        (round(each.at - T0, 3), each.scope, each.kind, each.mode, each.fallbacks)
        for each in pipeline.step(*some.args())
        if each.disposition == "act"
    ]


def with_mode(rules, extra, *, first=False):
    modes = {extra.name: extra} | rules.modes if first else rules.modes | {extra.name: extra}
    return replace(rules, modes=modes)


@pytest.mark.parametrize("aside", ASIDE)
def test_what_is_said_of_a_deployment_does_not_take_it_from_its_route(aside):
    """Gateways do not avoid it, so its calls go on to count: slow ones of its own, failures of the others."""
    rules = contract([ERRORS, SLOW], [mode("slow_calls", "slow")])

    def call(at, name, draw):
        broken = at >= 100 and name == "d0"
        return {
            "error": "x" if broken and draw.random() < 0.5 else "",
            "latency_s": 0.4 if at >= 130 else 0.1,
        }

    some = stream(160, call)
    alone = acting(rules, some)

    assert [scope for _, scope, *_ in alone][:1] == ["chat"]
    assert acting(with_mode(rules, mode("failing", "errors", **aside)), some) == alone


@pytest.mark.parametrize("aside", ASIDE)
def test_another_deployment_is_avoided_while_one_is_only_spoken_of(aside):
    """That d0 fails is said; when d1 gets slow it alone is avoided, and the route stays."""
    rules = contract([ERRORS, SLOW], [mode("slow_calls", "slow")])
    more = with_mode(rules, mode("failing", "errors", **aside))

    def call(at, name, draw):
        failed = at >= 60 and name == "d0" and draw.random() < 0.5
        return {"error": "x" if failed else "", "latency_s": 0.4 if at >= 100 and name == "d1" else 0.1}

    some = stream(110, call)
    told = acting(rules, some)

    assert "chat@d1" in [scope for _, scope, *_ in told]
    assert acting(more, some) == told


@pytest.mark.parametrize("aside", ASIDE)
def test_what_does_not_act_mutes_nothing_that_does(aside):
    """The published mode, and so the fallbacks, are those of the contract without it."""
    rules = contract([SLOW, ERRORS], [mode("slow_calls", "slow"), mode("failing", "errors")])
    cause = mode("cause", "slow", mutes=("slow_calls",), **aside)

    def call(at, name, draw):
        bad = at >= 60
        return {"error": "x" if bad and draw.random() < 0.3 else "", "latency_s": 0.4 if bad else 0.1}

    some = stream(70, call)
    alone = acting(rules, some)

    assert alone
    assert acting(with_mode(rules, cause, first=True), some) == alone


def test_a_trial_keeps_no_notice_back():
    """A mode that is tried out mutes those that are tried out with it; a notice is given all the same."""
    rules = contract(
        [SLOW],
        [
            mode("tried", "slow", shadow=True, mutes=("noticed", "trial_symptom")),
            mode("noticed", "slow", severity="notice"),
            mode("trial_symptom", "slow", shadow=True),
        ],
    )
    told = Pipeline(rules).step(
        *stream(70, lambda at, name, draw: {"latency_s": 0.4 if at > 60 else 0.1}).args()
    )

    assert [each.mode for each in told if each.kind == "activated"] == ["tried", "noticed"]


@pytest.mark.parametrize("aside", ASIDE)
def test_references_learn_while_something_is_only_said(aside):
    """Answers creep while a tenth of the calls is slow for good: no drift, as without the notice."""
    rules = contract([ANSWERS, SLOW], [mode("drift", "answers"), mode("slow_calls", "slow", **aside)])

    def call(at, name, draw):
        slow = at >= 300 and draw.random() < 0.1
        return {
            "output_tokens": int(draw.lognormal(4 + 0.3 * at / 3600, 0.6)) + 1,
            "latency_s": 0.4 if slow else 0.1,
        }

    pipeline = Pipeline(rules)
    assert acting(rules, stream(3600, call), pipeline=pipeline) == []
    (route,) = pipeline._routes.values()
    assert "slow" in route.findings.holds
    assert not route.frozen


def test_a_drift_that_does_no_harm_ends_and_freezes_nothing():
    """Questions change for good: said to be benign, learnt in two hours, and answers may creep meanwhile."""
    rules = contract([QUESTIONS, ANSWERS, ERRORS])

    def call(at, name, draw):
        return {
            "input_tokens": int(draw.lognormal(6 if at >= 900 else 5, 0.6)) + 1,
            "output_tokens": int(draw.lognormal(4 + 0.2 * at / 3600, 0.6)) + 1,
        }

    pipeline = Pipeline(rules)
    told = pipeline.step(*stream(5400, call).args())
    kinds = [(each.mode, each.kind, each.disposition) for each in told if each.kind != "revised"]

    assert kinds == [
        ("questions", "activated", "act"),
        ("questions", "activated", "notice"),
        ("questions", "deactivated", "act"),
        ("questions", "deactivated", "notice"),
    ]
    (route,) = pipeline._routes.values()
    assert not route.judges["questions"].latched
    assert not route.frozen


@pytest.mark.parametrize("named", [True, False])
def test_a_mode_that_needs_more_than_a_deployment_can_tell_is_the_routes(named):
    """One of three fails and answers otherwise: `all` of both holds on the route, where both are known."""
    rules = contract([ERRORS, ANSWERS], [mode("broken", Condition(2, ("errors", "answers")))])

    def call(at, name, draw):
        broken = at >= 900 and name == "d0"
        return {
            "error": "x" if broken and draw.random() < 0.3 else "",
            "output_tokens": 1 if broken else int(draw.lognormal(4, 0.6)) + 1,
        }

    some = stream(960, call)
    if not named:
        some = in_order([without_deployment(each) for each in some.records])

    assert [(scope, kind) for _, scope, kind, *_ in acting(rules, some)][:1] == [("chat", "activated")]


def without_deployment(each):
    return record(each.event_time - T0, error=each.error, output_tokens=each.output_tokens, latency_s=0.1)
