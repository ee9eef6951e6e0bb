"""A pane closes at one event time, to the last bit, whoever asks."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.windows.paneclock import PaneClock


@given(
    st.integers(0, 1023).map(lambda n: n / 1024),
    st.sampled_from([0.0, 0.5, 2.0, 7.3]),
    st.integers(1_000_000_000, 4_000_000_000),
)
def test_the_time_at_which_a_pane_closes_is_exact(phase: float, lateness_s: float, boundary: int) -> None:
    """One step earlier it is open, and what `pane` says agrees."""
    clock = PaneClock(phase, lateness_s)
    clock.move(boundary)

    assert clock.pane(clock.closes_at) == boundary + 1
    assert clock.pane(math.nextafter(clock.closes_at, -math.inf)) == boundary
    assert clock.closes_at == pytest.approx(boundary + 1 - phase + lateness_s, abs=1e-5)
    assert clock.advance(clock.closes_at) == boundary + 1


def test_time_never_goes_back() -> None:
    """An older time leaves the clock where it is."""
    clock = PaneClock(0.25, 2.0)
    clock.move(clock.pane(1000.0))

    assert clock.advance(1010.0) == 1008
    assert clock.advance(1005.0) == 1008
    assert clock.begins == 998 - 0.25


def test_before_the_first_record_there_is_no_time() -> None:
    """Nothing closes, and asking for a boundary is a mistake."""
    clock = PaneClock(0.0, 2.0)

    assert not clock.started
    assert clock.closes_at == math.inf
    with pytest.raises(RuntimeError, match="no record"):
        _ = clock.boundary
