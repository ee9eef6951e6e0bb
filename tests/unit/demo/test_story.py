"""The demo's verdict on itself: it can fail, and says so for each way of failing."""

import pytest

from detector.embedded.demo.log import Log
from detector.embedded.demo.scenarios import FAULT_S, HEALTHY_S, SCENARIOS, SILENT
from detector.embedded.demo.story import as_json, delays_ms, judge, quantiles
from detector.embedded.demo.traffic import Traffic
from topics.control import Ack, ControlRecord, Evidence

T0 = 1_700_000_000.0
FAULTY = next(each for each in SCENARIOS if each.expected == "error_spike")
CONTROL = next(each for each in SCENARIOS if each.expected == SILENT)


def transition(scenario, at, state, mode="error_spike", number=1, disposition="act"):
    return ControlRecord(
        scope=scenario.route,
        route=scenario.route,
        state=state,
        mode=mode,
        issued_at=T0 + at,
        transition=number,
        event_id=f"{scenario.route}/{number}",
        disposition=disposition,
        evidence=Evidence(predicate="errors", partition=3, offset=7),
    )


def finding(scenario, *records):
    log, traffic = Log(), Traffic(scenario, {})
    traffic.first_fault_s = scenario.fault_at_s
    for record in records:
        log.transition(record)
    return judge(scenario, log, traffic, lambda at: at - T0)


FOUND = transition(FAULTY, HEALTHY_S + 0.2, "active")
BACK = transition(FAULTY, HEALTHY_S + FAULT_S + 5, "inactive", number=2)


def test_a_fault_found_in_time_and_ended_is_ok():
    """Expected mode, within the fault, primary back."""
    result = finding(FAULTY, FOUND, BACK)

    assert (result.observed, result.ok, result.false) == ("error_spike", True, 0)


@pytest.mark.parametrize(
    ("records", "observed", "false"),
    [
        pytest.param([], SILENT, 0, id="missed"),
        pytest.param([FOUND], "error_spike", 0, id="the primary never came back"),
        pytest.param([transition(FAULTY, 5, "active")], "error_spike", 1, id="before the fault"),
        pytest.param(
            [transition(FAULTY, HEALTHY_S + FAULT_S + 4, "active")], "error_spike", 1, id="after the fault"
        ),
        pytest.param(
            [transition(FAULTY, HEALTHY_S + 1, "active", "token_drift")], "token_drift", 1, id="another mode"
        ),
        pytest.param(
            [FOUND, BACK, transition(FAULTY, HEALTHY_S + FAULT_S, "active", number=3)],
            "error_spike",
            1,
            id="twice",
        ),
    ],
)
def test_what_is_not_the_expected_story_is_not_ok(records, observed, false):
    """Each way to go wrong is told apart and none passes."""
    result = finding(FAULTY, *records)

    assert (result.observed, result.false, result.ok) == (observed, false, False)


def test_the_control_must_stay_silent_but_may_be_noticed():
    """Any diversion of the control is false; a notice diverts nobody."""
    assert finding(CONTROL).ok
    assert finding(CONTROL, transition(CONTROL, 20, "active", disposition="notice")).ok
    assert not finding(CONTROL, transition(CONTROL, 20, "active"), transition(CONTROL, 25, "inactive")).ok


def test_the_mode_of_an_episode_is_the_one_acted_on_for_longest():
    """A mode that outlives its cause by a second at the end is not what was observed."""
    log = Log()
    log.transition(transition(FAULTY, 14, "active", "input_drift"))
    log.transition(transition(FAULTY, 24, "active", "token_drift", 2))
    log.transition(transition(FAULTY, 26, "inactive", "token_drift", 3))

    assert log.episodes[0].mode == "input_drift"
    assert log.open_scopes() == []


@pytest.mark.parametrize("early", [True, False])
def test_delays_are_from_the_evidence_to_each_gateway(early):
    """An acknowledgement counts once per gateway, whichever topic was read first."""
    log = Log()
    acks = [
        Ack(
            gateway=name,
            scope=FOUND.scope,
            epoch=1,
            revision=1,
            event_id=FOUND.event_id,
            received_at=T0 + at,
            applied_at=T0 + at,
        )
        for name, at in (("a", 14.01), ("b", 14.02), ("a", 14.5))
    ]
    if early:
        for ack in acks:
            log.ack(ack)
    log.transition(FOUND)
    if not early:
        for ack in acks:
            log.ack(ack)

    each_record, windowed = delays_ms(log, lambda partition, offset: {(3, 7): T0 + 14.0}[partition, offset])

    assert each_record == pytest.approx([10.0, 20.0], abs=1e-3)
    assert windowed == []


def test_quantiles_are_of_the_values_themselves():
    """Nearest rank: with few values the largest is the p99, and of none there is none."""
    assert quantiles([3.0, 1.0, 2.0]) == {"p50": 2.0, "p95": 3.0, "p99": 3.0, "n": 3}
    assert quantiles([]) == {"p50": None, "p95": None, "p99": None, "n": 0}


def test_one_scenario_that_is_not_ok_makes_the_whole_not_ok():
    """The exit code hangs on this field."""
    good, bad = finding(FAULTY, FOUND, BACK), finding(FAULTY, FOUND)

    assert as_json([good], 10, 0, 1.0, [])["ok"] is True
    assert as_json([good, bad], 10, 0, 1.0, [])["ok"] is False
