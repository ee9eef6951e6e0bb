"""A calibrated reference older than the hour that thresholds speak of is not compared with."""

from dataclasses import replace

import numpy as np
import pytest

from detector.contract.model import ReferenceMode
from detector.predicates.base import Outcome
from detector.predicates.drift import DriftStream
from detector.predicates.limits import Limits

SPANS = (3, 10, 30, 60)
UNTIL = 1_000_000
HOUR_S = 3600
THEN, NOW = (900, 100), (0.6, 0.4)  # a third of a nat apart
LIMITS = Limits(
    threshold_nats=0.07,
    tolerance_nats=0.035,
    alpha=1e-6,
    design_effect=1.0,
    least=30,
    calibrated=(0.2, 0.1, 0.08, 0.07),
    reference=THEN,
    known_until=float(UNTIL),
)


def first_minutes(
    since_s: int, mode: ReferenceMode = "trailing", minutes: int = 6
) -> list[tuple[Outcome, bool]]:
    """What a stream says each second that begins so long after its calibration; its traffic has moved."""
    stream = DriftStream(2, SPANS, replace(LIMITS, mode=mode))
    stream.ring.start(UNTIL + since_s)
    draw = np.random.default_rng(1)
    said: list[tuple[Outcome, bool]] = []
    for second in range(UNTIL + since_s, UNTIL + since_s + 60 * minutes):
        stream.ring.add(second, draw.multinomial(40, NOW).astype(np.int64))
        stream.close(second + 1, frozen=stream.latched)
        said.append((stream.outcome, stream.latched))
    return said


def test_after_a_night_it_learns_what_it_is_compared_with() -> None:
    """Traffic that has wandered since is no news: nothing acts, and it says that it is learning."""
    said = first_minutes(8 * HOUR_S)

    assert not any(latched for _, latched in said)
    assert said[60][0] is Outcome.LEARNING
    assert said[-1][0] is Outcome.CLEAR


@pytest.mark.parametrize(
    ("since_s", "mode"), [(600, "trailing"), (8 * HOUR_S, "fixed"), (8 * HOUR_S, "seasonal")]
)
def test_within_the_hour_and_where_it_is_meant_to_stay_it_counts(since_s: int, mode: ReferenceMode) -> None:
    """A change is found in the first minute."""
    assert any(latched for _, latched in first_minutes(since_s, mode, 1))


def test_a_change_is_found_once_it_has_learnt() -> None:
    """By the calibrated thresholds."""
    stream = DriftStream(2, SPANS, LIMITS)
    draw = np.random.default_rng(2)
    start = UNTIL + 8 * HOUR_S
    stream.ring.start(start)
    found = None
    for second in range(start, start + 900):
        mix = NOW if second < start + 600 else (0.9, 0.1)
        stream.ring.add(second, draw.multinomial(40, mix).astype(np.int64))
        stream.close(second + 1, frozen=stream.latched)
        if stream.latched and found is None:
            found = second - start - 600

    assert found is not None
    assert 0 <= found <= 10
