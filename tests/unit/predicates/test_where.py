"""A filtered predicate decides as the same predicate does on a stream without the other calls."""

import numpy as np
import pytest

from detector.contract.model import Mode
from detector.pipeline import Pipeline
from detector.predicates.registry import judge_for
from tests.builders import BUDGET, contract, in_order, record, run, segment, spec

WHERE = (("tenant", ("acme", "blue")), ("probe", (False,)))


def calls(n=4000, seed=1):
    """A tenth of each tenant's calls fail from the middle on; `acme` fails far more often."""
    draw = np.random.default_rng(seed)
    for i in range(n):
        tenant = str(draw.choice(["acme", "blue", "cyan"]))
        bad = draw.random() < (0.5 if tenant == "acme" and i > n / 2 else 0.004)
        yield record(
            i / 50,
            tenant=tenant,
            probe=bool(draw.random() < 0.1),
            hallucinated=bool(bad),
            error="500" if draw.random() < 0.3 and tenant == "cyan" else "",
        )


def seen(call):
    return call.tenant in ("acme", "blue") and not call.probe


def what(decisions):
    return [(each.kind, each.mode, each.evidence.offset, each.evidence.samples) for each in decisions]


@pytest.mark.parametrize("kind", ["rate", "exceedance", "divergence"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_it_sees_the_wanted_calls_and_no_others(kind, size):
    """A judge with a filter goes through the states of one that is only given the calls that fit."""
    made = list(calls(1500))
    filtered = judge_for(spec(kind, where=WHERE), BUDGET)
    plain = judge_for(spec(kind), BUDGET)
    for start in range(0, len(made), size):
        part = made[start : start + size]
        kept = [i for i, call in enumerate(part) if seen(call)]
        flip = filtered.observe(segment(part))
        expected = plain.observe(segment([part[i] for i in kept])) if kept else None
        assert flip == (None if expected is None else kept[expected])
        if flip is not None:
            break
        assert filtered.latched == plain.latched
        assert filtered.state() == plain.state()


@pytest.mark.parametrize("size", [1, 13, 4000])
def test_a_tenants_fault_is_found_whatever_the_batches(size):
    """The activation names a record of the tenant, and batches make no difference."""
    subject = contract(
        [spec("rate", name="bad", where=(("tenant", ("acme",)),))], [Mode(name="bad", when="bad")]
    )
    stream = in_order(calls())
    whole = run(Pipeline(subject), stream)
    decisions = run(Pipeline(subject), stream, range(size, len(stream), size))

    assert decisions == whole
    assert whole[0].kind == "activated"
    assert stream.records[whole[0].evidence.offset].tenant == "acme"


def test_a_tenant_that_is_left_out_raises_no_alarm():
    """All of another tenant's calls may fail: the predicate does not see them, and never holds."""
    made = [record(i / 50, tenant="cyan", error="500") for i in range(2000)]
    subject = contract([spec("rate", name="bad", field="error", where=(("tenant", ("acme",)),))])

    assert run(Pipeline(subject), in_order(made)) == []


def test_a_feature_can_be_picked_by_too():
    """`features.region` filters as a field does; a call without it is not seen."""
    judge = judge_for(spec("rate", where=(("features.region", ("eu",)),)), BUDGET)
    good = [record(i / 9, features={"region": "eu"}, hallucinated=False) for i in range(90)]
    bad = [record(10 + i / 9, features={"region": "us"}, hallucinated=True) for i in range(90)]
    without = [record(20 + i / 9, hallucinated=True) for i in range(90)]

    for part in (good, bad, without):
        for one in part:
            judge.observe(segment([one], fields=("hallucinated", "features.region"), boundary=0))

    plain = judge_for(spec("rate"), BUDGET)
    plain.observe(segment(good, boundary=0))

    assert not judge.latched
    assert judge.state() == plain.state()
