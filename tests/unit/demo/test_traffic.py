"""The demo's calls: a diverted one says nothing of the primary, one that is let through says everything."""

from importlib import resources

import pytest

from detector.embedded.demo.scenarios import FAULT_S, LAST_FAULT_ENDS_S, SCENARIOS, SILENT
from detector.embedded.demo.traffic import Traffic
from detector.embedded.slices import load_slice
from topics.telemetry import PRIMARY

NOW = 1_700_000_000.0
BY_MODE = {each.expected: each for each in SCENARIOS}


def share(scenario, name, value, *, age, calls=2000):
    traffic = Traffic(scenario, {})
    made = [traffic.call(age, NOW, PRIMARY, probe=False) for _ in range(calls)]
    return sum(getattr(call, name) == value for call in made) / calls


@pytest.mark.parametrize(
    ("mode", "field", "value", "healthy", "faulty"),
    [("error_spike", "error", "429", 0.0, 0.5), ("hallucination_spike", "hallucinated", True, 0.06, 0.47)],
)
def test_the_primary_is_as_recorded_faulty_only_during_the_fault(mode, field, value, healthy, faulty):
    """Calls to the primary carry the slice's own rates before, while and after."""
    scenario = BY_MODE[mode]
    start = scenario.fault_at_s

    assert share(scenario, field, value, age=start - 0.1) == pytest.approx(healthy, abs=0.01)
    assert share(scenario, field, value, age=start) == pytest.approx(faulty, abs=0.04)
    assert share(scenario, field, value, age=start + FAULT_S) == pytest.approx(healthy, abs=0.01)


def test_a_diverted_call_keeps_its_question_and_loses_the_primarys_answer():
    """Nothing of what the primary would have done is reported for a call that it never saw."""
    scenario = BY_MODE["input_drift"]
    traffic = Traffic(scenario, {"rule": 0.02})
    call = traffic.call(scenario.fault_at_s, NOW, "rule", probe=False)
    asked = load_slice(scenario.slice)["fault"][0]

    assert (call.served_by, call.input_tokens) == ("rule", asked["input_tokens"])
    assert (call.output_tokens, call.error, call.hallucinated, call.latency_s) == (None, "", None, 0.02)


def test_the_tally_counts_from_the_first_diverted_call_to_the_last():
    """The share of diverted calls is of that span, calls before and after it do not thin it out."""
    traffic = Traffic(BY_MODE[SILENT], {})
    for age, served_by in [(0, PRIMARY), (1, "rule"), (2, PRIMARY), (3, "rule"), (4, "rule"), (5, PRIMARY)]:
        traffic.call(float(age), NOW, served_by, probe=served_by == PRIMARY and age == 2)

    tally = traffic.tally
    assert (tally.calls, tally.diverted, tally.probes) == (6, 3, 1)
    assert (tally.first_diverted_s, tally.last_diverted_s) == (1.0, 4.0)
    assert tally.diverted_share == 0.75


def test_calls_are_due_at_the_pace_stated():
    """After a second there are so many calls, however often one has asked."""
    traffic = Traffic(BY_MODE[SILENT], {})
    for turn in range(101):
        for _ in range(traffic.due(turn / 100)):
            traffic.call(turn / 100, NOW, PRIMARY, probe=False)

    assert traffic.tally.calls == traffic.scenario.calls_per_s


def test_the_slices_fit_and_say_where_they_come_from():
    """Every scenario's slice is there, named with its origin and licence, and all are small."""
    folder = resources.files("detector.embedded.slices")
    packed = {each.name: each for each in folder.iterdir() if each.name.endswith(".csv.gz")}
    origin = folder.joinpath("ORIGIN.md").read_text("utf-8")

    assert set(packed) == {f"{each.slice}.csv.gz" for each in SCENARIOS}
    assert all(f"`{name}`" in origin for name in packed)
    assert sum(len(each.read_bytes()) for each in packed.values()) < 500_000


def test_every_fault_ends_before_the_demo_waits_for_recovery():
    """The last fault's end is what the feed waits for."""
    assert max(each.fault_at_s + FAULT_S for each in SCENARIOS if each.fault_at_s) == LAST_FAULT_ENDS_S
