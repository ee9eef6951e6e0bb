"""Into which bin a value falls does not depend on how it is counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.contract.calibration import CalibratedPredicate
from detector.predicates.bins import binner_for

FINITE = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**53) | st.integers(0, 40)
EDGES = CalibratedPredicate(edges=(0.0, 1.0, 2.5, 1e4))


@pytest.mark.parametrize("field", ["output_tokens", "throttle_reasons"])
@given(values=st.lists(COUNTS))
def test_counts_fall_into_the_same_bins_as_an_array(field, values):
    """Up to the largest count that telemetry may have."""
    binner = binner_for(field)

    assert binner.count(np.array(values, dtype=np.float64)) == binner.count(values)


@pytest.mark.parametrize("field", ["latency_s", "logprob_mean"])
@given(values=st.lists(FINITE | st.sampled_from([0.0, -0.0, 1.0, 0.5, -2.0, 2.0**-15, 5e-324])))
def test_numbers_fall_into_the_same_bins_as_an_array(field, values):
    """Of either sign, zero, and beyond the exponents that are told apart."""
    binner = binner_for(field)

    assert binner.count(np.array(values, dtype=np.float64)) == binner.count(values)


@given(values=st.lists(FINITE | st.sampled_from(EDGES.edges)))
def test_edges_part_an_array_as_they_part_a_list(values):
    """An edge belongs to the bin above it."""
    binner = binner_for("latency_s", EDGES)

    assert binner.count(np.array(values, dtype=np.float64)) == binner.count(values)
