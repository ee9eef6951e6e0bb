"""The ten-mode contract on simulated incidents: the cause is named in ten seconds, or said to be unknown."""

from functools import cache
from pathlib import Path

import pytest

from detector.contract.loader import check_text, load_contract
from detector.lab.outcome import digest_of
from detector.lab.simulator import simulate
from detector.modes.machine import ScopeMachine
from detector.pipeline import Pipeline
from topics.control import Evidence

TEXT = (Path(__file__).parents[2] / "deploy" / "ten-modes.yaml").read_text()
CONTRACT = load_contract(TEXT)
SCENARIO = {"calls_per_s": 100, "duration_s": 200, "fault_start_s": 130, "fault_duration_s": 45}

SIZES = {"hardware_throttling": 0.7, "inference_overload": 1.5, "parameter_corruption": 0.5}


@cache
def simulated(kind, profile="all_signals"):
    simulation = simulate(kind, 3, profile=profile, fault_size=SIZES[kind], **SCENARIO)
    return simulation, tuple(block for block in simulation.blocks() if block.records)


def judged(blocks, cut=None, restart_after=None):
    """Decisions on a simulation, its records cut into batches of `cut`, the pipeline restored once."""
    pipeline, decisions, offset = Pipeline(CONTRACT), [], 0
    for number, block in enumerate(blocks):
        if number == restart_after:
            saved = [pipeline.snapshot(route) for route in list(pipeline.routes)]
            pipeline = Pipeline(CONTRACT)
            for each in saved:
                assert pipeline.restore(each)
        size = cut or len(block.records)
        for start in range(0, len(block.records), size):
            some = block.records[start : start + size]
            decisions += pipeline.step(some, range(offset, offset + len(some)), [block.end] * len(some))
            offset += len(some)
    return decisions


def acted(decisions):
    return [each for each in decisions if each.disposition == "act" and each.kind != "extended"]


def test_the_shipped_contract_has_all_ten_modes_and_no_finding():
    """It passes `detector check`."""
    assert check_text(TEXT) == []
    assert len(CONTRACT.modes) == 10


def test_slow_answers_behind_other_questions_have_the_drifts_name():
    """Also where the drift had been found harmless: then it acts only for the harm's sake."""
    machine = ScopeMachine(CONTRACT, "chat", 0)
    machine.status.benign = ("questions",)
    assert not acted(machine.step(0.0, {"questions": Evidence(predicate="questions")}))
    both = {name: Evidence(predicate=name) for name in ("questions", "slow_responses")}
    (began,) = acted(machine.step(1.0, both))

    assert (began.kind, began.mode, began.muted) == ("activated", "input_drift", ("latency_spike",))


@pytest.mark.parametrize("cause", ["hardware_throttling", "inference_overload", "parameter_corruption"])
def test_the_cause_is_named_within_ten_seconds_of_acting_on_its_symptom(cause):
    """The first revision after the activation names the injected fault, and the symptom is muted."""
    simulation, blocks = simulated(cause)
    first, *later = acted(judged(blocks))
    named = next(each for each in later if each.mode == cause)

    assert simulation.incidents[0].start <= first.at
    assert first.kind == "activated"
    assert named.at - first.at <= 10
    assert first.mode in named.muted
    assert "decided by" in named.evidence.detail
    struck = simulation.incidents[0].scope.partition("@")[2]
    assert named.evidence.detail["deployment"] == (struck or "not localised")


def test_without_the_signals_of_a_cause_it_is_said_to_be_unknown():
    """Overload seen from an API alone is a latency spike, of unknown cause."""
    _, blocks = simulated("inference_overload", "api_only")
    decisions = acted(judged(blocks))

    assert {each.mode for each in decisions} <= {"latency_spike", "error_spike"}
    assert any("cause unknown" in each.reason for each in decisions)


@pytest.mark.parametrize(("cut", "restart_after"), [(1, None), (13, None), (None, 100), (None, 140)])
def test_causes_do_not_depend_on_batches_or_restarts(cut, restart_after):
    """The same records give the same decisions, cut anyhow or restored from a snapshot on the way."""
    _, blocks = simulated("hardware_throttling")

    decisions = judged(blocks)

    assert any(each.mode == "hardware_throttling" for each in decisions)
    assert digest_of(judged(blocks, cut, restart_after)) == digest_of(decisions)
