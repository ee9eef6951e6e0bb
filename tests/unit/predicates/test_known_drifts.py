"""What was shown to do no harm is no news when it comes back soon; everything else still is."""

import msgspec
import numpy as np
import pytest

from detector.predicates.known_drifts import LEFT_S, KnownDrifts
from tests.builders import T0, play
from tests.unit.predicates.test_divergence import USUAL, judge, learnt, seconds, tilted

AWAY_S = 60  # long enough for the windows to forget


def tolerated(nats=0.7):
    """A judge that saw a drift from second `start` on, was told that it is harmless, and saw it end."""
    rng = np.random.default_rng(31)
    made, start = learnt(rng, window_s=10.0)
    assert breaches(made, rng, nats, start, frozen=True)
    made.tolerate()
    assert not breaches(made, rng, 0.0, start + 30, AWAY_S, frozen=True)[-1:]
    return made, rng, start + 30 + AWAY_S


def breaches(made, rng, nats, start, lasts=30, *, frozen=False):
    """Seconds at whose end the judge holds."""
    shares = [tilted(nats)] * lasts
    return [
        second
        for second, _ in play(made, seconds(rng, shares, 100, start), start, frozen=frozen)
        if made.latched and second > start + 20
    ]


@pytest.mark.parametrize("restored", [False, True], ids=["same", "after a restart"])
def test_the_same_drift_is_silent_when_it_comes_back(restored):
    """Also while the windows fill with it and are half way there."""
    made, rng, at = tolerated()
    if restored:
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(made.state()), strict=False)
        made = judge(window_s=10.0)
        made.load(state)

    assert not breaches(made, rng, 0.7, at)


def test_windows_that_ran_empty_meanwhile_teach_nothing():
    """While all calls are diverted nobody knows where the drift is: the next one is news, whatever it is."""
    rng = np.random.default_rng(31)
    made, start = learnt(rng, window_s=10.0)
    assert breaches(made, rng, 0.7, start, frozen=True)
    made.skip(T0 + start + 400, frozen=True)
    made.tolerate()

    list(play(made, seconds(rng, [USUAL] * 60, 100, start + 400), start + 400, frozen=True))
    assert breaches(made, rng, 1.5, start + 460)


def test_half_of_the_drift_is_known_too():
    """As far as the windows go while they fill with it, or while half of the callers bring it."""
    made, rng, at = tolerated(1.5)
    half = [(tilted(1.5) + USUAL) / 2] * 30

    assert not any(made.latched for _ in play(made, seconds(rng, half, 100, at), at))


def test_another_drift_is_found():
    """Half as far again and the other way: both are news."""
    made, rng, at = tolerated(0.3)

    assert breaches(made, rng, 1.5, at)
    made, rng, at = tolerated(0.7)
    short = [(USUAL + np.eye(len(USUAL))[0]) / 2] * 30
    assert any(made.latched for _ in play(made, seconds(rng, short, 100, at), at, frozen=True))


def test_without_the_word_that_it_is_harmless_it_is_found_again():
    """The control: the same stream, nobody said so."""
    rng = np.random.default_rng(31)
    made, start = learnt(rng, window_s=10.0)
    assert breaches(made, rng, 0.7, start, frozen=True)
    breaches(made, rng, 0.0, start + 30, AWAY_S, frozen=True)

    assert breaches(made, rng, 0.7, start + 30 + AWAY_S, frozen=True)


def test_after_an_hour_it_is_news_again():
    """What came back so late may be something else."""
    made, rng, at = tolerated()
    quiet = breaches(made, rng, 0.0, at, 3700)

    assert not quiet
    assert breaches(made, rng, 0.7, at + 3700, frozen=True)


def followed(nats, hours=1.1):
    """A judge that was let go on with a drift until its reference had followed it."""
    rng = np.random.default_rng(31)
    made, start = learnt(rng, window_s=10.0)
    assert breaches(made, rng, nats, start, frozen=True)
    lasts = int(3600 * hours)
    assert breaches(made, rng, nats, start + 30, lasts)[-1] < start + lasts
    return made, rng, start + 30 + lasts


@pytest.mark.parametrize("nats", [0.3, 1.5])
@pytest.mark.parametrize("restored", [False, True], ids=["same", "after a restart"])
def test_the_end_of_a_drift_is_no_news(nats, restored):
    """The reference has followed the drift: what was usual before is far from it, and known."""
    made, rng, at = followed(nats)
    if restored:
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(made.state()), strict=False)
        made = judge(window_s=10.0)
        made.load(state)

    assert not breaches(made, rng, 0.0, at, 200)


def test_another_drift_behind_one_that_was_followed_is_news():
    """And so is the same one again, once it had ended: it never was what is usual before a breach."""
    made, rng, at = followed(0.3)
    assert breaches(made, rng, 1.5, at)
    made, rng, at = followed(0.7)
    assert not breaches(made, rng, 0.0, at, 3900)
    assert breaches(made, rng, 0.7, at + 3900)


def test_what_was_usual_before_is_forgotten_after_a_day():
    """What comes back so late may be something else."""
    usual, now = np.array([900, 90, 10]), np.array([10, 90, 900])
    known = KnownDrifts(1)
    known.begin(usual, 0)

    assert known.is_known(usual // 2, 500, 0.07, 1.0, now, LEFT_S - 1)
    assert known.is_known((usual + 4 * now) // 5, 1000, 0.07, 1.0, now, LEFT_S - 1)
    assert not known.is_known(np.array([10, 900, 90]), 1000, 0.07, 1.0, now, LEFT_S - 1)
    assert not known.is_known(usual // 2, 500, 0.07, 1.0, now, LEFT_S)


def test_an_accepted_drift_leaves_nothing_remembered():
    """The reference is learnt anew: what was a harmless drift from the old one says nothing."""
    made, _, _ = tolerated()
    made.rebase()

    assert made.state()["known"] == [0, [], []]
