"""Activations are merged, true, benign or false exactly as the terms say."""

import random

import pytest
from scipy.stats import poisson

from detector.lab.incidents import Incident
from detector.lab.matching import match, merge, poisson_interval
from detector.lab.outcome import Activation
from topics.control import Evidence


def activation(start, end=None, scope="chat", disposition="act", decided=None):
    return Activation(
        scope=scope,
        mode="error_spike",
        predicate="errors",
        disposition=disposition,
        activated_at=start,
        deactivated_at=end,
        evidence=Evidence(predicate="errors", event_time=decided if decided is not None else start),
    )


@pytest.mark.parametrize(("gap", "merged"), [(59.9, 1), (60.0, 2)])
def test_less_than_a_minute_apart_is_one_activation(gap, merged):
    """The merge gap is open: 60 s apart are two."""
    assert len(merge([activation(0, 10), activation(10 + gap, 90)])) == merged


def test_a_deployment_and_its_route_are_one_activation_and_other_routes_are_not():
    """What counts is the route; notices and shadows do not count."""
    found = merge(
        [
            activation(0, 30, "chat@eu"),
            activation(20, 40),
            activation(20, 40, "code"),
            activation(500, 510, disposition="notice"),
            activation(500, 510, disposition="shadow"),
        ]
    )

    assert [(each.route, each.start, each.end, len(each.parts)) for each in found] == [
        ("chat", 0, 40, 2),
        ("code", 20, 40, 1),
    ]


def test_an_interval_inside_another_does_not_shorten_it():
    """The end of a merged activation is the latest end, and open if one is."""
    assert merge([activation(0, 100), activation(10, 20), activation(150, 160)])[0].end == 160
    assert merge([activation(0), activation(10, 20), activation(900, 910)])[0].end is None


@pytest.mark.parametrize(
    ("start", "true"), [(99.9, False), (100, True), (200, True), (335, True), (335.1, False)]
)
def test_truth_is_a_start_within_the_incident_the_window_and_the_lag(start, true):
    """[from, to + longest window + verdict lag], closed on both sides."""
    result = match(
        [activation(start, start + 1)],
        [Incident("chat@eu", "error_spike", 100, 200)],
        longest_window_s=130,
        verdict_lag_s=5,
    )

    assert (len(result.found), len(result.false), len(result.missed)) == ((1, 0, 0) if true else (0, 1, 1))


def test_one_activation_per_incident_further_ones_are_repeats():
    """Two starts in one incident are a find and a repeat; a benign change excuses what nothing else does."""
    incidents = [
        Incident("chat", "error_spike", 0, 300),
        Incident("chat", "input_drift", 1000, 1100, "benign"),
        Incident("chat", "input_drift", 2000, 2100, "false"),
    ]
    result = match([activation(at, at + 10) for at in (50, 200, 1050, 2050)], incidents, longest_window_s=0)

    assert [each.start for _, each in result.found] == [50]
    assert [each.start for each in result.repeats] == [200]
    assert [each.start for each in result.benign] == [1050]
    assert [each.start for each in result.false] == [2050]


@pytest.mark.parametrize(("start", "false"), [(189, 0), (190, 1), (210, 1), (211, 0)])
def test_what_a_person_called_false_is_false_inside_a_fault_and_in_its_wake_too(start, false):
    """[from, to] of a row labelled false, on its route alone; the fault itself stays found."""
    incidents = [
        Incident("chat", "error_spike", 0, 200),
        Incident("chat", "token_drift", 190, 210, "false"),
        Incident("code", "token_drift", 0, 1000, "false"),
    ]
    result = match([activation(50, 60), activation(start, 300)], incidents, longest_window_s=300)

    assert [each.start for _, each in result.found] == [50]
    assert (len(result.false), len(result.repeats)) == (false, 1 - false)


def test_an_incident_of_another_route_is_none():
    """Truth goes by route."""
    result = match([activation(10, 20)], [Incident("code", "x", 0, 100)], longest_window_s=0)

    assert (len(result.found), len(result.false), len(result.missed)) == (0, 1, 1)


def test_an_incident_that_begins_under_an_open_activation_is_missed_but_covered():
    """It had its calls diverted, and nothing started for it."""
    result = match([activation(10, 200)], [Incident("chat", "x", 100, 150)], longest_window_s=0)

    assert (len(result.missed), len(result.covered), len(result.false)) == (1, 1, 1)


def test_of_two_incidents_an_activation_is_of_the_one_that_lasts():
    """An activation in the long wake of one fault, at the start of the next, is the next one's."""
    incidents = [Incident("chat", "token_drift", 0, 60), Incident("chat", "error_spike", 300, 340)]
    result = match([activation(310, 350)], incidents, longest_window_s=300)

    assert [incident.start for incident, _ in result.found] == [300]
    assert [incident.start for incident in result.missed] == [0]


def test_every_activation_is_counted_once_whatever_their_order():
    """The four lists share out the merged activations, and shuffling the input changes nothing."""
    draw = random.Random(4)
    activations = [
        activation(at, at + draw.uniform(1, 80), draw.choice(["chat", "chat@eu", "code"]))
        for at in (draw.uniform(0, 5000) for _ in range(60))
    ]
    incidents = [
        Incident(draw.choice(["chat", "code"]), "x", at, at + 60, draw.choice(["true", "benign"]))
        for at in (draw.uniform(0, 5000) for _ in range(20))
    ]
    result = match(activations, incidents, longest_window_s=10)
    draw.shuffle(activations)
    draw.shuffle(incidents)

    assert result.activations == len(merge(activations))
    assert len(result.found) + len(result.missed) == sum(each.label == "true" for each in incidents)
    assert match(activations, incidents, longest_window_s=10) == result


def test_delay_leaves_out_the_wait_for_late_records():
    """A window's decision comes `lateness_s` after its pane closed; a record's at once; a hold counts."""
    incident = [Incident("chat", "x", 100, 200)]

    def delay(start, decided):
        result = match([activation(start, 300, decided=decided)], incident, longest_window_s=0)
        return result.delays_s(lateness_s=2.0)

    assert delay(112, 109.9) == [10]
    assert delay(104.5, 104.5) == [4.5]
    assert delay(115, 104) == [13]


@pytest.mark.parametrize("events", [0, 1, 3, 20])
def test_the_poisson_interval_is_exact(events):
    """At each bound, as much or more (less) than was counted has a chance of just 2.5 %."""
    lower, upper = poisson_interval(events)

    assert poisson.cdf(events, upper) == pytest.approx(0.025)
    assert lower == 0 if events == 0 else poisson.sf(events - 1, lower) == pytest.approx(0.025)


def test_an_activation_that_goes_on_over_two_incidents_finds_both():
    """Seven seconds apart they are one activation; each incident was found by its own interval."""
    activations = [activation(100, 138), activation(145, 170)]
    incidents = [Incident("chat", "error_spike", 100, 138), Incident("chat", "error_spike", 145, 170)]
    result = match(activations, incidents, longest_window_s=300)

    assert [(incident.start, found.start) for incident, found in result.found] == [(100, 100), (145, 145)]
    assert (result.activations, result.missed, result.repeats) == (1, (), ())
    assert result.delays_s(0.0) == [0, 0]
