"""An operator takes a drift for the new normal: once, said in the audit, and nothing else is let go."""

import msgspec
import pytest

from detector.contract.model import Mode, PredicateSpec
from detector.pipeline import Pipeline
from detector.service.statements import content_of
from tests.builders import T0, contract, evaluation, record, spec
from topics.control import Override, decode_control

SUBJECT = contract(
    [
        spec("divergence", name="answers", field="finish_reason", window_s=10.0),
        spec("rate", name="errors", field="error"),
    ],
    [Mode(name="token_drift", when="answers"), Mode(name="errors", when="errors")],
)


def order(at=T0 + 140.0, scope="chat"):
    """Ann accepts what the scope shows."""
    return Override(
        scope=scope, state="inactive", until=at, who="ann", reason="new prompt", issued_at=at, accept=True
    )


def drifted(*, failing=False, seconds=140):
    """A pipeline in whose route answers end otherwise from second 120 on, and its calls."""
    pipeline = Pipeline(SUBJECT)
    feed(pipeline, 0, seconds, failing=failing)
    assert pipeline.route("chat").machine.engaged
    return pipeline


def feed(pipeline, first, last, *, failing=False):
    """Calls at 50/s; returns the decisions."""
    decisions = []
    for i in range(first * 50, last * 50):
        at = i / 50
        ends = ("stop", "length")[i % 2] if at < 120 else ("tool", "filter")[i % 2]
        error = "500" if failing and at >= 120 else ""
        call = record(at, route="chat", finish_reason=ends, probe=at >= 130, error=error)
        decisions += pipeline.step([call], [i], [T0 + at])
    return decisions


def test_an_accepted_drift_ends_and_does_not_come_back():
    """The audit says who and why; the route is with its primary again; the new mix is not news any more."""
    pipeline = drifted()
    said = pipeline.accept(order())
    after = feed(pipeline, 140, 400)

    assert said[0].disposition == "notice"
    assert said[0].reason == "accepted by ann: new prompt; answers learnt anew"
    assert [each.kind for each in (*said, *after) if each.kind in ("activated", "deactivated")] == [
        "deactivated"
    ]
    assert pipeline.route("chat").judges["answers"].armed


def test_an_order_is_carried_out_once_also_after_a_restore():
    """The overrides topic is compacted: whoever takes the partition over reads the order again."""
    pipeline = drifted()
    assert pipeline.accept(order())
    assert "chat" in pipeline.dirty()
    successor = Pipeline(SUBJECT)
    successor.restore(pipeline.snapshot("chat"))

    assert pipeline.accept(order()) == successor.accept(order()) == []
    assert successor.accept(order(T0 + 150.0))


def test_other_harm_goes_on_holding():
    """Calls fail beside the drift: the drift is accepted, the scope stays active for the errors."""
    pipeline = drifted(failing=True)
    pipeline.accept(order())
    after = feed(pipeline, 140, 150, failing=True)

    assert pipeline.route("chat").machine.engaged
    assert pipeline.route("chat").machine.status.modes == ("errors",)
    assert not any(each.kind == "deactivated" for each in after)


@pytest.mark.parametrize("scope", ["elsewhere", "elsewhere@eu-1"])
def test_a_route_that_is_not_known_is_left_alone(scope):
    """Its telemetry may come yet; nothing is made for it."""
    pipeline = drifted()

    assert pipeline.accept(order(scope=scope)) == []
    assert list(pipeline.routes) == ["chat"]


def test_where_nothing_drifts_the_audit_says_so():
    """The order is done all the same, and changes nothing."""
    pipeline = Pipeline(SUBJECT)
    feed(pipeline, 0, 100)
    (said,) = pipeline.accept(order())

    assert said.reason.endswith("; nothing drifts")
    assert (said.disposition, said.mode, said.modes, said.hold_max_s) == ("notice", "", (), 600.0)
    assert said.at == pipeline.route("chat").now == pytest.approx(T0 + 99.98)
    assert decode_control(msgspec.json.encode(content_of(said))).issued_at == said.at


def test_an_order_on_a_route_without_calls_is_told_at_its_own_time():
    """Only a verdict has come for it so far."""
    pipeline = Pipeline(SUBJECT)
    pipeline.step_evaluations([evaluation(1, route="chat")], [0], [T0 + 1])
    (said,) = pipeline.accept(order())

    assert said.at == T0 + 140.0


