"""A time outside 2000 to 2100 is refused with the option that would make one of it."""

from datetime import UTC, datetime

import pytest

from detector.lab.odd_times import check_range, read_time
from topics.errors import DecodeError


def advice(cell, seconds, unit="s", start=None):
    """What is said beside the fault."""
    with pytest.raises(DecodeError) as caught:
        check_range(cell, seconds, unit, start)
    assert caught.value.path == "$.event_time"
    assert str(cell) in caught.value.expected
    return caught.value.expected.partition("; ")[2]


@pytest.mark.parametrize(
    ("cell", "seconds", "unit", "word"),
    [
        (1_700_000_000_000, 1.7e12, "s", "say --time-unit ms"),
        (1_700_000_000_000_000, 1.7e15, "s", "say --time-unit us"),
        (1_700_000_000_000_000_000, 1.7e18, "s", "divide it by 1,000 and say --time-unit us"),
        (1_700_000_000, 1.7e6, "ms", "say --time-unit s"),
        (12.5, 12.5, "s", "with --start"),
        (-5, -5.0, "s", ""),
        (1e30, 1e30, "s", ""),
    ],
)
def test_the_unit_or_the_start_that_was_probably_meant_is_named(cell, seconds, unit, word):
    """By which of them the number falls into the years of a call; where none does, nothing is guessed."""
    said = advice(cell, seconds, unit)

    assert said.endswith(word)
    assert bool(said) is bool(word)


@pytest.mark.parametrize(
    ("cell", "unit", "start", "word"),
    [
        ("2023-11-14T22:13:20", "s", None, "say --time-unit iso"),
        (" 2023-11-14 22:13:20Z ", "ms", None, "say --time-unit iso"),
        ("2023-11-14T22:13:20", "s", 1.7e9, "say --time-unit iso and no --start"),
        ("1700000000", "iso", None, "say --time-unit s"),
        (1_700_000_000_123, "iso", None, "say --time-unit ms"),
        ("yesterday", "s", None, ""),
        ("yesterday", "iso", None, ""),
        ("12", "iso", None, ""),
        (True, "iso", None, ""),
        (float("nan"), "iso", None, ""),
    ],
)
def test_text_for_a_number_and_a_number_for_text_are_told_apart(cell, unit, start, word):
    """The option that reads it is named; what would be no time either way is only refused."""
    with pytest.raises(DecodeError) as caught:
        read_time(cell, unit, start)
    said = caught.value.expected.partition("; ")[2]

    assert caught.value.path == "$.event_time"
    assert said.endswith(word)
    assert bool(said) is bool(word)


def test_a_date_needs_no_unit_and_a_start_was_given_already():
    """What was said already is not advised."""
    ancient = datetime(1970, 1, 2, tzinfo=UTC)

    assert advice(ancient, 86_400.0) == ""
    assert "--time-unit?" in _with_start()
    check_range(1.7e9, 1.7e9, "s", None)


def _with_start():
    with pytest.raises(DecodeError) as caught:
        check_range(9e9, 1.07e10, "s", 1.7e9)
    return caught.value.expected
