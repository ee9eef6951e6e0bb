"""A learnt design effect does not depend on batches, on snapshots or on who judges."""

import numpy as np
import pytest

from detector.pipeline import Pipeline
from tests.builders import contract, in_order, record, run, spec

CONTRACT = contract([spec("rate", name="made_up", ceiling=0.2)])


def bursty(n=4000, per_s=25):
    """Calls at two rates in turns of 150, as little known in advance as a service's own habits."""
    rng = np.random.default_rng(3)
    rates = np.where(np.arange(n) // 150 % 3 == 0, 0.35, 0.08)
    return in_order(
        [record(i / per_s, hallucinated=bool(flag)) for i, flag in enumerate(rng.random(n) < rates)]
    )


STREAM = bursty()


def end(pipeline):
    """The judge's state once what was put off is in it, as in a snapshot."""
    return pipeline.route("chat").state()["judges"]["made_up"]


@pytest.fixture(scope="module")
def whole():
    pipeline = Pipeline(CONTRACT)
    assert run(pipeline, STREAM) == []
    return pipeline


def test_the_stream_is_one_whose_dependence_is_learnt(whole):
    """Else the rest of this file would say nothing."""
    assert whole.route("chat").judges["made_up"]._phi > 1.0


@pytest.mark.parametrize("size", [1, 7, 333])
def test_batches_make_no_difference(whole, size):
    """Call by call, in drops or all at once: the judge ends in the same state."""
    pipeline = Pipeline(CONTRACT)
    run(pipeline, STREAM, range(size, len(STREAM), size))

    assert end(pipeline) == end(whole)


@pytest.mark.parametrize("cut", [1, 777, 2500, 3999])
def test_snapshots_make_no_difference(whole, cut):
    """Taken over by another pipeline in the middle of a block: the same state at the end."""
    first, second = Pipeline(CONTRACT), Pipeline(CONTRACT)
    run(first, STREAM[:cut])
    second.restore(first.snapshot("chat"))
    run(second, STREAM[cut:])

    assert end(second) == end(whole)
