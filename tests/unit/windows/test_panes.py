"""Panes: running totals equal counting everything anew."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.windows.panes import PaneRing

BINS = 3
SPANS = (2, 5, 9)
START = 1000


def counted(added, boundary):
    """Totals of every window from the list of all (second, bin) that were ever added."""
    return [
        [
            sum(second in range(boundary - span, boundary) and found == wanted for second, found in added)
            for wanted in range(BINS)
        ]
        for span in SPANS
    ]


def one(found):
    return [int(index == found) for index in range(BINS)]


# Ages relative to the pane that closes next: in order, open ahead, late within a window, older than all.
ADD = st.tuples(st.just("add"), st.integers(-14, 3), st.integers(0, BINS - 1))
CLOSE = st.tuples(st.just("close"), st.integers(1, 12), st.just(0))
STEPS = st.lists(ADD | ADD | ADD | CLOSE, max_size=60)


@given(steps=STEPS)
def test_totals_equal_counting_anew(steps):
    """After any adds, gaps and closes each window [b - L, b) holds exactly what was added to its seconds."""
    ring, added = PaneRing(BINS, SPANS), []
    ring.start(START)
    for kind, amount, found in steps:
        if kind == "close":
            for _ in range(amount):
                ring.close()
        else:
            second = ring.boundary + amount
            kept = ring.add(second, one(found))
            assert kept == (second >= ring.boundary - max(SPANS))
            if kept:
                added.append((second, found))
        assert ring.totals.tolist() == counted(added, ring.boundary)
        assert ring.idle() == all(second < ring.boundary for second, _ in added)


@given(steps=STEPS)
def test_what_leaves_the_longest_window_is_what_was_in_that_second(steps):
    """`close` returns the pane of the second that just fell out of the longest window."""
    ring, added = PaneRing(BINS, SPANS), []
    ring.start(START)
    for kind, amount, found in steps:
        if kind == "add":
            if ring.add(ring.boundary + amount, one(found)):
                added.append((ring.boundary + amount, found))
            continue
        for _ in range(amount):
            left = ring.boundary - max(SPANS)
            assert ring.close().tolist() == [added.count((left, wanted)) for wanted in range(BINS)]


@given(before=STEPS, after=STEPS)
def test_a_ring_goes_on_from_its_state_as_if_nothing_had_happened(before, after):
    """State through msgpack into a new ring: every later total is the same."""
    ring, taken = PaneRing(BINS, SPANS), PaneRing(BINS, SPANS)
    ring.start(START)
    play(ring, before)
    taken.load(msgspec.msgpack.decode(msgspec.msgpack.encode(ring.state())))

    assert play(taken, after) == play(ring, after)


def play(ring, steps):
    seen = []
    for kind, amount, found in steps:
        if kind == "add":
            seen.append(ring.add(ring.boundary + amount, one(found)))
        else:
            seen.extend(ring.close().tolist() for _ in range(amount))
        seen.append(ring.totals.tolist())
    return seen


def test_edges_are_closed_below_and_open_above():
    """
    boundary 1003:   [1001 1002) 1003      a window of 2 s holds 1001 and 1002, neither 1000 nor 1003
    """
    ring = PaneRing(1, (2,))
    ring.start(1000)
    for second, count in ((1000, 1), (1001, 10), (1002, 100), (1003, 1000)):
        ring.add(second, [count])
    for _ in range(3):
        ring.close()

    assert (ring.boundary, ring.totals.tolist()) == (1003, [[110]])


def test_clearing_forgets_counts_and_keeps_time():
    """After `clear` everything is zero and the same pane closes next."""
    ring = PaneRing(1, (2,))
    ring.start(1000)
    ring.add(1000, [1])
    ring.close()
    ring.add(1005, [1])
    ring.clear()

    assert (ring.boundary, int(ring.totals.sum()), ring.idle()) == (1001, 0, True)


@pytest.mark.parametrize(
    "use", [lambda ring: ring.add(0, [1]), lambda ring: ring.close()], ids=["add", "close"]
)
def test_a_ring_without_a_time_refuses_work(use):
    """Before `start` nothing can be added or closed."""
    with pytest.raises(RuntimeError):
        use(PaneRing(1, (2,)))


def test_the_argument_is_left_alone():
    """Adding counts does not keep hold of the array that was given."""
    ring, counts = PaneRing(2, (2,)), np.array([1, 2])
    ring.start(0)
    ring.add(0, counts)
    ring.add(0, counts)
    ring.close()

    assert (counts.tolist(), ring.totals.tolist()) == ([1, 2], [[2, 4]])


def test_what_is_saved_does_not_depend_on_which_second_came_first():
    """Two open panes filled in either order."""
    rings = [PaneRing(BINS, SPANS) for _ in range(2)]
    for ring, seconds in zip(rings, [(0, 1), (1, 0)], strict=True):
        ring.start(START)
        for second in seconds:
            ring.add(START + second, one(second))

    assert rings[0].state() == rings[1].state()
    assert msgspec.msgpack.encode(rings[0].state()) == msgspec.msgpack.encode(rings[1].state())
