"""The pipeline's result depends on each route's records in their order, and on nothing else."""

from collections import Counter
from dataclasses import asdict

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.modes.route import RouteJudge
from detector.pipeline import Caps, Pipeline
from detector.windows.watermark import FUTURE_S
from tests.builders import (
    T0,
    Stream,
    by_scope,
    contract,
    core_contract,
    evaluation,
    faulty_stream,
    in_order,
    record,
    run,
    spec,
)

STREAM = faulty_stream(seconds=90, per_s=10)
ROUTES = ("chat", "code", "search")
CONTRACT = core_contract()
MOST_BYTES = 512 * 1024


def verdicts_of(stream):
    """Late verdicts on some of the first route's calls, two seconds after them; half of them come twice."""
    for i, call in enumerate(stream.of("chat").records):
        if i % 3 == 0:
            at = call.event_time - T0 + 2
            for _ in range(1 + i % 2):
                yield evaluation(
                    at,
                    route="chat",
                    request_id=call.request_id,
                    call_time=call.event_time,
                    failed=call.hallucinated,
                )


VERDICTS = sorted(verdicts_of(STREAM), key=lambda each: each.event_time)
WHOLE = Pipeline(CONTRACT)
DECIDED = by_scope(run(WHOLE, STREAM))
CUTS = st.sets(st.integers(1, len(STREAM) - 1), max_size=12)


def armed(pipeline):
    for route in list(pipeline.routes):
        pipeline.snapshot(route)  # what the windows have not taken yet is not counted yet
    return pipeline.armed()


def same_as_whole(pipeline, decisions):
    assert by_scope(decisions) == DECIDED
    assert pipeline.counts == WHOLE.counts
    found, expected = armed(pipeline), armed(WHOLE)
    # A route's first ten records make its habit; a snapshot among them counts the rest of their second.
    assert found.pop("silence") == pytest.approx(expected.pop("silence"), abs=30 / WHOLE.counts.judged)
    assert found == expected


def test_the_stream_has_something_to_decide():
    """The stream activates and ends modes, and has late and too-late records and fallbacks' answers."""
    kinds = Counter(each.kind for each in DECIDED["chat"] if each.disposition == "act")

    assert kinds["activated"] >= 1
    assert kinds["deactivated"] >= 1
    assert {each.mode for each in DECIDED["chat"]} >= {"hallucination_spike"}
    assert {each.mode for each in DECIDED["code"]} >= {"latency_spike"}
    assert "search" not in DECIDED
    assert WHOLE.counts.late > 0
    assert 0 < WHOLE.counts.judged < len(STREAM)
    assert any(each.served_by != "primary" for each in STREAM.records)


@given(cuts=CUTS)
@settings(max_examples=25)
def test_batches_make_no_difference(cuts):
    """However the log is cut into batches, decisions, counts and armed shares are the same."""
    pipeline = Pipeline(CONTRACT)

    same_as_whole(pipeline, run(pipeline, STREAM, cuts))


def test_single_records_make_no_difference():
    """The finest cut of all, each record alone."""
    pipeline = Pipeline(CONTRACT)

    same_as_whole(pipeline, run(pipeline, STREAM, range(1, len(STREAM))))


@pytest.mark.parametrize(
    "partition_of", [{"chat": 0, "code": 1, "search": 2}, {"chat": 1, "code": 0, "search": 1}]
)
def test_partitions_make_no_difference(partition_of):
    """Routes spread over several partitions come to the decisions that they come to on one."""
    pipelines = {number: Pipeline(CONTRACT, partition=number) for number in set(partition_of.values())}
    decisions, judged = [], 0
    for number, pipeline in pipelines.items():
        kept = [i for i, each in enumerate(STREAM.records) if partition_of[each.route] == number]
        part = Stream(*(tuple(column[i] for i in kept) for column in STREAM.args()))
        decisions += run(pipeline, part, range(50, len(part), 50))
        judged += pipeline.counts.judged
        assert {each.partition for each in decisions if partition_of[each.route] == number} <= {number}
    found = {
        scope: [msgspec.to_builtins(each) | {"evidence": 0} for each in those]
        for scope, those in by_scope(decisions).items()
    }
    expected = {
        scope: [msgspec.to_builtins(each) | {"evidence": 0} for each in those]
        for scope, those in DECIDED.items()
    }

    assert found == expected
    assert judged == WHOLE.counts.judged


