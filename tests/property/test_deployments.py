"""What a deployment's scope decides depends on its route's records in their order, and on nothing else."""

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.contract.model import Mode
from detector.pipeline import Pipeline
from tests.builders import T0, Stream, by_scope, contract, record, run, spec

CONTRACT = contract(
    [
        spec("rate", name="errors", field="error", ceiling=0.02),
        spec(
            "rate", name="made_up", field="hallucinated", ceiling=0.02, where=(("input_class", ("default",)),)
        ),
        spec("exceedance", name="slow", ceiling=0.02, above_ms=200.0),
        spec("attribution", name="throttled", cause="hardware_throttling"),
        spec("divergence", name="drift", field="output_tokens", window_s=10.0),
    ],
    [
        Mode(name="throttling", when="throttled", mutes=("latency_spike",)),
        Mode(name="error_spike", when="errors", hold_s=1.0),
        Mode(name="hallucination_spike", when="made_up"),
        Mode(name="latency_spike", when="slow"),
        Mode(name="token_drift", when="drift"),
    ],
    false_alarms_per_week=100.0,
)
PER_S = 80


def made():
    """Four deployments: one fails from 150 to 165, one throttles from 180 to 195, all make things up at 215.

    While a deployment is at fault a sixth of its calls go on as probes, and the others' calls arrive late now
    and then.
    """
    draw = np.random.default_rng(8)
    calls = []
    for i in range(230 * PER_S):
        at = i / PER_S
        name = int(draw.integers(4))
        fails, throttles = name == 1 and 150 <= at < 165, name == 2 and 180 <= at < 195
        if (fails or throttles) and at % 15 > 3 and draw.random() < 5 / 6:
            continue
        tokens = int(draw.lognormal(4, 0.5)) + 5
        slow = 3.0 if throttles else 1.0
        calls.append(
            (
                at + float(draw.uniform(0, 1.2 if draw.random() < 0.05 else 0.1)),
                record(
                    at,
                    request_id=f"r{i}",
                    deployment=f"eu-{name}",
                    probe=bool(fails or throttles) and at % 15 > 3,
                    ttft_s=0.02,
                    latency_s=0.02 + slow * tokens * 0.001 * float(draw.lognormal(0, 0.1)),
                    batch_size=8,
                    output_tokens=tokens,
                    input_tokens=int(draw.lognormal(5, 1)),
                    clock_ratio=0.5 if throttles else 1.0,
                    hallucinated=[None, bool(draw.random() < (0.6 if at > 215 else 0.001))][i % 2],
                    error="500" if draw.random() < (0.5 if fails else 0.001) else "",
                ),
            )
        )
    calls.sort(key=lambda each: each[0])
    return Stream(
        tuple(call for _, call in calls), tuple(range(len(calls))), tuple(T0 + at for at, _ in calls)
    )


STREAM = made()
WHOLE = Pipeline(CONTRACT)
DECIDED = by_scope(run(WHOLE, STREAM))
CUTS = st.sets(st.integers(1, len(STREAM) - 1), max_size=12)


def test_the_stream_has_something_to_decide():
    acting = {
        scope: {each.mode for each in those if each.disposition == "act"} for scope, those in DECIDED.items()
    }

    assert "error_spike" in acting["chat@eu-1"]
    assert {"latency_spike", "throttling"} <= acting["chat@eu-2"]
    assert "hallucination_spike" in acting["chat"]
    assert any(each.kind == "deactivated" for each in DECIDED["chat@eu-1"])
    causes = [each.evidence.detail for each in DECIDED["chat@eu-2"] if each.mode == "throttling"]
    assert causes[0]["deployment"] == "eu-2"


@given(cuts=CUTS)
@settings(max_examples=8)
def test_batches_make_no_difference(cuts):
    pipeline = Pipeline(CONTRACT)

    assert by_scope(run(pipeline, STREAM, cuts)) == DECIDED
    assert pipeline.counts == WHOLE.counts


def test_single_records_make_no_difference():
    pipeline = Pipeline(CONTRACT)

    assert by_scope(run(pipeline, STREAM, range(1, len(STREAM)))) == DECIDED


@given(cuts=st.sets(st.integers(1, len(STREAM) - 1), min_size=1, max_size=3))
@settings(max_examples=8)
def test_a_takeover_makes_no_difference(cuts):
    pipeline, decisions, start = Pipeline(CONTRACT), [], 0
    for cut in [*sorted(cuts), len(STREAM)]:
        decisions += run(pipeline, STREAM[start:cut])
        start = cut
        taken = Pipeline(CONTRACT)
        for route in list(pipeline.routes):
            data = pipeline.snapshot(route)
            assert taken.restore(data) == route
            assert taken.snapshot(route) == data
            assert msgspec.msgpack.decode(data)["version"] == 9
        pipeline = taken

    assert by_scope(decisions) == DECIDED


def sparse_calls():
    """A call every four seconds on four deployments; from the 2,381st on those of one of them fail."""
    draw, at = random.Random(5), 0.0
    for i in range(2500):
        at += draw.expovariate(1 / 4)
        name = draw.randrange(4)
        yield record(at, deployment=f"eu-{name}", error="500" if i > 2380 and name == 1 else "")


@pytest.mark.parametrize("way", ["ticks", "takeovers", "ticks and takeovers"])
def test_where_calls_are_rare_a_deployment_is_found_at_the_same_call_however_time_advances(way):
    """Panes that nothing has come in count as panes, whether they are closed one by one or jumped over."""
    subject = contract(
        [spec("rate", name="errors", field="error", ceiling=0.02)],
        [Mode(name="error_spike", when="errors", keep_s=0.0)],
        false_alarms_per_week=10_000.0,
    )

    def told(ticks, takeovers):
        pipeline, said, second = Pipeline(subject), [], T0
        for i, call in enumerate(sparse_calls()):
            while ticks and second <= call.event_time:
                said += pipeline.tick(second)
                second += 1
            said += pipeline.step([call], [i], [call.event_time])
            if takeovers and i > 2300:
                other = Pipeline(subject)
                other.restore(pipeline.snapshot("chat"))
                pipeline = other
        return [(each.scope, each.kind, each.at, each.evidence) for each in said if each.kind != "extended"]

    found = told(False, False)

    assert "chat@eu-1" in {scope for scope, *_ in found}
    assert told("ticks" in way, "takeovers" in way) == found
