"""How many probes are asked for, what they show, and what is said where they cannot show it in time."""

import math
from dataclasses import replace

import pytest
from msgspec import structs

from detector.contract.model import Mode, RouteRule, Slo
from detector.modes.outlook import attempt
from detector.modes.probing import Probing, is_input_drift, tells_harm
from detector.pipeline import Pipeline
from detector.predicates.base import WayBack
from detector.windows.segment import SLOW
from tests.builders import T0, contract, in_order, record, run, segment, spec

ERRORS = contract([spec("rate", name="errors", field="error")], [Mode(name="errors", when="errors")])
JUDGED = contract([spec("rate", name="made_up")], [Mode(name="made_up", when="made_up")])


def calls(seconds, per_s, bad, **fields):
    """Calls at an even pace from `seconds[0]` to `seconds[1]`."""
    for i in range(int((seconds[1] - seconds[0]) * per_s)):
        yield record(seconds[0] + i / per_s, error="500" if bad else "", **fields)


def activation(per_s, judged_every=1):
    """The activation of a route of this rate, of whose calls every n-th has a verdict."""
    made = []
    for i in range(int(60 * per_s)):
        verdict = i / per_s >= 40 if i % judged_every == 0 else None
        made.append(record(i / per_s, hallucinated=verdict))
    return next(each for each in run(Pipeline(JUDGED), in_order(made)) if each.kind == "activated")


@pytest.mark.parametrize(
    ("per_s", "judged_every", "share"),
    [
        pytest.param(1000, 1, 0.05, id="25 of 1,000 are fewer than the contract's share"),
        pytest.param(250, 1, 0.10, id="25 of 250"),
        pytest.param(500, 4, 0.20, id="a quarter judged: 100 calls for 25 verdicts"),
        pytest.param(50, 1, 0.25, id="half of all calls would be needed: the contract's most"),
    ],
)
def test_the_share_is_what_carries_25_verdicts_a_second(per_s, judged_every, share):
    """Between probe_share and probe_share_max, from the route's rate and the share of calls judged."""
    decision = activation(per_s, judged_every)

    assert decision.primary_share == pytest.approx(share, abs=0.011)
    assert decision.probes_per_s == pytest.approx(25 * judged_every, rel=0.05)


def test_a_route_that_cannot_carry_the_evidence_says_within_how_many_seconds_it_can():
    """At 20 calls a second five a second are probes: the bound is told, and it is not told at 1,000."""
    assert "evidence_limited: " in activation(20).reason
    assert "evidence_limited" not in activation(1000).reason


def test_a_route_that_cannot_show_a_recovery_for_long_says_so_in_plain_words(monkeypatch):
    """Beyond a quarter of an hour no number is told."""
    monkeypatch.setattr(Probing, "bound_s", lambda *_: 900.0)

    assert (
        "at this rate of probes a recovery cannot be seen within a quarter of an hour"
        in activation(20).reason
    )


def test_a_deployments_probes_are_a_share_of_its_own_calls():
    """25 a second are a tenth of the route's 250, and four tenths of the quarter of them that is its own."""
    route, mine = Probing(JUDGED, "chat", {}), Probing(JUDGED, "chat", {})
    for pane in range(1, 11):
        route.close(250 * pane, 1, engaged=False)
    mine.begin_as(route, 0.25, 2500)

    assert route.probe_share(()) == pytest.approx(0.1)
    assert mine.probe_share(()) == JUDGED.defaults.probe_share_max
    assert mine.rate() == pytest.approx(62.5)
    for pane in range(1, 11):
        mine.close(5 * pane, 1, engaged=True, offered=2500 + 1000 * pane)
    assert mine.probe_share(()) == pytest.approx(0.1)


def test_slow_answers_of_probes_are_bad():
    """
    Errors for 10 s, then probes that succeed but take 3 s: no recovery; the same probes at 0.1 s: one.
    On a route whose calls take 3 s when it is well, or whose service level allows it, they are good.
    """

    def ends(latency_s, usual=0.1, p99_ms=250.0):
        subject = replace(ERRORS, routes=(RouteRule(slo=Slo(p99_ms=p99_ms)),))
        made = [
            *calls((0, 60), 50, False, latency_s=usual),
            *calls((60, 64), 50, True, latency_s=usual),
            *calls((64, 90), 50, False, latency_s=latency_s, probe=True),
        ]
        return "deactivated" in {each.kind for each in run(Pipeline(subject), in_order(made))}

    assert ends(0.1)
    assert not ends(3.0)
    assert ends(3.0, usual=3.0)
    assert ends(3.0, p99_ms=5000.0)