def test_answers_that_are_short_for_good_can_be_accepted():
    """A new prompt asks for less: what is usual is learnt anew, and half of that is short again."""
    short = PredicateSpec(
        name="short", type="shortfall", field="output_tokens", below_share=0.5, ceiling=0.01
    )
    pipeline = Pipeline(contract([short], [Mode(name="token_drift", when="short")]))

    def come(first, last, tokens):
        decisions = []
        for i in range(first * 20, last * 20):
            call = record(i / 20, input_tokens=100, output_tokens=tokens + i % 5, probe=first >= 140)
            decisions += pipeline.step([call], [i], [T0 + i / 20])
        return [each.kind for each in decisions if each.kind in ("activated", "deactivated")]

    assert come(0, 120, 400) == []
    assert come(120, 140, 100) == ["activated"]
    assert come(140, 200, 100) == []
    said = pipeline.accept(order(T0 + 200.0))

    assert said[0].reason == "accepted by ann: new prompt; short learnt anew"
    assert come(200, 400, 100) == ["deactivated"]
    assert come(400, 410, 20) == ["activated"]


QUESTIONS = Mode(name="input_drift", when="questions", keep_s=0.0)
ERRORS = spec("rate", name="errors", field="error")


def harmless(method):
    """A pipeline whose route's questions are longer from second 30 on, do no harm, and drift still."""
    questions = spec("divergence", method, name="questions", field="input_tokens", window_s=20.0)
    pipeline = Pipeline(contract([questions, ERRORS], [QUESTIONS, Mode(name="error_spike", when="errors")]))
    ask(pipeline, 0, 30)
    acted = ask(pipeline, 30, 48)
    machine = pipeline.route("chat").machine
    assert [each.kind for each in acted if each.disposition == "act"][-1] == "deactivated"
    assert machine.status.benign == ("questions",)
    return pipeline


def ask(pipeline, first, last):
    """Questions at 50/s that all are answered well; returns the decisions."""
    decisions = []
    for i in range(first * 50, last * 50):
        at = i / 50
        tokens = (100 if at < 30 else 3000) + i % 7
        probe = "chat" in pipeline.routes and pipeline.route("chat").machine.engaged
        decisions += pipeline.step([record(at, input_tokens=tokens, probe=probe)], [i], [T0 + at])
    return decisions


@pytest.mark.parametrize("method", ["literal", "page_hinkley"])
def test_a_harmless_drift_by_a_plain_method_is_accepted_too(method):
    """The drift is over, though the window holds the old mix too; nothing acts because of the order."""
    pipeline = harmless(method)
    said = pipeline.accept(order(T0 + 48.0))
    after = ask(pipeline, 48, 90)

    assert said[0].reason == "accepted by ann: new prompt; questions learnt anew"
    assert not pipeline.route("chat").judges["questions"].latched
    assert pipeline.route("chat").judges["questions"].armed
    assert {each.disposition for each in (*said, *after)} == {"notice"}


def test_a_drift_that_cannot_be_learnt_anew_stays_harmless(monkeypatch):
    """The audit says that it holds on; the order makes nothing act."""
    pipeline = harmless("literal")
    monkeypatch.setattr(pipeline.route("chat").judges["questions"], "rebase", lambda: None)
    (said,) = pipeline.accept(order(T0 + 48.0))

    assert said.reason.endswith("; questions cannot be learnt anew and holds on")
    assert pipeline.route("chat").machine.status.benign == ("questions",)
    assert ask(pipeline, 48, 60) == []


def test_calls_after_an_order_that_makes_a_scope_active_do_not_wait():
    """There is room for it in fallback by then: from the order on it counts when calls were made."""
    refusals = spec("rate", "literal", name="refusals", field="refused", ceiling=0.1, window_s=2.0)
    modes = [Mode(name="refusing", when="refusals", keep_s=0.0)]
    pipeline = Pipeline(contract([refusals, ERRORS], modes, max_active_share=0.5))
    for i in range(500):
        route, at = ("first", "second")[i % 2 if i < 200 else 0], i / 20
        begins = 2 if route == "first" else 5
        call = record(at, route=route, refused=begins < at < 10, probe=route == "first" and at > 5)
        pipeline.step([call], [i], [T0 + at])
    second = pipeline.route("second")
    assert second.machine.status.state == "withheld"
    said = pipeline.accept(order(T0 + 25.0, "second"))

    assert [each.kind for each in said if each.disposition == "act"] == ["activated"]
    pipeline.step([record(9.95, route="second")], [500], [T0 + 25.0])
    assert len(second.inbox) == 0
