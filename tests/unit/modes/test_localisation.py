"""One deployment alone, by its share of bad calls: found where it is so, and never guessed."""

import numpy as np
import pytest

from detector.modes.localisation import Culprit, culprit_of
from detector.windows.shares import Share

CEILING = 0.01
WELL = {name: Share(10_000, 20) for name in "abcd"}


def test_the_one_that_fails_is_named_with_what_the_others_did():
    recent = {"a": Share(30, 15), "b": Share(30, 0), "c": Share(30, 1), "d": Share(30, 0)}

    assert culprit_of(recent, WELL, CEILING) == Culprit("a", Share(30, 15), Share(90, 1))


@pytest.mark.parametrize(
    ("recent", "why"),
    [
        ({"a": Share(30, 15), "b": Share(30, 15), "c": Share(30, 0), "d": Share(30, 0)}, "two of them"),
        ({name: Share(30, 8) for name in "abcd"}, "all of them"),
        ({"a": Share(30, 15), "b": Share(30, 0)}, "two deployments cannot be told apart"),
        ({"a": Share(30, 15), "b": Share(1, 0), "c": Share(1, 0), "d": Share(1, 0)}, "too few others' calls"),
        (
            {"a": Share(300, 30), "b": Share(300, 9), "c": Share(300, 9), "d": Share(300, 9)},
            "others rise too",
        ),
        (
            {"a": Share(30, 15), "b": Share(60, 0), "c": Share(1, 0), "d": Share(1, 0)},
            "only one sibling had the calls to show it",
        ),
        (
            {"a": Share(100, 100), "b": Share(100, 12), "c": Share(100, 0), "d": Share(100, 0)},
            "a second one stands out",
        ),
        (
            {"a": Share(20, 7), "b": Share(100, 9), "c": Share(200, 0), "d": Share(200, 0)},
            "a second one comes near",
        ),
        (
            {"a": Share(49, 21), "b": Share(29, 2), "c": Share(29, 2), "d": Share(29, 1)},
            "the others are not shown to be well",
        ),
        ({"": Share(30, 15), "b": Share(30, 0), "c": Share(30, 0), "d": Share(30, 0)}, "it has no name"),
        ({name: Share(30, 0) for name in "abcd"}, "nothing is wrong"),
    ],
)
def test_it_is_not_localised_where(recent, why):
    assert culprit_of(recent, WELL, CEILING) is None, why


def test_one_that_always_fails_more_often_is_not_at_fault_for_its_level():
    """Changes, never levels: 6 % are usual there, though the ceiling of the route is 1 %."""
    habit = WELL | {"a": Share(10_000, 600)}
    usual = {"a": Share(400, 28), "b": Share(400, 3), "c": Share(400, 2), "d": Share(400, 3)}
    worse = usual | {"a": Share(400, 160)}

    assert culprit_of(usual, habit, CEILING) is None
    assert culprit_of(worse, habit, CEILING).deployment == "a"


def test_others_that_always_fail_are_no_measure():
    habit = WELL | {name: Share(10_000, 9_900) for name in "bcd"}
    recent = {"a": Share(40, 40)} | {name: Share(40, 39) for name in "bcd"}

    assert culprit_of(recent, habit, CEILING) is None


def test_a_new_deployment_is_held_against_the_others():
    recent = {name: Share(40, 0) for name in "abcd"} | {"new": Share(40, 30)}

    assert culprit_of(recent, WELL, CEILING).deployment == "new"
    assert culprit_of(recent, {name: Share(100, 0) for name in "abcd"}, CEILING) is None


def test_dependent_calls_need_more_evidence():
    recent = {"a": Share(15, 8), "b": Share(15, 0), "c": Share(15, 0), "d": Share(15, 0)}

    assert culprit_of(recent, WELL, CEILING).deployment == "a"
    assert culprit_of(recent, WELL, CEILING, design_effect=5.0) is None


def test_chance_alone_names_nobody_when_all_are_equally_bad():
    """Of 4,000 faults that strike all alike, at rates from 2 to 50 %, in 0.2 % at most one is named."""
    draw = np.random.default_rng(3)
    named = 0
    for _ in range(4000):
        rate, calls = draw.uniform(0.02, 0.5), int(draw.integers(10, 400))
        recent = {name: Share(calls, int(draw.binomial(calls, rate))) for name in "abcdefgh"}
        named += culprit_of(recent, {name: Share(5000, 10) for name in "abcdefgh"}, CEILING) is not None

    assert named <= 8
