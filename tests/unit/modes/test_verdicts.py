"""Late verdicts: joined to their calls, and deaf to what was before the scope's last change of state."""

from collections import deque

import msgspec
import numpy as np
import pytest

from detector.modes.verdicts import CALLS, WAIT_S, Coming, LateVerdicts
from detector.pipeline import Pipeline
from detector.predicates.base import Budget
from detector.predicates.registry import judge_for
from tests.builders import T0, contract, evaluation, in_order, record, spec

PER_S = 40
PROBES = 0.1  # share of calls while the scope is active
FAULT, WELL = 60, 90  # the primary fails from one second to the other


def made():
    judge = judge_for(spec("rate", field="", evaluation="hallucination"), Budget(run_length=1e6, alpha=1e-7))
    return LateVerdicts([judge])


def take(late, at, now=None, engaged=True, **fields):
    """Give it a verdict; return what it was counted as."""
    before = (late.judged, late.skipped, late.unjoined)
    verdict = evaluation(at, **({"failed": True, "request_id": "r"} | fields))
    late.take(Coming(verdict, 0, T0 + at), T0 + (at if now is None else now), engaged=engaged)
    after = (late.judged, late.skipped, late.unjoined)
    names = [
        name for name, a, b in zip(("judged", "skipped", "unjoined"), before, after, strict=True) if b > a
    ]
    return names[0] if names else "waits"


def wait_until(late, now):
    """Take again what waits, at this time of the route."""
    for verdict in late.take_waiting():
        late.take(verdict, T0 + now, engaged=True)


def mixed(late, at=0.0):
    """A fallback has answered some call."""
    late.remember([record(at, request_id="other", served_by="rule")], engaged=True)


def test_while_only_the_primary_answers_a_verdict_is_judged_as_it_comes():
    """Without a fallback's answer there is nothing to tell apart: known or not, its call is the primary's."""
    assert take(made(), 5.0, engaged=False) == "judged"


@pytest.mark.parametrize(("server", "counted"), [("primary", "judged"), ("rule", "skipped")])
def test_a_verdict_after_its_call_is_joined(server, counted):
    """While both answer, a verdict counts if the primary answered the call that it names."""
    late = made()
    mixed(late)
    late.remember([record(1.0, request_id="r", served_by=server)], engaged=True)

    assert take(late, 5.0, call_time=T0 + 1.0) == counted


@pytest.mark.parametrize(("server", "counted"), [("primary", (1, 0, 0)), ("rule", (0, 1, 0))])
def test_a_verdict_before_its_call_waits_for_it(server, counted):
    """It is judged once the call has come, and skipped if a fallback had answered it."""
    late = made()
    mixed(late)
    assert take(late, 5.0, call_time=T0 + 4.0) == "waits"
    late.remember([record(6.0, latency_s=1.0, request_id="r", served_by=server)], engaged=True)
    wait_until(late, 7.0)

    assert (late.judged, late.skipped, late.unjoined) == counted


def test_a_verdict_whose_call_never_comes_is_counted_and_not_judged():
    """It waits 30 s of the route's time, not more."""
    late = made()
    mixed(late)
    take(late, 5.0, call_time=T0 + 4.0)
    wait_until(late, 5.0 + WAIT_S - 0.1)
    assert (late.judged, late.skipped, late.unjoined) == (0, 0, 0)
    wait_until(late, 5.0 + WAIT_S)

    assert (late.judged, late.skipped, late.unjoined) == (0, 0, 1)


def test_a_verdict_that_waits_is_let_go_though_nothing_else_happens_on_its_route():
    """No window holds a call, so that panes are jumped over; the route's time ends the wait all the same."""
    predicate = spec("rate", name="made_up", field="", evaluation="hallucination", ceiling=0.02)
    pipeline = Pipeline(contract([predicate]))
    pipeline.step(*in_order([record(i / 10, request_id=f"f{i}", served_by="rule") for i in range(50)]).args())
    late = evaluation(4.5, request_id="unknown", call_time=T0 + 4.0, failed=True)
    pipeline.step_evaluations([late], [0], [T0 + 5.0])
    pipeline.step([record(60.0), record(64.0), record(68.0)], range(50, 53), [T0 + 70.0] * 3)

    assert (pipeline.counts.verdicts, pipeline.counts.verdicts_unjoined) == (0, 1)


