"""Sums of signals: exact whatever the order, bounded whatever comes, and kept apart from faults."""

import msgspec
import numpy as np
import pytest

from detector.windows.columns import Columns
from detector.windows.signals import (
    BLOCK_S,
    FIELDS,
    GONE_S,
    LAG_S,
    MOST_BLOCKS,
    MOST_DEPLOYMENTS,
    SignalWindow,
    columns_of,
)
from tests.builders import T0, record, segment

assert T0 % BLOCK_S == 0


def call(at, rng, deployment="a", **fields):
    usual = {
        "latency_s": float(rng.lognormal(-2, 0.5)),
        "ttft_s": 0.01,
        "queue_s": float(rng.exponential(0.002)),
        "batch_size": float(rng.integers(1, 9)),
        "input_tokens": int(rng.integers(1, 900)),
        "output_tokens": int(rng.integers(1, 300)),
        "logprob_mean": float(rng.normal(-0.4, 0.1)),
        "hallucinated": bool(rng.random() < 0.1),
    }
    return record(at, deployment=deployment, **(usual | fields))


def calls(seconds, per_s=20, seed=0, **fields):
    rng = np.random.default_rng(seed)
    return [call(i / per_s, rng, "ab"[i % 2], **fields) for i in range(seconds * per_s)]


def shown(records, boundary):
    return segment(records, boundary=boundary, fields=FIELDS)


def run(records, seconds, cut=None, frozen=lambda second: False):
    window = SignalWindow()
    for second in range(seconds):
        mine = [each for each in records if int(each.event_time - T0) == second]
        step = cut or max(1, len(mine))
        for start in range(0, len(mine), step):
            window.absorb(shown(mine[start : start + step], second))
        window.close(T0 + second + 1, frozen=frozen(second))
    return window


@pytest.mark.parametrize("cut", [1, 3, 7])
def test_sums_do_not_depend_on_how_calls_were_cut(cut):
    """Floating-point sums depend on their order; these do not, to the last bit."""
    records = calls(30)

    whole, pieces = run(records, 30), run(records, 30, cut)

    assert np.array_equal(whole.recent(10), pieces.recent(10))
    assert np.array_equal(whole.reference(), pieces.reference())


def test_the_route_is_the_sum_of_its_deployments_and_of_those_without_a_name():
    """Row 0 holds every call, and each deployment's row its own."""
    rng = np.random.default_rng(1)
    records = [call(i / 60, rng, ("a", "b", "")[i % 3]) for i in range(60)]
    window = run(records, 1)
    at = columns_of("error").start
    count = window.recent(1)[:, at]

    assert count.tolist() == [60, 20, 20]


def test_a_state_goes_on_where_it_was():
    """State through msgpack into a new window: everything after it is the same."""
    records = calls(40)
    whole = run(records, 40)
    taken = run(records[:500], 25)
    fresh = SignalWindow()
    fresh.load(msgspec.msgpack.decode(msgspec.msgpack.encode(taken.state())))
    for second in range(25, 40):
        fresh.absorb(shown(records[second * 20 : second * 20 + 20], second))
        fresh.close(T0 + second + 1, frozen=False)

    assert fresh.state() == whole.state()


def test_deployments_are_bounded_and_the_least_recently_seen_is_forgotten_and_counted():
    """One that was forgotten leaves nothing behind for the one that gets its row."""
    rng = np.random.default_rng(2)
    names = [f"d{i}" for i in range(MOST_DEPLOYMENTS + 1)]
    records = [call(0.5, rng, name) for name in names[:-1]] + [call(GONE_S + 1, rng, names[-1])]
    records += [call(GONE_S - 1, rng, name) for name in names[1:-1]]
    window = run(records, GONE_S + 2)

    assert len(window.deployments) == MOST_DEPLOYMENTS
    assert window.evicted == 1
    assert "d0" not in window.deployments
    row = window.deployments[names[-1]]
    assert window.recent(10)[row, columns_of("error").start] == 1


def test_a_deployment_beyond_the_bound_counts_for_the_route_alone_while_the_others_are_busy():
    """Twenty deployments that all answer do not push each other out in turn."""
    rng = np.random.default_rng(6)
    records = [call(i / 40, rng, f"d{i % 20}") for i in range(400)]
    window = run(records, 10)

    assert (window.evicted, len(window.deployments)) == (0, MOST_DEPLOYMENTS)
    assert window.crowded_out > 0
    assert window.recent(10)[0, columns_of("error").start] == 400


def test_a_fault_and_the_time_before_it_stay_out_of_the_reference():
    """While frozen no block is kept, and of those before it none that ended in its last LAG_S seconds."""
    before = run(calls(80), 80)
    frozen = run(calls(120), 120, frozen=lambda second: second >= 80)

    assert len(before.reference()) == 80 // BLOCK_S
    assert len(frozen.reference()) == (80 + 1 - LAG_S) // BLOCK_S


def test_the_reference_is_bounded():
    """Of more blocks than MOST_BLOCKS the newest stay."""
    seconds = (MOST_BLOCKS + 5) * BLOCK_S

    assert len(run(calls(seconds, per_s=1), seconds).reference()) == MOST_BLOCKS


def test_what_was_not_measured_adds_nothing():
    """A missing value is no zero: it is not counted either."""
    rng = np.random.default_rng(3)
    window = run([call(0.1, rng, upstream_s=None, clock_ratio=None), call(0.2, rng, clock_ratio=0.5)], 1)
    sums = window.recent(1)[0]

    assert sums[columns_of("upstream")].tolist() == [0, 0]
    assert sums[columns_of("clock")].tolist() == [1, 0.5]


def test_failed_calls_and_golden_prompts_stay_out_of_latency_and_lengths():
    """A failed call counts as an error, a golden prompt as a golden prompt, and neither as anything else."""
    rng = np.random.default_rng(4)
    window = run([call(0.1, rng, error="timeout"), call(0.2, rng, golden="g1", golden_ok=False)], 1)
    sums = window.recent(1)[0]

    assert sums[columns_of("error")].tolist() == [1, 1]
    assert sums[columns_of("golden")].tolist() == [1, 1]
    assert sums[columns_of("latency")].tolist() == [0, 0]
    assert sums[columns_of("output")].tolist() == [0] * 5


def test_a_late_call_counts_in_the_pane_that_is_open():
    """Its own pane is closed; it is not lost."""
    rng = np.random.default_rng(5)
    window = run([], 5)
    window.absorb(shown([call(1.0, rng)], 5))
    window.close(T0 + 6, frozen=False)

    assert window.recent(1)[0, columns_of("error").start] == 1


def test_the_fields_are_telemetry():
    """Every field that signals are made of can be read."""
    assert set(Columns(FIELDS).of([[None] * (len(FIELDS) + 4)]).columns) >= set(FIELDS)


@pytest.mark.filterwarnings("error")
def test_the_greatest_number_there_is_spoils_no_sum():
    """What the decoder takes is judged: sums stay finite, and exact."""
    records = calls(5)
    greatest = 1.7976931348623157e308
    odd = {"latency_s": greatest, "upstream_s": greatest, "queue_s": greatest, "batch_size": greatest}
    records.append(call(4.99, np.random.default_rng(1), **odd, logprob_mean=-greatest, clock_ratio=greatest))
    records.sort(key=lambda each: each.event_time)

    whole, pieces = run(records, 5), run(records, 5, 3)

    assert np.isfinite(whole.recent(5)).all()
    n, logprob = whole.recent(5)[0, columns_of("logprob")][:2]
    assert -1.5 < logprob / n < 0.0
    assert np.array_equal(whole.recent(5), pieces.recent(5))