def test_a_route_that_is_slow_now_and_then_is_so_from_its_first_minute():
    """Every seventh call of a well primary takes 3 s; it fails after 40 s, and is as slow when it is back.

    Where no call was slow before, or one of a few, the reason says that slow probes are what is bad.
    """

    def after(usual_s, well=40):
        made = [
            *calls((0, well), 50, False),
            *calls((well, well + 4), 50, True),
            *calls((well + 4, well + 40), 50, False, probe=True),
        ]
        for number, call in enumerate(made):
            late = number % 7 == 0 and not call.error
            call.latency_s = (3.0 if call.probe else usual_s) if late else 0.1
        return run(Pipeline(ERRORS), in_order(made))

    assert "deactivated" in {each.kind for each in after(3.0)}
    for kept in (after(0.1), after(3.0, well=8)):
        assert "deactivated" not in {each.kind for each in kept}
        assert "probes that take over 2 s to answer are bad, too" in kept[-1].reason


def sampled(count, slow_every):
    """What a route has seen of its calls: every n-th took 3 s."""
    subject = Probing(ERRORS, "chat", {})
    for number in range(1, count + 1):
        subject.sample(record(number, latency_s=3.0 if number % slow_every == 0 else 0.1))
    return subject


def marks(subject):
    """Whether a slow probe is bad on such a route; the segment is shown to it."""
    probes = [record(0.0, latency_s=3.0, probe=True)]
    seen = segment(probes, since=-10.0)
    subject.mark_slow(seen, probes)
    subject.note_slow(seen)
    return SLOW in seen.columns


@pytest.mark.parametrize(
    ("count", "slow_every", "bad"),
    [
        pytest.param(0, 1, True, id="nothing known"),
        pytest.param(10, 9, True, id="one of ten"),
        pytest.param(40, 8, False, id="an eighth of forty"),
        pytest.param(500, 33, True, id="3 % of many"),
        pytest.param(500, 10, False, id="10 % of many"),
    ],
)
def test_slow_probes_are_bad_where_slowness_is_not_known_to_be_usual(count, slow_every, bad):
    """Over 6 % of calls of late, and three of them at least; a snapshot remembers it."""
    subject = sampled(count, slow_every)
    restored = Probing(ERRORS, "chat", {})
    restored.load(subject.state())

    assert marks(subject) is marks(restored) is bad
    assert restored.state() == subject.state()


def test_slow_probes_are_told_of_until_the_scope_changes_state():
    """Those of an activation before are no reason of this one; a takeover forgets none."""
    subject, restored = Probing(ERRORS, "chat", {}), Probing(ERRORS, "chat", {})
    marks(subject)
    restored.load(subject.state())

    assert restored.slow_probes() == subject.slow_probes() != ""
    subject.begin()
    assert subject.slow_probes() == ""


def test_the_time_to_the_first_token_is_the_answer():
    """A probe that streams for ten seconds after a first token in 0.2 s has answered in time."""
    made = [
        *calls((0, 60), 50, False),
        *calls((60, 64), 50, True),
        *calls((64, 90), 50, False, latency_s=10.0, ttft_s=0.2, probe=True),
    ]

    assert "deactivated" in {each.kind for each in run(Pipeline(ERRORS), in_order(made))}


@pytest.mark.parametrize("cut", range(100, 4200, 450))
def test_probing_goes_on_from_a_snapshot_at_any_record(cut):
    """Shares, reasons and states are the same whether the route was snapshotted and restored or not."""
    made = [
        *calls((0, 40), 50, False),
        *calls((40, 60), 50, True),
        *calls((60, 85), 50, False, probe=True),
    ]
    stream = in_order(made)
    whole = run(Pipeline(ERRORS), stream)
    first, second = Pipeline(ERRORS), Pipeline(ERRORS)
    decisions = run(first, stream[:cut])
    second.restore(first.snapshot("chat"))

    assert decisions + run(second, stream[cut:]) == whole
    assert {"activated", "extended", "deactivated"} <= {each.kind for each in whole}


