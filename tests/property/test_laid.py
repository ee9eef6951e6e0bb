"""Calls that wait as arrays are judged like those that come one by one."""

from itertools import accumulate, cycle, islice

import msgspec
import numpy as np
import pytest

from detector.modes.plan import Plan
from detector.modes.verdicts import HORIZON_S
from detector.pipeline import Pipeline
from detector.windows.arrays import Layout
from detector.windows.inbox import MOST, Inbox
from tests.builders import (
    T0,
    Stream,
    by_scope,
    core_contract,
    evaluation,
    faulty_stream,
    in_order,
    record,
    run,
)
from topics.control import Override

CONTRACT = core_contract()
BUSY = faulty_stream(seed=5, seconds=20, per_s=900, routes=("chat", "code"))


def broken(stream: Stream, since: float, until: float) -> Stream:
    """Half of the calls of `chat` make things up, every fourth has no verdict, every ninth was not timed."""
    draw = np.random.default_rng(1)
    changed = []
    for number, call in enumerate(stream.records):
        fields = {name: getattr(call, name) for name in call.__struct_fields__}
        if since <= call.event_time - T0 < until and call.route == "chat":
            fields["hallucinated"] = bool(draw.random() < 0.5)
        if number % 4 == 0:
            fields["hallucinated"] = None
        if number % 9 == 0:
            fields |= {"latency_s": None, "output_tokens": None, "deployment": f"eu-{number % 5}"}
        changed.append(type(call)(**fields))
    return Stream(tuple(changed), stream.offsets, stream.arrivals)


@pytest.fixture
def laid(monkeypatch):
    """How many calls were laid out."""
    sizes = []
    lay = Inbox.lay

    def counting(self, part):
        sizes.append(len(part))
        lay(self, part)

    monkeypatch.setattr(Inbox, "lay", counting)
    return sizes


@pytest.mark.parametrize("sizes", [(150,), (400,), (700,), (5, 400), (300, 11, 2, 90)])
def test_large_batches_decide_what_small_ones_do(laid, sizes):
    """The same decisions at the same records, the same counts, and in the end the same state."""
    stream = broken(BUSY, 12, 15)
    small, large = Pipeline(CONTRACT), Pipeline(CONTRACT)
    expected = by_scope(run(small, stream, range(11, len(stream), 11)))
    assert not laid
    cuts = [cut for cut in accumulate(islice(cycle(sizes), len(stream))) if cut < len(stream)]
    found = by_scope(run(large, stream, cuts))

    assert sum(laid) > 500
    assert found == expected
    assert "chat" in expected
    assert large.counts == small.counts
    for route in ("chat", "code"):
        states = [msgspec.msgpack.decode(each.snapshot(route), strict=False) for each in (large, small)]
        for state in states:
            del state["armed"]["silence"]  # armed from the tenth call on, which is not told call by call
        assert states[0] == states[1]
    assert {**large.armed(), "silence": 0} == {**small.armed(), "silence": 0}


@pytest.mark.parametrize("early_s", [0.0, 8.0], ids=["of the future", "arrived long ago"])
def test_times_beyond_belief_are_held_back_in_large_batches_too(laid, early_s):
    """A call that says it is later than its arrival allows counts where it may be at the latest."""
    stream = broken(BUSY, 12, 15)
    odd = range(0, len(stream), 500)
    ahead, arrivals = list(stream.records), list(stream.arrivals)
    for number in odd:
        call = ahead[number]
        if early_s:
            arrivals[number] = call.event_time - early_s
        else:
            ahead[number] = msgspec.structs.replace(call, event_time=call.event_time + 20.0)
    stream = Stream(tuple(ahead), stream.offsets, tuple(arrivals))
    small, large = Pipeline(CONTRACT), Pipeline(CONTRACT)
    expected = by_scope(run(small, stream, range(11, len(stream), 11)))
    found = by_scope(run(large, stream, range(400, len(stream), 400)))

    assert laid
    assert found == expected
    assert large.counts == small.counts
    assert large.counts.clamped == len(odd)
    for route in ("chat", "code"):
        drifts = [
            msgspec.msgpack.decode(each.snapshot(route), strict=False)["judges"]["output_drift"]
            for each in (large, small)
        ]
        assert drifts[0] == drifts[1]