def test_a_forgotten_answer_of_a_fallback_is_not_taken_for_the_primarys():
    """Of more calls than are remembered, verdicts on the oldest are unjoined, never judged."""
    late = made()
    answers = [record(i / 1000, request_id=f"f{i}", served_by="rule") for i in range(CALLS + 500)]
    late.remember(answers, engaged=True)
    for i in range(500):
        take(late, 10.0, request_id=f"f{i}", call_time=T0 + i / 1000)
    wait_until(late, 10.0 + WAIT_S)

    assert (late.judged, late.unjoined) == (0, 500)


@pytest.mark.parametrize(
    ("call", "verdict", "counted"),
    [
        ({"latency_s": 1.0}, {}, "judged"),
        ({"latency_s": 3.0}, {}, "skipped"),
        ({"latency_s": 3.0}, {"call_time": T0 + 102.0}, "skipped"),
        (None, {"call_time": T0 + 99.0}, "skipped"),
        (None, {}, "skipped"),
    ],
    ids=["made since", "made before", "made before, ended since", "ended before", "nobody knows when"],
)
def test_only_calls_made_since_the_last_change_of_state_count(call, verdict, counted):
    """Whether the scope is active or not; the call says when it was made, else its verdict."""
    late = made()
    late.since = T0 + 100.0
    if call is not None:
        late.remember([record(102.0, request_id="r", **call)], engaged=False)

    assert take(late, 120.0, engaged=False, **verdict) == counted


def test_a_verdict_counts_once():
    """A second one of the same name on the same request is skipped."""
    late = made()

    assert [take(late, at, engaged=False) for at in (1.0, 2.0)] == ["judged", "skipped"]


def test_what_is_known_survives_a_restart():
    """State through msgpack: waiting verdicts, calls and counts are all there."""
    late = made()
    mixed(late)
    late.remember([record(1.0, request_id="p")], engaged=True)
    take(late, 5.0)
    late.since = T0 + 1.0
    taken = made()
    taken.load(msgspec.msgpack.decode(msgspec.msgpack.encode(late.state()), strict=False))

    assert taken.state() == late.state()


def lived(lag_s, share, seconds):
    """(state, second) of every change of a scope whose primary fails in two ways for half a minute.

    Errors show at once; whether an answer is made up is said `lag_s` later, of a share of the calls. The
    gateway obeys from the next second on.
    """
    rng = np.random.default_rng(1)
    watched = contract(
        [
            spec("rate", name="errors", field="error", ceiling=0.02),
            spec("rate", name="made_up", field="", evaluation="hallucination", ceiling=0.02),
        ]
    )
    pipeline, verdicts, seen, offset = Pipeline(watched), deque(), [], 0
    state = "inactive"
    for second in range(seconds):
        bad = FAULT <= second < WELL
        calls = []
        for i in range(PER_S):
            at, probe = second + i / PER_S, rng.random() < PROBES
            primary = state == "inactive" or probe
            call = record(
                at,
                request_id=f"{second}-{i}",
                latency_s=0.01,
                served_by="primary" if primary else "rule",
                probe=primary and state == "active",
                error="500" if bad and primary and rng.random() < 0.4 else "",
            )
            calls.append(call)
            if rng.random() < share:
                failed = bool(bad and primary and rng.random() < 0.5)
                verdicts.append(
                    evaluation(
                        at + lag_s, call_time=call.event_time, request_id=call.request_id, failed=failed
                    )
                )
        due = []
        while verdicts and verdicts[0].event_time < T0 + second + 1:
            due.append(verdicts.popleft())
        stream = in_order(calls)
        decisions = pipeline.step(calls, range(offset, offset + PER_S), stream.arrivals)
        offset += PER_S
        if due:
            decisions += pipeline.step_evaluations(
                due, range(offset, offset + len(due)), [each.event_time for each in due]
            )
        for decision in decisions:
            if decision.kind in ("activated", "deactivated"):
                state = "active" if decision.kind == "activated" else "inactive"
                seen.append((state, second))
    return seen


