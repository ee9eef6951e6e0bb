"""What all routes of a partition have in common."""

import pytest

from detector.modes.plan import Plan
from tests.builders import contract, spec
from tests.unit.modes.traffic import ERRORS, SLOW, mode


def test_what_cannot_act_is_not_told_apart_by_deployments():
    """Nor is it counted by deployment, call by call."""
    modes = [mode("slow_calls", "slow"), mode("failing", "errors", severity="notice")]
    plan = Plan(contract([ERRORS, SLOW], modes), 0, ("calls", "verdicts"))

    assert plan.apart_walkers == ["slow"]
    assert Plan(contract([ERRORS], modes[1:]), 0, ("calls", "verdicts")).apart == {}


@pytest.mark.parametrize(("kind", "method"), [("divergence", "default"), ("rate", "literal")])
def test_a_record_inside_a_window_is_not_late(kind, method):
    """Whoever looks back five minutes takes what comes five minutes late."""
    wide = contract([spec(kind, method, window_s=300.0)])

    assert Plan(wide, 0, ("calls", "verdicts")).history_s == 300.0
