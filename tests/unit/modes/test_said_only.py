"""What is only said or tried out changes nothing of what acts; a drift that does no harm neither."""

from dataclasses import replace

import numpy as np
import pytest

from detector.contract.model import Condition, Mode
from detector.modes.plan import Plan
from detector.pipeline import Pipeline
from tests.builders import T0, contract, in_order, record, spec

PER_S = 40
ERRORS = spec("rate", name="errors", field="error", ceiling=0.01)
SLOW = spec("exceedance", name="slow", ceiling=0.01)
ANSWERS = spec("divergence", name="answers", field="output_tokens", window_s=60.0)
QUESTIONS = spec("divergence", name="questions", field="input_tokens", window_s=60.0)
ASIDE = [{"severity": "notice"}, {"shadow": True}]


def mode(name, when, **more):
    return Mode(name=name, when=when, keep_s=0.0, **more)


def stream(seconds, call, seed=1):
    """Calls of three deployments; `call(at, deployment, draw)`: what is measured of one."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(seconds * PER_S):
        at, name = i / PER_S, f"d{draw.integers(3)}"
        fields = {"latency_s": 0.1, "output_tokens": int(draw.lognormal(4, 0.6)) + 1} | call(at, name, draw)
        made.append(record(at, request_id=f"q{i}", deployment=name, **fields))
    return in_order(made)


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
        some = in_order([replace_deployment(each) for each in some.records])

    assert [(scope, kind) for _, scope, kind, *_ in acting(rules, some)][:1] == [("chat", "activated")]


def replace_deployment(each):
    return record(each.event_time - T0, error=each.error, output_tokens=each.output_tokens, latency_s=0.1)


def test_what_a_recovered_mode_did_is_not_called_harmless_for_anothers_sake():
    """A benign drift of questions stands as a notice; errors that come and go have recovered."""
    rules = contract([ERRORS, QUESTIONS])

    def call(at, name, draw):
        return {
            "input_tokens": int(draw.lognormal(6 if at >= 900 else 5, 0.6)) + 1,
            "error": "x" if 1000 <= at < 1010 and draw.random() < 0.5 else "",
        }

    told = Pipeline(rules).step(*stream(1060, call).args())
    ends = [each.reason for each in told if each.kind == "deactivated" and each.disposition == "act"]

    assert ends == ["questions does no harm", "recovered from errors"]


def test_evidence_is_of_what_still_holds():
    """Errors are over, slowness is not: the next record tells of the latter."""
    rules = contract([ERRORS, SLOW], [mode("broken", Condition(1, ("errors", "slow")))])
    told = Pipeline(rules).step(
        *stream(
            120,
            lambda at, name, draw: {
                "error": "x" if 60 <= at < 80 and draw.random() < 0.5 else "",
                "latency_s": 0.4 if at >= 70 else 0.1,
            },
        ).args()
    )
    last = [each for each in told if each.kind == "extended"][-1]

    assert told[0].evidence.predicate == "errors"
    assert last.state == "active"
    assert last.evidence.predicate == "slow"


def test_no_probe_is_inconclusive():
    """Verdicts cease with the first bad ones: nothing was shown since, and it is said so."""
    rules = contract([spec("rate", name="evals", ceiling=0.01)])
    some = stream(100, lambda at, *_: {"hallucinated": at >= 60 if at < 60.2 else None})
    told = Pipeline(rules).step(*some.args())
    extended = [each.reason for each in told if each.kind == "extended"]

    assert len(extended) >= 3
    assert all("inconclusive: no probe with a verdict" in reason for reason in extended)


def test_what_cannot_act_is_not_told_apart_by_deployments():
    """Nor is it counted by deployment, call by call."""
    modes = [mode("slow_calls", "slow"), mode("failing", "errors", severity="notice")]
    plan = Plan(contract([ERRORS, SLOW], modes), 0, ("calls", "verdicts"))

    assert plan.apart_walkers == ["slow"]
    assert Plan(contract([ERRORS], modes[1:]), 0, ("calls", "verdicts")).apart == {}


@pytest.mark.parametrize(("kind", "method"), [("divergence", "default"), ("rate", "literal")])
def test_a_record_inside_a_window_is_not_late(kind, method):
    """Whoever looks back five minutes takes what comes five minutes late."""
    wide = contract([spec(kind, method, window_s=300.0)])

    assert Plan(wide, 0, ("calls", "verdicts")).history_s == 300.0


def test_a_notice_of_the_first_second_points_at_a_record():
    """All calls have been slow from the start on: unusable before any pane was closed."""
    told = Pipeline(contract([SLOW])).step(*stream(2, lambda at, name, draw: {"latency_s": 0.4}).args())

    assert "unusable" in told[0].reason
    assert told[0].evidence.offset >= 0
    assert T0 <= told[0].evidence.event_time < T0 + 2