@given(cuts=st.sets(st.integers(1, len(STREAM) - 1), min_size=1, max_size=3), again=st.integers(0, 200))
@settings(max_examples=25)
def test_a_takeover_makes_no_difference(cuts, again):
    """
    Snapshots into a fresh pipeline at any record, and reading some records again that they cover: the same
    decisions, each record counted exactly once.
    """
    pipeline, decisions, start, skipped = Pipeline(CONTRACT), [], 0, 0
    for cut in [*sorted(cuts), len(STREAM)]:
        back = min(again, start)
        skipped += back
        decisions += run(pipeline, STREAM[start - back : cut])
        start = cut
        taken = Pipeline(CONTRACT)
        for route in list(pipeline.routes):
            assert taken.restore(pipeline.snapshot(route)) == route
        assert pipeline.counts.skipped == back
        assert pipeline.dirty() == []
        assert pipeline.first_uncovered() == {}
        pipeline = taken

    same_as_whole(pipeline, decisions)


@given(cut=st.integers(1, len(STREAM) - 1), later=st.integers(0, 300))
@settings(max_examples=25)
def test_old_snapshots_read_on_from_the_least_offset_they_lack(cut, later):
    """Routes snapshotted at different times: reading on from the first uncovered offset loses nothing."""
    pipeline, decisions = Pipeline(CONTRACT), []
    decisions += run(pipeline, STREAM[:cut])
    kept = {route: pipeline.snapshot(route) for route in list(pipeline.routes)}
    end = min(len(STREAM), cut + later)
    run(pipeline, STREAM[cut:end])
    assert pipeline.first_uncovered() == ({"telemetry": cut} if end > cut else {})
    if "chat" in pipeline.routes:
        kept["chat"] = pipeline.snapshot("chat")
    taken = Pipeline(CONTRACT)
    for data in kept.values():
        taken.restore(data)
    again = run(taken, STREAM[cut:])
    chat = by_scope(again).get("chat", [])
    found = by_scope(decisions + again)

    for route in ("code", "search"):
        assert found.get(route) == DECIDED.get(route)
    assert chat == DECIDED["chat"][len(DECIDED["chat"]) - len(chat) :]
    assert taken.counts.judged == WHOLE.counts.judged


def feed_both(pipeline, stream, verdicts, cuts):
    """Telemetry in batches; before each of them the verdicts that had been made by then."""
    decisions, start, told = [], 0, 0
    for end in [*sorted(cuts), len(stream)]:
        if end == start:
            continue
        newest = stream.arrivals[end - 1]
        decisions += pipeline.step(*stream[start:end].args())
        upto = sum(each.event_time <= newest for each in verdicts)
        if upto > told:
            batch = verdicts[told:upto]
            decisions += pipeline.step_evaluations(
                batch, range(told, upto), [each.event_time for each in batch]
            )
        start, told = end, upto
    return decisions


def test_late_verdicts_are_counted_once_and_act():
    """Verdicts find the fault by themselves; those that come twice or on a fallback's answer do not count."""
    only = contract([spec("rate", name="verdicts", field="", evaluation="hallucination", ceiling=0.02)])
    pipeline = Pipeline(only)
    decisions = feed_both(pipeline, STREAM, VERDICTS, range(36, len(STREAM), 36))
    (activated, *_) = [each for each in decisions if each.kind == "activated"]
    unique = {each.request_id for each in VERDICTS}

    assert activated.evidence.topic == "llm.evaluations"
    assert VERDICTS[activated.evidence.offset].failed
    assert pipeline.counts.verdicts <= len(unique) < len(VERDICTS)
    counts = pipeline.counts
    assert counts.verdicts + counts.verdicts_skipped + counts.verdicts_unjoined == len(VERDICTS)


@given(cut=st.integers(1, len(VERDICTS) - 1))
@settings(max_examples=20)
def test_a_takeover_keeps_what_verdicts_have_said(cut):
    """Snapshot between two verdicts and go on: the same decisions and counts, covered ones skipped."""
    only = contract([spec("rate", name="verdicts", field="", evaluation="hallucination", ceiling=0.02)])

    def tell(pipeline, start, end):
        batch = VERDICTS[start:end]
        return pipeline.step_evaluations(batch, range(start, end), [each.event_time for each in batch])

    whole, first = Pipeline(only), Pipeline(only)
    expected = tell(whole, 0, len(VERDICTS))
    found = tell(first, 0, cut)
    taken = Pipeline(only)
    taken.restore(first.snapshot("chat"))
    found += tell(taken, max(0, cut - 5), len(VERDICTS))

    assert found == expected
    assert taken.counts.skipped == min(cut, 5)
    assert (taken.counts.verdicts, taken.counts.verdicts_skipped) == (
        whole.counts.verdicts,
        whole.counts.verdicts_skipped,
    )