@pytest.mark.parametrize(
    ("before", "now", "said", "begins"),
    [
        ((0, 0), WayBack(probes=20, bad=3), "", "extended: 3 of 20"),
        ((20, 3), WayBack(probes=30, bad=3, needed=80), "", "inconclusive: 10 probes"),
        ((20, 3), WayBack(probes=20, bad=3), "", "inconclusive: no probe"),
        ((20, 3), WayBack(probes=5, bad=1), "", "extended: 1 of 5"),
        ((0, 0), WayBack(), "0 of 3 evaluations clear", "extended: 0 of 3"),
        ((0, 0), WayBack(), "", "inconclusive: no probe"),
    ],
)
def test_an_attempt_ends_as_extended_by_evidence_or_inconclusive(before, now, said, begins):
    """Bad probes since the last attempt extend; good ones alone, or none, are no evidence yet."""
    assert attempt(before, now, said).startswith(begins)


DRIFT = [
    spec("divergence", name="questions", field="template", window_s=10.0, threshold_nats=0.07),
    spec("rate", name="errors", field="error", ceiling=0.02),
]


def drifting(seconds, harm_from=None, measured=True):
    """Questions of another template from second 120 on; probes once the scope is active."""
    for i in range(seconds * 50):
        at = i / 50
        template = ("a", "b")[i % 2] if at < 120 else ("c", "d")[i % 2]
        bad = harm_from is not None and at >= harm_from
        yield record(at, template=template, probe=at >= 135, error="500" if bad else "")


def told(stream, predicates=DRIFT, modes=None):
    modes = modes or [Mode(name="input_drift", when="questions"), Mode(name="errors", when="errors")]
    named = {each.name for each in predicates}
    subject = contract(predicates, [mode for mode in modes if mode.when in named])
    return run(Pipeline(subject), in_order(stream))


def test_a_drift_that_does_no_harm_ends_as_a_notice_and_does_not_act_again():
    """Activated, shown harmless by probes, back at the primary within half a minute, and quiet then."""
    decisions = told(drifting(400))
    acts = [each for each in decisions if each.disposition == "act"]
    notices = [each for each in decisions if each.disposition == "notice"]

    assert [each.kind for each in acts if each.kind != "revised"] == ["activated", "deactivated"]
    assert acts[-1].at - acts[0].at < 30
    assert [each.mode for each in notices] == ["input_drift"]
    assert notices[0].reason.startswith("benign drift")


def test_a_harmless_drift_that_comes_back_is_silent():
    """It ends and returns within the hour: neither acted on again nor noticed."""

    def comes_and_goes():
        for each in drifting(500):
            away = 250 <= each.event_time - T0 < 400
            yield structs.replace(each, template="ab"[int(each.event_time * 50) % 2]) if away else each

    begun = [each for each in told(comes_and_goes()) if each.kind == "activated"]

    assert [each.disposition for each in begun] == ["act", "notice"]


def test_harm_ends_the_exemption():
    """On the same drift, once calls fail, the scope acts again and the drift is among its modes."""
    decisions = told(drifting(320, harm_from=300))
    last = [each for each in decisions if each.kind == "activated" and each.disposition == "act"][-1]

    assert last.at >= T0 + 300
    assert set(last.modes) == {"input_drift", "errors"}


def test_harm_on_a_drift_that_mutes_it_has_the_drifts_name():
    """Though the drift had been found harmless and the symptom comes first in the contract."""
    modes = [
        Mode(name="errors", when="errors"),
        Mode(name="input_drift", when="questions", mutes=("errors",)),
    ]
    decisions = told(drifting(320, harm_from=300), modes=modes)
    last = [each for each in decisions if each.kind == "activated" and each.disposition == "act"][-1]

    assert last.at >= T0 + 300
    assert (last.mode, last.muted) == ("input_drift", ("errors",))


def test_without_anything_that_measures_harm_a_new_normal_is_proposed_after_a_quarter_of_an_hour():
    """Active for 15 minutes, then inactive with the notice."""
    decisions = told(drifting(1200), DRIFT[:1])
    acts = [each for each in decisions if each.disposition == "act"]
    (notice,) = [each for each in decisions if each.disposition == "notice"]

    assert notice.reason.startswith("new_normal_proposed")
    assert 900 <= notice.at - acts[0].at < 905
    assert (acts[-1].kind, acts[-1].state) == ("deactivated", "inactive")


ANSWERS = [spec("divergence", name="answers", field="finish_reason", window_s=10.0), DRIFT[1]]
ANSWER_MODES = [Mode(name="token_drift", when="answers"), Mode(name="errors", when="errors")]


def other_answers(seconds, harm_from=None, harm_to=math.inf):
    """Answers end otherwise from second 120 on, and go on to; probes once the scope is active."""
    for i in range(seconds * 50):
        at = i / 50
        ends = ("stop", "length")[i % 2] if at < 120 else ("tool", "filter")[i % 2]
        bad = harm_from is not None and harm_from <= at < harm_to
        yield record(at, finish_reason=ends, probe=at >= 130, error="500" if bad else "")


