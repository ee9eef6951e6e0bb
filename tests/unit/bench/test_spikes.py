"""Calls of a drill: healthy ones trip nothing, and a spike trips its own mode, in either shipped contract."""

from dataclasses import replace
from pathlib import Path

import pytest

from detector.bench.drill import planned
from detector.bench.spikes import Caller, CannotDrillError, predicates_of
from detector.contract import example_text, load_contract
from detector.contract.model import Condition, Mode
from detector.pipeline import Pipeline
from tests.builders import T0, contract, spec
from topics.codec import encode
from topics.telemetry import decode_telemetry

TEN = (Path(__file__).parents[3] / "deploy" / "ten-modes.yaml").read_text("utf-8")
CONTRACTS = {"example": load_contract(example_text()), "ten modes": load_contract(TEN)}
MODES = [
    (name, mode.name)
    for name, each in CONTRACTS.items()
    for mode in each.modes.values()
    if mode.severity == "act"
]


class Played:
    """A drilled route without a broker; nobody obeys."""

    def __init__(self, judged_by, mode):
        self.caller = Caller(judged_by, mode, "drill")
        self.pipeline = Pipeline(judged_by)
        self.at = T0
        self.offset = 0

    def play(self, seconds, per_s, *, spike=False):
        decisions = []
        calls = []
        for _ in range(int(seconds * per_s)):
            self.at += 1 / per_s
            calls.append(self.caller.call(self.at, spike=spike))
        for call in calls:
            told = self.caller.verdicts(call, spike=spike)
            decisions += self.pipeline.step([call], [self.offset], [call.event_time])
            times = [each.event_time for each in told]
            decisions += self.pipeline.step_evaluations(told, [self.offset] * len(told), times)
            self.offset += 1
        return [each for each in decisions if each.disposition == "act"]


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_a_spike_is_acted_on_as_its_mode_and_what_comes_before_is_not(name, mode):
    judged_by = CONTRACTS[name]
    played = Played(judged_by, judged_by.modes[mode])

    assert played.play(played.caller.history_s, played.caller.history_per_s) == []
    acted = played.play(20, 50, spike=True)

    assert acted[0].kind == "activated"
    assert any(mode in (each.mode, *each.modes) for each in acted)


@pytest.mark.parametrize(
    "predicate",
    [
        spec("rate", name="verdicts", field="", evaluation="hallucination", ceiling=0.02),
        spec("rate", name="scores", field="", evaluation="faith", score_below=0.5, ceiling=0.02),
        spec("rate", name="golden", field="golden_ok", ceiling=0.02),
        spec("rate", name="risky", field="refused", ceiling=0.02, where=(("input_class", ("high_risk",)),)),
        spec("exceedance", name="pace", field="tpot_s", above_ms=50.0, ceiling=0.02),
        spec("exceedance", name="first", field="ttft_s", above_ms=100.0, ceiling=0.02),
        spec("exceedance", name="start", field="ttft_unqueued_s", above_ms=100.0, ceiling=0.02),
        spec("exceedance", name="wait", field="queue_s", above_ms=20.0, ceiling=0.02),
        spec("exceedance", name="cost", field="features.cost", above_ms=100.0, ceiling=0.02),
        spec("divergence", name="classes", field="template", window_s=30.0),
        spec("divergence", name="tokens", field="token_ids", window_s=30.0),
        spec("divergence", name="score", field="features.score", window_s=30.0),
    ],
    ids=lambda each: each.name,
)
def test_every_kind_of_predicate_has_its_spike(predicate):
    judged_by = contract([predicate])
    played = Played(judged_by, judged_by.modes[predicate.name])

    assert played.play(played.caller.history_s, played.caller.history_per_s) == []
    assert played.play(20, 50, spike=True)


def test_calls_are_telemetry_that_the_decoder_takes():
    judged_by = CONTRACTS["ten modes"]
    for mode in judged_by.modes.values():
        if mode.severity == "act":
            caller = Caller(judged_by, mode, "drill")
            for spike in (False, True):
                call = caller.call(T0, spike=spike)
                assert decode_telemetry(encode(call)) == call
                assert call.latency_s >= call.ttft_s >= call.upstream_s >= 0


def test_a_mode_on_several_predicates_gets_as_many_as_it_takes():
    errors, slow, silent = (
        spec("rate", name="e", field="error"),
        spec("exceedance", name="s"),
        spec("absence", name="a"),
    )
    judged_by = contract([errors, slow, silent])

    def asked(least):
        return predicates_of(judged_by, Mode(name="m", when=Condition(least, ("a", "e", "s"))), "drill")

    assert [each.name for each in asked(1)] == ["e"]
    assert [each.name for each in asked(2)] == ["e", "s"]
    with pytest.raises(CannotDrillError, match="a, e, s"):
        asked(3)


def test_a_mode_for_some_routes_is_drilled_on_one_of_them():
    """On one that no other mode has; where none is left that is said."""
    slow = spec("exceedance", name="slow", routes=("embed",))
    both = [
        replace(slow, name="slower", routes=("embed", "rerank")),
        spec("rate", name="errors", field="error"),
    ]
    drills, left = planned(contract([slow, *both, replace(slow, name="slowest")]))

    assert [each.route for each in drills] == ["embed", "rerank", "drill-errors"]
    assert [(each.mode, each.why) for each in left] == [
        ("slowest", ["its routes are taken by other modes: embed"])
    ]
