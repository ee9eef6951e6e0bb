"""The demo's scenarios with the loop closed in memory: the real pipeline, a toy gateway, no broker."""

from pathlib import Path

import pytest

import detector.embedded.demo
from detector.contract.loader import check_text, load_contract
from detector.embedded.demo.scenarios import FAULT_S, LAST_FAULT_ENDS_S, SCENARIOS, SILENT
from detector.embedded.demo.traffic import Traffic
from detector.pipeline import Pipeline
from topics.telemetry import PRIMARY

T0 = 1_700_000_000.0
CONTRACT = Path(detector.embedded.demo.__file__).with_name("contract.yaml").read_text()
TURN_S = 0.02


def play(scenario, until_s=LAST_FAULT_ENDS_S + 20):
    """Feed one scenario; the gateway obeys at the next call and probes as it is told."""
    contract = load_contract(CONTRACT)
    pipeline = Pipeline(contract)
    traffic = Traffic(scenario, {name: each.p99_ms / 1000 for name, each in contract.fallbacks.items()})
    decisions, state, owed = [], None, 0.0
    for turn in range(int(until_s / TURN_S)):
        age = turn * TURN_S
        records = []
        for _ in range(traffic.due(age)):
            served_by, probe = PRIMARY, False
            if state is not None:
                owed += state.primary_share
                probe = owed >= 1.0
                owed -= probe
                names = state.fallbacks.get(traffic.input_class(), state.fallbacks.get("*"))
                served_by = PRIMARY if probe else names[0]
            records.append(traffic.call(age, T0 + age, served_by, probe=probe))
        if records:
            first = traffic.tally.calls - len(records)
            made = pipeline.step(
                records, range(first, traffic.tally.calls), [record.event_time for record in records]
            )
            decisions += made
            for decision in made:
                if decision.disposition == "act":
                    state = decision if decision.state == "active" else None
    return decisions, traffic


def test_the_demos_contract_passes_check():
    """What people are told to copy has no finding."""
    assert check_text(CONTRACT) == []


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.name for each in SCENARIOS])
def test_each_scenario_is_acted_on_once_and_the_primary_returns(scenario):
    """The expected mode is acted on while the fault lasts, ends after it, and nothing else is."""
    decisions, traffic = play(scenario)
    acted = [each for each in decisions if each.disposition == "act"]
    activated = [each.at - T0 for each in acted if each.kind == "activated"]
    ended = [each.at - T0 for each in acted if each.kind == "deactivated"]

    if scenario.expected == SILENT:
        assert decisions == []
        assert traffic.tally.diverted == 0
        return
    assert len(activated) == len(ended) == 1
    assert scenario.fault_at_s <= activated[0] <= scenario.fault_at_s + FAULT_S
    assert scenario.fault_at_s + FAULT_S <= ended[0] <= scenario.fault_at_s + FAULT_S + 15
    assert acted[0].mode == scenario.expected
    assert traffic.tally.diverted_share > 0.5