@pytest.mark.parametrize("share", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("lag_s", [5, 30, 300])
def test_old_verdicts_neither_open_a_scope_nor_keep_it_open(lag_s, share):
    """One activation, at the fault, and an end that waits for no verdict on a call from before the change.

    Verdicts on probes that were bad while the scope was active do keep it open where they come in time,
    until verdicts on good ones have come: after the lag, some 110 of them.
    """
    probed_in_vain = lag_s <= WELL - FAULT and share >= 0.1
    enough_s = lag_s + 110 / (PER_S * PROBES * share) if probed_in_vain else 0
    (activated, began), (deactivated, ended) = lived(lag_s, share, WELL + int(enough_s) + lag_s + 60)

    assert (activated, deactivated) == ("active", "inactive")
    assert FAULT <= began <= FAULT + 5
    assert WELL <= ended <= WELL + enough_s + 40


@pytest.mark.parametrize("restored", [False, True], ids=["same", "after a restart"])
def test_a_slow_judge_of_many_probes_is_still_heard(restored):
    """At 60 probes a second and five minutes to a verdict some calls stand for all; memory stays bounded."""
    late, lag_s, per_s = made(), 300.0, 60
    mixed(late)
    counted = {"judged": 0, "skipped": 0, "unjoined": 0, "waits": 0}
    for i in range(int(900 * per_s)):
        at = i / per_s
        late.remember([record(at, request_id=f"c{i}")], engaged=True)
        if at >= lag_s:
            number = i - int(lag_s * per_s)
            said = take(late, at, call_time=T0 + number / per_s, request_id=f"c{number}", failed=False)
            if at > 600:
                counted[said] += 1
        if restored and i == 500 * per_s:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(late.state()), strict=False)
            late = made()
            late.load(state)

    assert counted["judged"] > 0.2 * 300 * per_s
    assert counted["judged"] + counted["skipped"] == sum(counted.values())
    assert len(late.state()["by_primary"]) <= 8192


UNUSABLE = contract([spec("rate", name="bad", field="", evaluation="hallucination", ceiling=0.05)])


def half_bad(pipeline, n):
    """Give it verdicts, every second bad, at even offsets, and between them others that nobody asks for."""
    said = []
    for i in range(n):
        for offset, name in ((2 * i, "hallucination"), (2 * i + 1, "unasked")):
            verdict = evaluation(5 + i / 100, name=name, request_id=f"x{i}", failed=i % 2 == 0)
            said += pipeline.step_evaluations([verdict], [offset], [verdict.event_time])
    return said


@pytest.mark.parametrize("calls", [0, 50])
def test_that_a_predicate_of_them_is_unusable_points_at_a_verdict(calls):
    """At the one that told, and not at a call, which has nothing to do with it."""
    pipeline = Pipeline(UNUSABLE)
    for i in range(calls):
        pipeline.step([record(i / 10, request_id=f"{i}")], [i], [T0 + i / 10])
    (notice,) = half_bad(pipeline, 100)

    assert "is unusable" in notice.reason
    assert (notice.evidence.topic, notice.evidence.offset % 2) == ("llm.evaluations", 0)
    assert notice.evidence.event_time == pytest.approx(T0 + 5 + notice.evidence.offset / 200)


def test_the_last_one_that_counted_is_known_after_a_restore():
    """A verdict that nobody asks for came after it; evidence at a pane's end points at it all the same."""
    pipeline, taken = Pipeline(UNUSABLE), Pipeline(UNUSABLE)
    half_bad(pipeline, 20)
    taken.restore(pipeline.snapshot("chat"))
    found = taken.route("chat").findings.evidence("bad", (7, T0))

    assert (found.topic, found.offset, found.event_time) == ("llm.evaluations", 38, T0 + 5.19)