def errors(**more):
    return contract([spec("rate", name="errors", field="error", ceiling=0.02)], **more)


def failing(start, n=50, route="chat", every=0.1):
    return [record(start + i * every, route, error="500") for i in range(n)]


def healthy(start, n=200, route="chat", every=0.1):
    return [record(start + i * every, route) for i in range(n)]


def test_a_verdict_from_the_future_does_not_move_time():
    """An evaluation's time is believed up to five seconds past its arrival, as a record's is."""
    only = contract([spec("rate", name="verdicts", field="", evaluation="hallucination", ceiling=0.02)])
    pipeline = Pipeline(only)
    run(pipeline, in_order(healthy(0)))
    good = [evaluation(20, failed=False)] * 50
    pipeline.step_evaluations(good, range(50), [T0 + 20.0] * 50)
    bad = [evaluation(1e8, failed=True)] * 20
    decisions = pipeline.step_evaluations(bad, range(50, 70), [T0 + 20.0] * 20)

    assert [each.kind for each in decisions] == ["activated"]
    assert decisions[0].at <= T0 + 20 + FUTURE_S


def test_a_clock_that_runs_ahead_closes_nobodys_windows():
    """Times beyond arrival + 5 s are clamped and counted; other routes' time is not moved at all."""
    stream = faulty_stream(seed=1, seconds=30, routes=("chat",))
    alone = Pipeline(CONTRACT)
    expected = by_scope(run(alone, stream))
    ahead = [record(10**6 + i, "rogue") for i in range(len(stream))]
    mixed = Pipeline(CONTRACT)
    records = [each for pair in zip(stream.records, ahead, strict=True) for each in pair]
    arrivals = [each for at in stream.arrivals for each in (at, at)]
    decisions = mixed.step(records, range(len(records)), arrivals)

    assert mixed.counts.clamped == len(stream)
    assert by_scope(decisions).get("chat") == expected.get("chat")
    assert mixed.route("chat").late == alone.route("chat").late


def test_one_producer_ahead_does_not_make_others_late():
    """On a route itself time is at most five seconds ahead, so honest records stay inside the windows."""
    pipeline = Pipeline(CONTRACT)
    honest = healthy(0, 300)
    rogue = [record(10**7 + i) for i in range(300)]
    records = [each for pair in zip(honest, rogue, strict=True) for each in pair]
    pipeline.step(records, range(600), [each.event_time for each in honest for _ in range(2)])

    assert pipeline.counts.late == 0
    assert pipeline.counts.clamped == 300


@pytest.mark.parametrize("field", ["golden_ok", "hallucinated", "refused", "error"])
@pytest.mark.parametrize("method", ["default", "literal"])
@pytest.mark.parametrize("begins", [400, 407, 414])
def test_every_kind_of_bad_call_is_found_in_batches_of_every_size(field, method, begins):
    """What counts as bad, a false `golden_ok` included, activates at the same record however it arrives."""
    bad, good = {"error": ("500", ""), "golden_ok": (False, True)}.get(field, (True, False))
    bad_ones = range(begins, begins + 100)
    calls = [record(i * 0.05, **{field: bad if i in bad_ones else good}) for i in range(600)]
    only = contract([spec("rate", method, name="rate", field=field, ceiling=0.02, window_s=5.0)])
    whole = run(Pipeline(only), in_order(calls))

    assert begins * 0.05 <= whole[0].at - T0 < (begins + 100) * 0.05
    for size in (1, 3, 20):
        assert run(Pipeline(only), in_order(calls), range(size, 600, size)) == whole


