"""What is odd about a recording as a whole: codes of success that were taken for errors."""

import pytest

from detector.lab.columns import Columns
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


def durations(*routes):
    """What is said of routes, each given as the fields of its calls."""
    doubts = Doubts()
    for number, calls in enumerate(routes):
        for _ in doubts.watch(TelemetryRecord(event_time=T0, route=f"r{number}", **each) for each in calls):
            pass
    return doubts.said()


@pytest.mark.parametrize("field", ["latency_s", "ttft_s", "upstream_s", "queue_s"])
def test_durations_that_look_like_milliseconds_are_told(field):
    """With the field, the route and the median, in one sentence, however many calls there are."""
    (sentence,) = durations([{field: 0.8}] * 200, [{field: 840.0 + n % 3} for n in range(5000)])

    assert sentence.startswith(
        f"the median {field} of route 'r1' is about 841 s; that looks like milliseconds"
    )
    assert "durations are in seconds" in sentence


@pytest.mark.parametrize(
    ("calls", "told"),
    [
        pytest.param([{"latency_s": 100.5}] * 100, True, id="over 100 s"),
        pytest.param([{"latency_s": 100.0}] * 100, False, id="100 s"),
        pytest.param([{"latency_s": 1000.0}] * 99, False, id="too few calls to tell"),
        pytest.param([{"latency_s": 1000.0}] * 40 + [{"latency_s": 1.0}] * 60, False, id="less than half"),
        pytest.param([{"latency_s": 1000.0}] * 400 + [{"latency_s": 1.0}] * 1200, False, id="at first only"),
        pytest.param([{"latency_s": 1.0}] * 400 + [{"latency_s": 1000.0}] * 1200, True, id="not at first"),
        pytest.param([{"latency_s": 1000.0}] * 3 + [{}] * 200, False, id="hardly measured"),
        pytest.param([{"ttft_s": 500.0}, {}] * 1000, True, id="measured on every second call"),
        pytest.param([{}, {"ttft_s": 500.0}] * 1000, True, id="measured on the others"),
    ],
)
def test_it_is_the_median_of_all_calls_of_a_route_that_counts(calls, told):
    """Some calls may take minutes; a sample of them is spread over the whole recording."""
    assert len(durations(calls)) == told


def test_what_one_route_shows_is_said_of_all():
    """Milliseconds of a quick route are no longer than seconds may be; those furthest out are named first."""
    calls = [[{"latency_s": value}] * 100 for value in (150.0, 50.0, 900.0)]
    (sentence,) = durations(*calls)

    assert sentence.startswith(
        "the median latency_s of route 'r2' is about 900 s; the median latency_s of route 'r0'"
    )
    assert "'r1'" not in sentence
    assert sentence.endswith("durations are in seconds on all routes: if so, say --duration-unit ms")
    assert not durations(calls[1])


@pytest.mark.parametrize(
    ("unit", "advice"), [("ms", "say --duration-unit us"), ("us", "divide them before they are read")]
)
def test_the_advice_goes_on_from_the_unit_that_was_given(unit, advice):
    """Whoever said milliseconds is not told to say so."""
    doubts = Doubts(Columns(duration_unit=unit))
    list(doubts.watch([TelemetryRecord(event_time=T0, route="r", latency_s=900.0)] * 100))

    assert doubts.said()[0].endswith(advice)


def test_all_such_durations_are_told_in_one_sentence():
    """The first three by name, the rest by number."""
    (sentence,) = durations(*[[{"latency_s": 900.0, "queue_s": 300.0}] * 100] * 3)

    assert sentence.count("the median") == 3
    assert "so are 3 more" in sentence


def spaced(gap_s, number=200, **options):
    """What is said of calls that lie so far apart."""
    doubts = Doubts(Columns(**options))
    calls = (TelemetryRecord(event_time=T0 + gap_s * (n % number), route=f"r{n % 3}") for n in range(number))
    list(doubts.watch(calls))
    return doubts.said()


@pytest.mark.parametrize(
    ("gap_s", "options", "told"),
    [
        pytest.param(100.0, {"start": T0}, "milliseconds, say --time-unit ms", id="ten a second"),
        pytest.param(100.0, {"start": T0, "time_unit": "ms"}, "microseconds, say --time-unit us", id="ms"),
        pytest.param(100.0, {"start": T0, "time_unit": "us"}, "", id="no finer unit"),
        pytest.param(19.0, {"start": T0}, "", id="three a minute"),
        pytest.param(100.0, {}, "", id="absolute"),
        pytest.param(100.0, {"start": T0, "number": 99}, "", id="too few to tell"),
    ],
)
def test_relative_times_that_lie_too_far_apart_are_told(gap_s, options, told):
    """Read as seconds, a minute of milliseconds takes most of a day, and all of it are times of a call."""
    said = spaced(gap_s, **options)

    assert [each.rpartition(" are ")[2] for each in said] == [told] * bool(told)
    assert not told or said[0].startswith(
        "200 calls over 0.2 days are one in 100 s; if the times after --start"
    )