def test_no_offset_is_rounded(laid):
    """A snapshot covers the very record, however great its offset."""
    first = 2**62 + 1
    pipeline = Pipeline(CONTRACT)
    for start in range(0, 4000, 400):
        records = [record(1.0 + i / 10_000) for i in range(start, start + 400)]
        offsets = range(first + start, first + start + 400)
        pipeline.step(records, offsets, [T0 + 2.0] * 400)
        kept = msgspec.msgpack.decode(pipeline.snapshot("chat"), strict=False)

        assert kept["covers"][0] == offsets.stop

    assert sum(laid) > 3000


def test_what_waits_to_be_absorbed_is_bounded(laid):
    """A call that is judged by itself takes along what was laid out before it, where time stands still."""
    pipeline, offset = Pipeline(CONTRACT), 0

    def come(size):
        nonlocal offset
        pipeline.step([record(1.0)] * size, range(offset, offset + size), [T0 + 1.0] * size)
        offset += size

    come(1)
    for _ in range(3):
        while len(pipeline.route("chat").inbox) <= MOST:
            come(300)
        come(1)

    assert sum(laid) > 3 * MOST
    assert sum(map(len, pipeline.route("chat")._waiting)) <= 32


def test_a_quiet_route_does_not_keep_the_calls_of_others_alive(laid):
    """What is laid out of a batch is a copy, and few calls are not laid out at all."""
    pipeline = Pipeline(CONTRACT)
    quiet = [record(1.0 + i / 1000, "quiet") for i in range(30)]
    few = [record(1.0 + i / 1000, "few") for i in range(5)]
    busy = [record(1.0 + i / 100_000, "busy") for i in range(400)]
    pipeline.step(*in_order([quiet[0], few[0], busy[0]]).args())
    pipeline.step([*quiet, *few, *busy], range(3, 438), [T0 + 2.0] * 435)

    assert sorted(laid) == [30, 400]
    (part,) = pipeline.route("quiet").inbox.parts
    layout = Layout(())
    for number in range(len(layout.blocks)):
        block = part.block(layout, number)
        assert (block.shape[1], block.base) == (30, None)


def test_what_was_not_measured_at_first_is_learnt_like_elsewhere(laid):
    """The clock of a window starts with the first call that could have had a value, however it came."""
    calls = in_order(
        record(
            i / 600,
            output_tokens=None if i < 900 else 100 + i % 50,
            served_by="rule" if i < 500 else "primary",
        )
        for i in range(3000)
    )
    small, large = Pipeline(CONTRACT), Pipeline(CONTRACT)
    run(small, calls, range(7, 3000, 7))
    run(large, calls, range(150, 3000, 150))

    assert laid
    states = [msgspec.msgpack.decode(each.snapshot("chat"), strict=False) for each in (small, large)]
    assert states[0]["judges"]["output_drift"] == states[1]["judges"]["output_drift"]


@pytest.mark.parametrize("size", [7, 300])
def test_the_share_of_calls_that_had_a_verdict_is_said_whatever_the_batches(size):
    """An activation by verdicts on their own topic says which share of the calls they are."""
    pipeline = Pipeline(CONTRACT)
    calls = in_order(record(i / 300, request_id=f"{i}") for i in range(3000))
    run(pipeline, calls, range(size, 3000, size))
    good = [evaluation(9 + i / 1000, request_id=f"{i}", failed=False) for i in range(300)]
    bad = [evaluation(9.5 + i / 1000, request_id=f"{i}", failed=True) for i in range(300, 360)]
    found = pipeline.step_evaluations(good + bad, range(360), [T0 + 10.0] * 360)

    (said,) = [each.evidence.detail["judged_share"] for each in found if each.kind == "activated"]
    assert said == pytest.approx(310 / 3000, abs=0.01)


