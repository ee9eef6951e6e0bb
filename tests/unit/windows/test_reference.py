"""The trailing reference holds what was admitted within its horizon."""

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.windows.reference import BUCKET_S, TrailingReference

HORIZON_S = 600
GAPS = st.lists(st.integers(1, 200), min_size=1, max_size=40)


def admit(reference, gaps, start=0):
    second, held = start, []
    for gap in gaps:
        second += gap
        reference.admit(second, np.array([1, second % 7]))
        held.append(second)
    return held


@given(gaps=GAPS)
def test_it_holds_the_horizon_to_within_a_bucket(gaps):
    """All panes of the last hour less a minute are in the totals, none older than the horizon is."""
    reference = TrailingReference(2, HORIZON_S)
    held = admit(reference, gaps)
    newest = held[-1] - held[-1] % BUCKET_S
    inside = [second for second in held if second - second % BUCKET_S > newest - HORIZON_S]

    assert reference.totals.tolist() == [len(inside), sum(second % 7 for second in inside)]
    assert reference.span_s == min(held[-1] + 1 - held[0], HORIZON_S)


@given(before=GAPS, after=GAPS)
def test_a_reference_goes_on_from_its_state(before, after):
    """State through msgpack into a new reference: later totals are the same."""
    reference, taken = TrailingReference(2, HORIZON_S), TrailingReference(2, HORIZON_S)
    last = admit(reference, before)[-1]
    taken.load(msgspec.msgpack.decode(msgspec.msgpack.encode(reference.state())))
    admit(reference, after, last)
    admit(taken, after, last)

    assert taken.totals.tolist() == reference.totals.tolist()
    assert taken.span_s == reference.span_s


def test_an_empty_reference_has_no_span():
    """Before the first pane the reference spans nothing."""
    assert TrailingReference(1).span_s == 0


def test_admitted_counts_are_copied():
    """Later changes of the array that was admitted do not change the reference."""
    reference, counts = TrailingReference(1), np.array([1])
    reference.admit(0, counts)
    counts[0] = 100
    reference.admit(1, np.array([1]))
    counts[0] = 1000
    state = reference.state()

    assert (reference.totals.tolist(), state["buckets"]) == ([2], [(0, [2])])