def test_evidence_points_at_the_record_that_crossed_the_line():
    """Topic, partition, offset and time of a sequential judge's evidence are those of the failing record."""
    records = healthy(0) + failing(20)
    pipeline = Pipeline(errors(), partition=5, topic="eu.llm.telemetry")
    (decision,) = run(
        pipeline, Stream(tuple(records), tuple(range(1000, 1250)), tuple(each.event_time for each in records))
    )
    crossed = decision.evidence.offset - 1000

    assert (decision.evidence.topic, decision.evidence.partition) == ("eu.llm.telemetry", 5)
    assert decision.evidence.event_time == records[crossed].event_time == decision.at
    assert 200 <= crossed < 210


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_a_snapshot_stays_within_its_bound(kind):
    """The fullest state of default windows, with names as long as they may be, is under 512 KiB."""
    rng = np.random.default_rng(3)
    predicates = [
        spec("divergence", name="output", field="output_tokens"),
        spec("divergence", name="input", field="input_tokens"),
        spec("divergence", name="given", field="output_tokens", given="tenant"),
        spec("rate", name="verdicts", field="", evaluation="hallucination", ceiling=0.02),
        spec("rate", name="made_up", ceiling=0.02),
        spec("exceedance", name="slow", ceiling=0.02),
        spec("absence", name="silence"),
    ]
    pipeline = Pipeline(contract(predicates))
    per_s = 1 if kind == "sparse" else 40
    records = [
        record(
            i / per_s,
            "chat",
            request_id="ü" * 190 + f"{i:010}",
            served_by="rule" if i % 2 else "primary",
            tenant="t" * 190 + f"{i // 2 % 15}",
            input_tokens=int(2 ** rng.uniform(0, 20)),
            output_tokens=int(2 ** rng.uniform(0, 20)),
            latency_s=float(10 ** rng.uniform(-4, 3)),
        )
        for i in range(4200 * min(per_s, 3))
    ]
    run(pipeline, in_order(records))
    verdicts = [
        evaluation(4000, failed=False, request_id="v" * 190 + f"{i:010}", call_time=T0 + 1.0)
        for i in range(5000)
    ]
    pipeline.step_evaluations(verdicts, range(5000), [T0 + 4000.0] * 5000)

    assert len(pipeline.snapshot("chat")) < MOST_BYTES


def test_a_snapshot_of_another_version_is_left_out():
    """A state that this version cannot read is not half read."""
    pipeline = Pipeline(errors())
    run(pipeline, in_order(healthy(0)))
    state = msgspec.msgpack.decode(pipeline.snapshot("chat")) | {"version": 999}
    taken = Pipeline(errors())

    assert taken.restore(msgspec.msgpack.encode(state)) is None
    assert list(taken.routes) == []


def test_a_predicate_that_was_redefined_starts_afresh_and_others_go_on():
    """After a change of the contract, state is taken over by the predicates that still mean the same."""
    old = contract([spec("rate", name="errors", field="error", ceiling=0.02), spec("rate", name="made_up")])
    new = contract(
        [
            spec("rate", name="errors", field="refused", ceiling=0.02),
            spec("rate", name="made_up"),
            spec("absence"),
        ]
    )
    pipeline = Pipeline(old)
    run(pipeline, in_order(healthy(0) + failing(20)))
    assert pipeline.route("chat").judges["errors"].latched
    taken = Pipeline(new)
    taken.restore(pipeline.snapshot("chat"))

    assert not taken.route("chat").judges["errors"].latched
    assert taken.counts.judged == 250
    run(
        taken,
        Stream(
            *(
                tuple(column)
                for column in zip(
                    *[(each, 250 + i, each.event_time) for i, each in enumerate(healthy(26))], strict=True
                )
            )
        ),
    )
    assert taken.route("chat").machine.status.state == "inactive"


def test_the_least_recently_seen_route_is_forgotten_first():
    """With room for three routes a fourth replaces the one not seen for longest, and that is counted."""
    pipeline = Pipeline(errors(), caps=Caps(routes=3))
    for i, route in enumerate(["a", "b", "c", "a", "d", "e"]):
        pipeline.step([record(i, route)], [i], [T0 + i])

    assert list(pipeline.routes) == ["a", "d", "e"]
    assert pipeline.counts.evicted == 2
    assert pipeline.counts.judged == 6


def test_the_cap_and_the_counts_of_the_forgotten_survive_a_restore():
    """Of more snapshots than there is room for the last ones stay; who is forgotten is named, once."""
    pipeline, saved = Pipeline(errors(), caps=Caps(routes=3)), []
    for i, route in enumerate("abcd"):
        pipeline.step([record(i, route)], [i], [T0 + i])
        saved.append(pipeline.snapshot(route))
    assert pipeline.take_evicted() == ["a"]
    assert pipeline.take_evicted() == []

    restored = Pipeline(errors(), caps=Caps(routes=2))
    restored.restore_gone(asdict(pipeline.gone))
    for data in saved[1:]:
        restored.restore(data)
    assert list(restored.routes) == ["c", "d"]
    assert restored.take_evicted() == ["b"]
    assert (restored.counts.judged, restored.counts.evicted) == (4, 2)