def test_a_batch_that_is_too_large_for_the_memory_is_judged(laid):
    """A clock that stands still lets no pane close, however many calls are laid out."""
    pipeline = Pipeline(CONTRACT)
    calls = in_order(record(1.0) for _ in range(20_000))
    for first in range(0, 20_000, 1000):
        pipeline.step(*calls[first : first + 1000].args())
        assert len(pipeline.route("chat").inbox) <= 6000

    assert laid
    assert pipeline.counts.judged == 20_000


def test_the_future_is_not_believed_of_calls_that_are_laid_out(laid):
    """An event time far ahead of its arrival is clamped, and closes the panes up to there only."""
    pipeline = Pipeline(CONTRACT)
    calls = [record(10 + i / 10_000) for i in range(200)] + [record(5000.0)] * 200
    pipeline.step(calls, range(400), [T0 + 10.0] * 400)

    assert pipeline.counts.clamped == 200
    assert pipeline.route("chat").newest == T0 + 15.0


@pytest.mark.parametrize("size", [1, 2, 60])
def test_verdicts_find_calls_that_waited_in_a_batch_that_closed_a_pane(size):
    """A call that a fallback served says nothing of the primary, wherever its batch began and ended."""
    pipeline = Pipeline(CONTRACT)
    calls = in_order(
        record(i / 20, request_id=f"{i}", served_by="rule" if i % 3 else "primary") for i in range(120)
    )
    run(pipeline, calls, range(size, 120, size))
    verdicts = [evaluation(7 + i / 100, request_id=f"{i}", failed=True) for i in range(120)]
    pipeline.step_evaluations(verdicts, range(120), [T0 + 10.0] * 120)
    pipeline.tick(T0 + 20 + HORIZON_S)

    assert pipeline.counts.verdicts_skipped == 80


def test_a_late_call_in_a_large_batch_is_late(laid):
    """One that is older than every window is counted and not judged; those around it are."""
    pipeline = Pipeline(CONTRACT)
    calls = [record(1000 + i / 10_000) for i in range(100)]
    pipeline.step(calls[:1], [0], [T0 + 1001.0])
    pipeline.step([*calls[1:50], record(1.0), *calls[50:]], range(1, 101), [T0 + 1001.0] * 100)

    assert (pipeline.counts.late, pipeline.counts.judged) == (1, 100)


def test_the_newest_call_counts_though_it_waits(laid):
    """Before anybody has judged it, for whoever asks how long a route has been silent."""
    pipeline = Pipeline(CONTRACT)
    calls = in_order(record(1 + i / 10_000) for i in range(201))
    pipeline.step(*calls[:1].args())
    pipeline.step(*calls[1:].args())

    assert laid == [200]
    assert pipeline.route("chat").newest == T0 + 1.02


def test_what_ought_not_to_have_been_laid_out_is_not_lost_in_silence(laid, monkeypatch):
    """If a judge missed a suspicion, its route would fail, which is told."""
    monkeypatch.setattr(Plan, "suspected", lambda *_: set())
    failed = []
    pipeline = Pipeline(CONTRACT, on_failure=lambda route, error: failed.append((route, type(error))))
    calls = in_order(
        [record(i / 1000, hallucinated=False) for i in range(50)]
        + [record(0.1 + i / 1000, hallucinated=True) for i in range(40)]
        + [record(3.0)]
    )
    pipeline.step(*calls[:50].args())
    pipeline.step(*calls[50:90].args())
    assert laid == [40]
    pipeline.step(*calls[90:].args())

    assert failed == [("chat", AssertionError)]


def test_an_order_finds_all_calls_judged_that_came_before_it(laid):
    """What an operator accepts is everything up to then, whatever waits."""
    pipeline = Pipeline(CONTRACT)
    calls = in_order(record(1 + i / 10_000) for i in range(201))
    pipeline.step(*calls[:1].args())
    pipeline.step(*calls[1:].args())
    at = T0 + 2.0
    pipeline.accept(
        Override(scope="chat", state="inactive", until=at, issued_at=at, accept=True, reason="new")
    )

    assert laid
    assert not pipeline.route("chat").inbox