def test_answers_that_drift_for_long_while_nothing_else_shows_harm_do_not_hold_a_route_for_ever():
    """Active for 15 minutes, then a notice; it does not act again by itself, and other harm does."""
    decisions = told(other_answers(1300, harm_from=1200), ANSWERS, ANSWER_MODES)
    acts = [each for each in decisions if each.disposition == "act" and each.kind != "extended"]
    first = acts[0]
    notice = next(each for each in decisions if each.disposition == "notice")
    closed = next(each for each in acts if each.kind == "deactivated")
    again = next(each for each in acts if each.kind == "activated" and each is not first)

    assert first.mode == "token_drift"
    assert notice.reason.startswith("new_normal_proposed: nothing else shows harm")
    assert 900 <= notice.at - first.at < 905
    assert closed.at - notice.at < 10
    assert again.at >= T0 + 1200
    assert "errors" in again.modes


def test_a_drift_that_did_no_harm_does_not_hold_what_came_beside_it():
    """Errors for ten seconds on top of it: the route is back soon after them."""
    decisions = told(other_answers(1300, harm_from=1200, harm_to=1210), ANSWERS, ANSWER_MODES)
    closed = [each for each in decisions if each.kind == "deactivated" and each.disposition == "act"]

    assert len(closed) == 2
    assert T0 + 1210 < closed[-1].at < T0 + 1240


def test_other_answers_to_the_same_questions_are_never_taken_for_a_new_normal():
    """No mix of callers explains them, so the primary is another one; the reason says what ends it."""
    given = spec("divergence", name="answers", field="output_tokens", given="tenant", window_s=10.0)
    stream = (
        structs.replace(
            each, tenant="ab"[i // 3 % 2], output_tokens=200 if each.event_time < T0 + 120 else 20
        )
        for i, each in enumerate(other_answers(1300))
    )
    acts = [each for each in told(stream, [given, DRIFT[1]], ANSWER_MODES) if each.disposition == "act"]

    assert (acts[0].kind, acts[0].mode) == ("activated", "token_drift")
    assert acts[-1].kind == "extended"
    assert "detector accept" in acts[-1].reason
    assert not [each for each in acts if "detector accept" in each.reason and each.at < acts[0].at + 900]
    assert "deactivated" not in {each.kind for each in acts}


def test_answers_that_drift_while_calls_fail_stay_with_the_fallback():
    """Harm that is seen is harm, however long it lasts."""
    decisions = told(other_answers(1200, harm_from=140), ANSWERS, ANSWER_MODES)

    assert not [each for each in decisions if "new_normal" in each.reason]
    assert [each.kind for each in decisions if each.kind == "deactivated" and each.disposition == "act"] == []


def test_harm_that_only_gives_notice_is_harm_all_the_same():
    """A drift of answers beside errors, which do not act here, is not proposed as the new normal."""
    modes = [ANSWER_MODES[0], Mode(name="errors", when="errors", severity="notice")]
    decisions = told(other_answers(1200, harm_from=140), ANSWERS, modes)

    assert "errors" in {each.mode for each in decisions if each.disposition == "notice"}
    assert not [each for each in decisions if "new_normal" in each.reason]


def test_what_is_an_input_and_what_tells_harm():
    """Inputs and features are the questions; silence tells neither."""
    subject = contract([*DRIFT, spec("divergence", name="answers"), spec("absence", name="silence")])

    assert [is_input_drift(subject, name) for name in subject.predicates] == [True, False, False, False]
    assert [tells_harm(subject, name) for name in subject.predicates] == [False, True, True, False]


def test_what_is_inactive_has_the_whole_traffic_whatever_else_is_active():
    """A shadow mode is over while the route is still on its way back: its own record says 1 all the same."""
    predicates = [
        spec("rate", name="errors", field="error"),
        spec("rate", name="many", field="error", ceiling=0.05),
    ]
    modes = [Mode(name="errors", when="errors"), Mode(name="tried", when="many", shadow=True)]
    stream = [*calls((0, 60), 50, False), *calls((60, 63), 50, True), *calls((63, 120), 50, False)]
    ended = [
        each
        for each in run(Pipeline(contract(predicates, modes)), in_order(stream))
        if each.state == "inactive"
    ]

    assert {each.disposition for each in ended} == {"act", "shadow"}
    assert {each.primary_share for each in ended} == {1.0}