def test_a_route_that_was_forgotten_while_time_advances_is_not_ticked(monkeypatch):
    """Others get their turn between two ticks; what a tick changed has to be there for its snapshot."""
    ticked = []
    monkeypatch.setattr(RouteJudge, "tick", lambda self, now, together: ticked.append(self.route) or ["said"])
    pipeline = Pipeline(errors(), caps=Caps(routes=2))
    pipeline.step([record(0, "a"), record(0, "b")], [0, 1], [T0, T0])
    ticks = pipeline.ticks(T0 + 60)
    while not ticked:
        next(ticks)
    pipeline.step([record(1, "c"), record(1, "d")], [2, 3], [T0 + 1, T0 + 1])
    list(ticks)

    assert ticked == ["a"]
    assert set(pipeline.dirty()) == set(pipeline.routes) == {"c", "d"}


def test_a_route_with_something_open_is_never_forgotten():
    """Evicting stops short of a scope that is active: its gateways would never hear the end of it."""
    pipeline = Pipeline(errors(), caps=Caps(routes=2))
    run(pipeline, in_order(healthy(0) + failing(20)))
    for i in range(20):
        pipeline.step([record(26 + i, f"other-{i}")], [1000 + i], [T0 + 26 + i])

    assert "chat" in list(pipeline.routes)
    assert len(list(pipeline.routes)) == 2
    assert pipeline.counts.evicted == 19


def test_a_tick_brings_a_quiet_route_to_its_end():
    """An active scope whose traffic has stopped still makes its attempts, ten seconds apart, by ticks."""
    pipeline = Pipeline(errors())
    run(pipeline, in_order(healthy(0) + failing(20, 20)))
    told = [each for second in range(22, 60) for each in pipeline.tick(T0 + second)]

    assert [each.kind for each in told] == ["extended"] * len(told)
    assert len(told) >= 3
    assert max(np.diff([each.at for each in told])) <= 10.5


def test_a_tick_ends_what_held_no_longer():
    """Once the evidence of recovery is in, the ramp goes on by ticks if records stop."""
    pipeline = Pipeline(errors())
    decisions = run(
        pipeline,
        in_order(healthy(0) + failing(20, 20) + [record(23 + i * 0.01, probe=True) for i in range(200)]),
    )
    for second in range(26, 40):
        decisions += pipeline.tick(T0 + second)

    assert [each.kind for each in decisions] == ["activated", "revised", "revised", "revised", "deactivated"]
    assert [each.primary_share for each in decisions][1:] == [0.1, 0.5, 1.0, 1.0]


def test_a_tick_before_the_newest_record_does_nothing():
    """Time does not go back: a tick of the past, or for a route without records, decides nothing."""
    pipeline = Pipeline(CONTRACT)
    assert pipeline.tick(T0) == []
    run(pipeline, in_order(healthy(0)))
    before = pipeline.snapshot("chat")

    assert pipeline.tick(T0 + 10.0) == []
    assert pipeline.snapshot("chat") == before


def test_judged_tells_every_scope_that_ever_changed():
    """For a takeover: present state of each scope with a transition, as a revision, and of no other."""
    pipeline = Pipeline(errors())
    decisions = run(
        pipeline,
        in_order(
            sorted(
                healthy(0, 250) + healthy(0, 200, "code") + failing(20, 50, "code"),
                key=lambda each: each.event_time,
            )
        ),
    )
    (judged,) = pipeline.judged()

    assert (judged.scope, judged.kind, judged.state) == ("code", "revised", "active")
    assert (judged.transition, judged.event_id, judged.mode) == (
        decisions[-1].transition,
        decisions[-1].event_id,
        decisions[-1].mode,
    )


def test_calls_begun_before_an_activation_do_not_prolong_it():
    """Slow failures that started before the change arrive after it; probes alone decide the way back."""
    slow = [record(22 + i * 0.01, error="timeout", latency_s=10.0) for i in range(100)]
    probes = [record(22 + i * 0.01 + 0.005, probe=True, latency_s=0.01) for i in range(100)]
    records = healthy(0) + failing(20, 15) + sorted(slow + probes, key=lambda each: each.event_time)
    decisions = run(Pipeline(errors()), in_order([*records, record(24), record(25), record(30)]))

    assert [each.kind for each in decisions][:2] == ["activated", "revised"]
    assert decisions[1].primary_share == 0.1
