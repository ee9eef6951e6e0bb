"""The panic threshold: so many routes in fallback at once and no more, said once, and passed on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.contract.model import Mode
from detector.modes.panic import PANIC, Panic
from detector.modes.state import State
from detector.pipeline import Pipeline
from tests.builders import contract, in_order, record, run, spec

ROUTES = tuple("abcdefgh")


def outage(seconds=(10, 40), routes=ROUTES, until=70):
    """Every call of every route fails for a while."""
    for tenth in range(until * 10):
        at = tenth / 10
        for route in routes:
            bad = seconds[0] <= at < seconds[1]
            yield record(at, route=route, error="500" if bad else "")


def decided(share, **how):
    subject = contract(
        [spec("rate", name="errors", field="error")],
        [Mode(name="errors", when="errors")],
        max_active_share=share,
    )
    pipeline = Pipeline(subject)
    return pipeline, run(pipeline, in_order(outage(**how)), range(8, 5600, 8))


@pytest.mark.parametrize(("share", "most"), [(1.0, 8), (0.5, 4), (0.25, 2), (0.01, 1)])
def test_no_more_than_the_share_are_in_fallback_at_once(share, most):
    """Of eight routes that all fail, floor(share * 8) and at least one go to their fallbacks."""
    _, decisions = decided(share)
    active, highest = set(), 0
    for each in decisions:
        if each.disposition == "act":
            (active.add if each.state == "active" else active.discard)(each.scope)
        highest = max(highest, len(active))

    assert highest == most


def test_what_is_withheld_says_so_once_and_ends():
    """One notice when the threshold binds, one when it is over; calls stay with the primary meanwhile."""
    pipeline, decisions = decided(0.5)
    said = [each for each in decisions if each.mode == PANIC]
    acted = {each.scope for each in decisions if each.disposition == "act"}
    begun = [each.scope for each in said if each.kind == "activated"]

    assert sorted([*begun, *acted]) == list(ROUTES)
    assert all(each.disposition == "notice" and each.primary_share == 1.0 for each in said)
    assert all("panic threshold: 4 of 8 routes" in each.reason for each in said if each.kind == "activated")
    assert sorted(each.scope for each in said if each.kind == "deactivated") == sorted(begun)
    assert {pipeline.route(route).machine.status.state for route in ROUTES} == {State.INACTIVE}


def test_a_snapshot_keeps_who_is_in_fallback():
    """After a restore in the middle of the outage no further route is let through."""
    pipeline, _ = decided(0.5, until=30)
    taken = Pipeline(pipeline.contract)
    for route in list(pipeline.routes):
        taken.restore(pipeline.snapshot(route))
    stream = in_order(outage(until=38))
    later = run(taken, stream[2400:], range(8, 640, 8))

    assert not [each for each in later if each.kind == "activated" and each.disposition == "act"]


@given(
    share=st.floats(0.01, 1.0),
    moves=st.lists(st.tuples(st.sampled_from(ROUTES), st.booleans()), max_size=60),
)
def test_the_bound_holds_whoever_comes_and_goes(share, moves):
    """Entering only when admitted, there are never more than the most allowed; leaving makes room again."""
    panic, inside = Panic(share), set()
    for route in ROUTES:
        panic.meet(route)
    for route, enters in moves:
        if enters and panic.admits(route):
            panic.enter(route)
            inside.add(route)
        elif not enters:
            panic.leave(route)
            inside.discard(route)
        assert share >= 1 or len(inside) <= panic.most
        assert (
            len(inside) == len(ROUTES)
            or share >= 1
            or panic.admits(route) == (route in inside or len(inside) < panic.most)
        )
