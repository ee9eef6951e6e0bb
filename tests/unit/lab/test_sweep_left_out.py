"""Incidents that a sweep leaves out are not counted: of other routes, other times, begun before."""

import pytest

from detector.lab.incidents import Incident
from detector.lab.settings_grid import grid
from detector.lab.sweep import sweep_rows
from tests.unit.lab.test_sweep import CONTRACT, INCIDENTS, T0, traffic

SETTINGS = grid(CONTRACT, "c", {"predicates.errors.ceiling": [0.01]})


@pytest.fixture(scope="module")
def calls():
    return list(traffic())


@pytest.mark.parametrize("split", [None, 0.5])
def test_incidents_that_are_left_out_are_not_counted(calls, split):
    """Neither as known nor as missed: in no part, and not where they begin while the last panes close."""
    last = calls[-1].event_time
    others = [
        Incident("Chat", "error_spike", T0 + 60, T0 + 75),
        Incident("chat", "error_spike", last + 1, last + 5),
        Incident("chat", "error_spike", T0 - 500, T0 - 400),
        Incident("code", "error_spike", T0 - 10, T0 + 10),
    ]
    alone, beside = (
        sweep_rows(calls, SETTINGS, incidents=known, split=split)
        for known in (INCIDENTS, [*INCIDENTS, *others])
    )

    assert (alone.incidents, beside.incidents) == (3, 3)
    assert [each for each, _ in beside.unused] == others
    assert beside.tried == alone.tried


def test_an_activation_in_a_fault_that_began_before_the_recording_is_not_false(calls):
    """That fault is not counted, but known."""
    early = Incident("chat", "error_spike", T0 - 10, T0 + 80)
    (tried,) = sweep_rows(calls, SETTINGS, incidents=[early, *INCIDENTS[1:]]).tried

    assert (tried.measures.incidents, tried.measures.found, tried.measures.false) == (2, 2, 0)
