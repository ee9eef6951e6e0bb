"""What is odd about a recording as a whole: codes of success that were taken for errors."""

import pytest

from detector.lab.doubts import Doubts
from detector.lab.files import Malformed
from topics.telemetry import TelemetryRecord

T0 = 1_700_000_000.0


def said(*routes):
    """What is said of routes, each given as its errors."""
    rows = [
        TelemetryRecord(event_time=T0, route=f"r{number}", error=error)
        for number, errors in enumerate(routes)
        for error in errors
    ]
    doubts = Doubts()
    assert list(doubts.watch([*rows, Malformed("f", 0, "$", "x")])) == [*rows, Malformed("f", 0, "$", "x")]
    return doubts.said()


def test_an_error_on_every_call_is_told_with_its_route():
    """A status code that was mapped to `error`."""
    (sentence,) = said(["200"] * 100, [""] * 1000)

    assert sentence.startswith("every call of route 'r0' carries error '200'; success is the empty string")


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        pytest.param(["0"] * 91 + ["1"] * 9, True, id="over nine in ten"),
        pytest.param(["0"] * 90 + ["1"] * 10, False, id="nine in ten"),
        pytest.param(["0"] * 99, False, id="too few calls to tell"),
        pytest.param([""] * 50 + ["503"] * 50, False, id="an outage"),
        pytest.param([f"e{n}" for n in range(19)] + ["0"] * 500, True, id="behind others"),
        pytest.param([f"e{n}" for n in range(500)], False, id="an id in each"),
    ],
)
def test_it_is_one_value_on_over_nine_in_ten_of_a_hundred_calls_or_more(errors, told):
    """Less may be an outage, and many values are no code of success."""
    assert len(said(errors)) == told


def test_many_routes_are_told_in_one_sentence():
    """The first three by name, the rest by number."""
    (sentence,) = said(*[["ok"] * 100] * 5)

    assert sentence.count("carries error 'ok'") == 3
    assert "2 more routes" in sentence
