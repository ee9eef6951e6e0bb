"""Traffic that stops or comes back is no drift, though its last calls are long and its first ones short."""

import numpy as np
import pytest

from detector.predicates.divergence import Divergence
from detector.predicates.uneven import uneven_nats
from tests.builders import play, record, spec
from tests.unit.predicates.test_divergence import STRICT, USUAL, calibrated, judge, learnt, seconds, tilted

SPANS = (3, 10, 30, 60, 300)


@pytest.mark.parametrize(
    ("per_s", "now", "is_uneven"),
    [
        ((20, 20, 20, 20, 20), 1, False),
        ((12, 12, 15, 17, 20), 1, False),
        ((0, 5, 15, 17, 20), 1, True),
        ((40, 40, 30, 25, 21), 1, False),
        ((90, 90, 35, 25, 21), 1, True),
        ((0, 0, 0, 0, 1), 4, True),
        ((1, 1, 1, 1, 1), 4, False),
    ],
    ids=["steady", "fewer", "stopping", "more", "five times", "long stopped", "slow"],
)
def test_half_or_twice_the_calls_of_just_before_are_uneven(per_s, now, is_uneven):
    """By the window that says what happens now, and one six times as long."""
    sizes = [span * rate for span, rate in zip(SPANS, per_s, strict=True)]

    assert (uneven_nats(sizes, SPANS, now, 1000.0) > 0) is is_uneven


def test_that_nothing_was_counted_before_is_no_surge():
    """At the start, and after windows were emptied."""
    assert uneven_nats([300, 1000, 1000, 1000, 1000], SPANS, 1, 30.0) == 0


def test_more_than_a_part_of_the_calls_can_come_to_is_a_drift():
    """Half of the traffic goes, and what stays is another workload."""
    rng = np.random.default_rng(6)
    made, start = learnt(rng)
    fewer = play(made, seconds(rng, [tilted(2.5)] * 20, 40, start), start)

    assert uneven_nats([120, 400, 2200, 5200], SPANS[:4], 1, 1000.0) == pytest.approx(np.log(96 / 40))
    assert any(made.latched for _ in fewer)


def ends(rng, began, per_s, of):
    """Seconds of calls by when they end: `began` those in which `per_s` begin; long answers take long."""
    when = np.concatenate([second + rng.random(per_s) for second in began])
    bits = rng.choice(np.arange(4, 13), size=len(when))
    until = when + 0.2 + 0.004 * 2.0**bits
    return [
        [
            record(second + 0.5, output_tokens=1 << int(b))
            for b in bits[(until >= second) & (until < second + 1)]
        ]
        for second in of
    ]


def test_traffic_that_stops_and_comes_back_is_no_drift():
    """Calls of up to sixteen seconds; without the rule the last and the first breach or teach deafness."""
    rng = np.random.default_rng(3)
    made = judge(window_s=60.0)
    began = [*range(600), *range(900, 1000)]

    assert not any(made.latched for _ in play(made, ends(rng, began, 100, range(1000))))
    assert made.armed
    assert made._stream.thresholds()[-1] == 0.07


def test_a_drift_is_not_over_under_a_higher_line_than_it_was_found_over():
    """Found in a window of ten seconds; one of three is held to far more, and would have let it go on."""
    rng = np.random.default_rng(4)
    one = calibrated(thresholds_nats={3: 1.0, 10: 0.08, 60: 0.07})
    made = Divergence(spec("divergence", window_s=60.0), STRICT, one)
    for _ in play(made, seconds(rng, [USUAL] * 60, 100)):
        pass
    states = [made.latched for _ in play(made, seconds(rng, [tilted(0.5)] * 60, 100, 60), 60, frozen=True)]

    assert any(states)
    assert all(states[states.index(True) :])


def test_emptied_windows_neither_act_nor_teach():
    """Calls made since a change of state: at first the short ones alone, which is no drift and no wander."""
    rng = np.random.default_rng(5)
    made, start = learnt(rng)
    made.restart(0.0)
    before = list(made._stream.thresholds())
    short = play(made, seconds(rng, [tilted(0.7)] * 15, 100, start), start)

    assert not any(made.latched for _ in short)
    assert made._stream.thresholds() == before
    later = play(made, seconds(rng, [tilted(0.7)] * 8, 100, start + 15), start + 15)
    assert any(made.latched for _ in later)
