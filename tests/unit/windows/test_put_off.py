"""Which calls may wait: from the oldest that is not late on, up to but not at what lets a pane close."""

import pytest

from detector.windows.columns import Columns
from detector.windows.inbox import Inbox
from detector.windows.put_off import WORTH_LAYING, put_off
from tests.builders import T0, record


def _split(*times: float) -> tuple[int, int]:
    """How many calls at these times wait, and how many do not, where those in [10, 20) may."""
    inbox, columns = Inbox(), Columns(["latency_s"])
    inbox.since, inbox.until = T0 + 10, T0 + 20
    table = columns.read([record(at) for at in times])
    left = put_off(table, range(len(times)), {"chat": inbox}, columns.layout)
    return len(inbox), sum(len(positions) for positions, _ in left.values())


@pytest.mark.parametrize(
    ("at", "waits"),
    [(9.999, False), (10.0, True), (15.0, True), (19.999, True), (20.0, False), (25.0, False)],
)
def test_one_call(at: float, waits: bool) -> None:
    """A call at the very end of a pane's lateness closes it: to let it wait would put the decision off."""
    assert _split(at) == ((1, 0) if waits else (0, 1))


@pytest.mark.parametrize(
    ("at", "waits"), [(9.999, False), (10.0, True), (19.999, True), (20.0, False), (25.0, False)]
)
def test_many_calls_that_are_laid_out(at: float, waits: bool) -> None:
    """The same of one among as many as are put together as arrays; what comes before it waits."""
    calls = [15.0] * WORTH_LAYING

    assert _split(*calls, at) == ((WORTH_LAYING + 1, 0) if waits else (WORTH_LAYING, 1))


def test_what_follows_a_call_that_may_not_wait_does_not_either() -> None:
    assert _split(15.0, 20.0, 15.0, 16.0) == (1, 3)
