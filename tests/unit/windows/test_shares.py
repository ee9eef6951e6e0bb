"""Counts of calls by deployment: what is recent, what is habit, and what a snapshot keeps."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.windows.shares import LONG_PANES, RECENT_PANES, DeploymentShares, Share

NAMES = ("a", "b", "c")


def everyone(bad=()):
    """A call on each deployment, all judged, those at the indices `bad` bad ones."""
    return NAMES, [("errors", (range(3), tuple(bad)))]


def closed(shares, panes, *, frozen=False, bad=()):
    for _ in range(panes):
        shares.add(*everyone(bad))
        shares.close(frozen=frozen)


def test_a_pane_becomes_habit_once_ten_younger_ones_are_closed():
    shares = DeploymentShares()
    closed(shares, RECENT_PANES)
    assert shares.habit("errors") == {}

    closed(shares, 2)
    assert shares.habit("errors") == dict.fromkeys(NAMES, Share(2, 0))


def test_what_is_recent_includes_the_open_pane_and_no_more_than_was_asked_for():
    shares = DeploymentShares()
    closed(shares, 5, bad=[1])
    shares.add(*everyone())

    assert shares.recent("errors", 0) == dict.fromkeys(NAMES, Share(1, 0))
    assert shares.recent("errors", 2)["b"] == Share(3, 2)
    assert shares.recent("errors", 99)["b"] == Share(6, 5)


def test_a_fault_does_not_become_habit():
    shares = DeploymentShares()
    closed(shares, 2 * RECENT_PANES)
    closed(shares, 2 * RECENT_PANES, frozen=True, bad=[0])

    assert shares.habit("errors")["a"].bad == 0


def test_calls_that_were_not_judged_do_not_count():
    shares = DeploymentShares()
    shares.add(NAMES, [("made_up", ([0, 2], (1,))), ("errors", (range(3), ()))])

    assert shares.recent("made_up", 0) == {"a": Share(1, 0), "b": Share(0, 0), "c": Share(1, 1)}
    assert shares.recent("errors", 0) == dict.fromkeys(NAMES, Share(1, 0))


def test_a_route_with_less_than_three_deployments_keeps_no_panes():
    shares = DeploymentShares()
    for _ in range(30):
        shares.add(("only",), [("errors", (range(1), ()))])
        shares.close(frozen=False)

    assert shares.recent("errors", 10) == {}
    assert shares.state()[1] == []


def test_deployments_that_come_and_go_do_not_pile_up():
    shares = DeploymentShares()
    for i in range(500):
        shares.add(("steady", "steady", "steady", f"pod-{i}", f"pod-{i}b"), [])
        shares.close(frozen=False)

    assert len(shares.known) <= 64
    assert "steady" in shares.known


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), min_size=1, max_size=60), st.data())
def test_batches_make_no_difference_and_a_snapshot_keeps_all(calls, data):
    cuts = sorted({0, len(calls), *data.draw(st.sets(st.integers(0, len(calls)), max_size=4))})
    whole, parts = DeploymentShares(), DeploymentShares()

    def add(shares, some):
        bad = [i for i, (_, failed) in enumerate(some) if failed]
        shares.add([name for name, _ in some], [("errors", (range(len(some)), bad))])

    add(whole, calls)
    for start, end in pairwise(cuts):
        add(parts, calls[start:end])
        taken = DeploymentShares()
        taken.load(parts.state())
        parts = taken

    assert parts.recent("errors", 0) == whole.recent("errors", 0)
    assert np.sum([share.calls for share in whole.recent("errors", 0).values()]) == len(calls)


def test_the_last_five_minutes_are_asked_about_too():
    """What is older is forgotten, in tens of panes; they are the last ones, whether healthy or not."""
    shares = DeploymentShares()
    closed(shares, 50, bad=[0])
    closed(shares, LONG_PANES - 50)
    taken = DeploymentShares()
    taken.load(shares.state())
    assert taken.recent("errors", LONG_PANES) == shares.recent("errors", LONG_PANES)
    assert taken.recent("errors", LONG_PANES)["a"] == Share(LONG_PANES, 50)
    assert taken.recent("errors", RECENT_PANES)["a"] == Share(RECENT_PANES, 0)

    closed(taken, 60)
    assert LONG_PANES - RECENT_PANES <= taken.recent("errors", LONG_PANES)["a"].calls <= LONG_PANES
    assert taken.recent("errors", LONG_PANES)["a"].bad == 0


@given(
    before=st.integers(0, 330),
    skipped=st.integers(0, 340) | st.integers(600, 1000),
    after=st.integers(0, 45),
    frozen=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_to_skip_panes_is_to_close_them_one_by_one(before, skipped, after, frozen):
    """Wherever a block begins, also beyond all that is remembered, and whatever comes afterwards."""
    at_once, one_by_one = DeploymentShares(), DeploymentShares()
    for shares in (at_once, one_by_one):
        closed(shares, before)
        shares.add(*everyone([1]))
    at_once.skip(skipped, frozen=frozen)
    for _ in range(skipped):
        one_by_one.close(frozen=frozen)
    for shares in (at_once, one_by_one):
        closed(shares, after)

    assert at_once.filled == one_by_one.filled
    assert at_once.state() == one_by_one.state()
