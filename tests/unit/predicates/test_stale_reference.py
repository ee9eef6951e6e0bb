"""A calibrated reference that ended before the hour that thresholds speak of is not compared with."""

from dataclasses import replace

import numpy as np
import pytest

from detector.contract.calibration import CalibratedPredicate, CalibratedRoute, Calibration
from detector.contract.model import ReferenceMode
from detector.pipeline import Pipeline
from detector.predicates.base import Outcome
from detector.predicates.drift import DriftStream
from detector.predicates.limits import Limits
from tests.builders import T0, contract, in_order, record, spec

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


@pytest.mark.parametrize("since_s", [1800, 8 * HOUR_S])
def test_after_half_an_hour_or_a_night_it_learns_what_it_is_compared_with(since_s: int) -> None:
    """Traffic that has wandered since is no news: nothing acts, and it says that it is learning."""
    said = first_minutes(since_s)

    assert not any(latched for _, latched in said)
    assert said[60][0] is Outcome.LEARNING
    assert {outcome for outcome, _ in said[-60:]} == {Outcome.CLEAR}


def test_it_learns_too_where_the_first_call_is_followed_by_a_pause() -> None:
    """The pause is jumped over, before any second was closed."""
    stream = DriftStream(2, SPANS, LIMITS)
    start = UNTIL + 8 * HOUR_S
    stream.ring.start(start)
    stream.skip(start + 1000, frozen=False)
    stream.ring.add(start + 1000, np.array([24, 16]))
    stream.close(start + 1001, frozen=False)

    assert stream.outcome is Outcome.LEARNING


@pytest.mark.parametrize(
    ("since_s", "mode"), [(60, "trailing"), (8 * HOUR_S, "fixed"), (8 * HOUR_S, "seasonal")]
)
def test_right_after_it_and_where_it_is_meant_to_stay_it_counts(since_s: int, mode: ReferenceMode) -> None:
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
        # What it has learnt stays with it, though nothing is learnt meanwhile.
        assert found is None or stream.outcome is Outcome.BREACH

    assert found is not None
    assert 0 <= found <= 10


@pytest.mark.parametrize(("hours", "acts"), [(0.0, True), (0.5, False), (8.0, False)])
def test_a_route_is_told_when_its_calibration_ended(hours: float, acts: bool) -> None:
    """From the contract down to the stream."""
    learnt = CalibratedPredicate(
        records=10_000, edges=(10.0,), reference=(9000, 1000), thresholds_nats={10: 0.1, 60: 0.07}
    )
    calibration = Calibration(
        last_event_time=T0 - hours * HOUR_S, routes={"r": CalibratedRoute(predicates={"drift": learnt})}
    )
    wanted = contract([spec("divergence", name="drift", window_s=60.0)])
    pipeline = Pipeline(replace(wanted, calibration=calibration))
    calls = [record(i / 40, route="r", output_tokens=5 if i % 5 < 3 else 50) for i in range(2400)]
    decisions = pipeline.step(*in_order(calls).args())

    assert any(each.kind == "activated" for each in decisions) is acts
