"""Minutes that look like incidents are left out of what is learnt; bursts are how the traffic is."""

import numpy as np
import pytest

from detector.lab.calibrate.healthy import bad_share_minutes, spans

MINUTES, PER_S = 120, 5


def left_out(start_s: int, lasts_s: int, share: float) -> list[tuple[int, int]]:
    """What is left out of two hours at 0.4 %, some seconds of which are bad at a share."""
    seconds = np.arange(MINUTES * 60)
    rate = np.where((seconds >= start_s) & (seconds < start_s + lasts_s), share, 0.004)
    bad = np.random.default_rng(4).binomial(PER_S, rate)
    return spans(bad_share_minutes(seconds, np.full(len(seconds), PER_S), bad, 1.0, rise=0.1))


@pytest.mark.parametrize(
    ("lasts_s", "share"), [(240, 0.2), (600, 0.15), (60, 1.0), (30, 1.0), (60, 0.25), (120, 0.2)]
)
def test_what_lasts_or_is_an_outage_is_left_out(lasts_s: int, share: float) -> None:
    """With a minute on either side."""
    ((first, last),) = left_out(3600, lasts_s, share)

    assert first == 3540
    assert 3600 + lasts_s <= last <= 3600 + lasts_s + 120


@pytest.mark.parametrize(("lasts_s", "share"), [(10, 1.0), (15, 0.9), (20, 0.7), (0, 0.0)])
def test_a_burst_is_learnt_from(lasts_s: int, share: float) -> None:
    """The next one like it must not be called a fault."""
    assert left_out(3610, lasts_s, share) == []
