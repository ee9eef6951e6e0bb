"""What strays again and again and comes back teaches; what did so once does not."""

import math

import numpy as np
import pytest

from detector.predicates.drift import DriftStream
from detector.predicates.excursions import MEMORY_S, Excursions
from detector.predicates.limits import Limits
from detector.predicates.wander import further

DAY_S = 86_400


def gone(excursions: Excursions, peaks: list[float], until: int) -> None:
    """The stream strays as far as `peaks`, in two steps, and is back at `until`."""
    excursions.begin()
    excursions.note([peak / 2 for peak in peaks], list(range(len(peaks))))
    excursions.note(peaks, list(range(len(peaks))))
    excursions.end(until)


def test_one_excursion_teaches_nothing_and_the_second_how_far_both_went() -> None:
    """By window; the smaller of two, and of three the second."""
    excursions = Excursions(2)
    gone(excursions, [0.4, 0.2], 1000)
    assert excursions.usual == [0.0, 0.0]
    gone(excursions, [0.3, 0.5], 2000)
    assert excursions.usual == [0.3, 0.2]
    gone(excursions, [0.6, 0.1], 3000)
    assert excursions.usual == [0.4, 0.2]


def test_a_window_that_was_not_judged_says_nothing() -> None:
    """Its noise is no excursion."""
    excursions = Excursions(2)
    for until in (1000, 2000):
        excursions.begin()
        excursions.note([9.0, 0.3], [1])
        excursions.end(until)

    assert excursions.usual == [0.0, 0.3]


def test_what_is_more_than_a_day_old_is_forgotten() -> None:
    """A rhythm of a day is remembered, a fault of last week is not."""
    excursions = Excursions(1)
    gone(excursions, [0.4], 0)
    gone(excursions, [0.4], DAY_S)
    assert excursions.usual == [0.4]
    gone(excursions, [0.3], DAY_S + MEMORY_S + 1)
    assert excursions.usual == [0.0]


def test_it_goes_on_from_what_was_saved() -> None:
    """In the midst of one."""
    excursions, again = Excursions(1), Excursions(1)
    gone(excursions, [0.4], 0)
    excursions.begin()
    excursions.note([0.5], [0])
    again.load(excursions.state())
    again.end(100)

    assert again.usual == [0.4]


def shares(tilt: float) -> np.ndarray:
    """Of twenty bins."""
    weights = np.exp(np.sin(np.arange(20.0)) + tilt * np.linspace(-1, 1, 20))
    return weights / weights.sum()


def activations(tilts: list[float], per_s: int = 20, calibrated: bool = False) -> int:
    """How often a stream is found to have moved, by tilts each second; less than a minute apart is once."""
    spans = (3, 10, 30, 60, 300)
    known = {"calibrated": (0.07,) * 5, "reference": tuple((5000 * shares(0.0)).astype(int).tolist())}
    limits = Limits(
        threshold_nats=0.07,
        tolerance_nats=0.035,
        alpha=1e-10,
        design_effect=1.0,
        least=30,
        **(known if calibrated else {}),
    )
    stream, rng = DriftStream(20, spans, limits), np.random.default_rng(0)
    stream.ring.start(0)
    found, last = 0, -math.inf
    for second, tilt in enumerate(tilts):
        stream.ring.add(second, rng.multinomial(per_s, shares(tilt)))
        stream.close(second + 1, frozen=stream.latched)
        if stream.latched:
            found += second - last > 60
            last = second
    return found


LIMITS = Limits(threshold_nats=0.07, tolerance_nats=0.035, alpha=1e-10, design_effect=1.0, least=30)
VISITS = ([0.0] * 2100 + [1.0] * 300) * 5


@pytest.mark.parametrize(("calibrated", "least", "most"), [(False, 1, 2), (True, 5, 5)])
def test_visits_that_end_by_themselves_are_found_twice_at_most_where_nothing_is_known(
    calibrated: bool, least: int, most: int
) -> None:
    """Five visits of five minutes, forty minutes apart; a calibrated stream knows what is usual already."""
    assert least <= activations(VISITS, calibrated=calibrated) <= most


def test_a_shift_farther_than_the_usual_visits_is_found() -> None:
    """Knowing them is not deafness."""
    known = activations(VISITS)
    assert activations([*VISITS, *[0.0] * 600, *[3.0] * 60]) == known + 1


def test_a_cycle_longer_than_the_learning_time_stays_silent() -> None:
    """A period of forty minutes, of which a quarter of an hour shows one side alone."""
    cycle = [0.5 * math.sin(2 * math.pi * second / 2400 + 4.0) for second in range(4 * 3600)]
    assert activations(cycle) <= 1


def test_the_longer_a_stream_is_known_the_less_is_left_open() -> None:
    """Five times in the first day, two and a half after a week, and never less than the margin."""
    known = [further(seconds) for seconds in (0, 900, 3600, DAY_S, 7 * DAY_S, 1e9)]

    assert known == sorted(known, reverse=True)
    assert known[:4] == [5.0, 5.0, 5.0, 5.0]
    assert 2.4 < known[4] < 2.6
    assert known[-1] == 1.25


@pytest.mark.parametrize("frozen", [True, False])
def test_a_jump_over_empty_panes_is_the_same_as_closing_them_frozen_or_not(frozen: bool) -> None:
    """What leaves the longest window while something is open never comes into the reference."""
    jumped, closed = (DriftStream(20, (3, 10), LIMITS) for _ in range(2))
    rng = np.random.default_rng(0)
    for stream in (jumped, closed):
        stream.ring.start(0)
    for second in range(60):
        counts = rng.multinomial(20 if second < 58 else 2, shares(0.0))
        for stream in (jumped, closed):
            if second < 48 or second > 57:
                stream.ring.add(second, counts)
            stream.close(second + 1, frozen=frozen and second > 40)
    assert jumped.idle()
    jumped.skip(90, frozen=frozen)
    for second in range(60, 90):
        closed.close(second + 1, frozen=frozen)

    assert jumped.state() == closed.state()


def test_a_stream_at_its_threshold_does_not_flap() -> None:
    """What comes back within five minutes has to be gone for longer the next time."""
    edge = [0.0] * 1200 + [0.55] * 1800
    assert activations(edge, calibrated=True) <= 3
