"""An activation has the name of its cause as it was known last: the symptom is often felt first."""

import json
import random

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from detector.cli.main import build
from detector.contract import load_contract
from detector.lab import replay
from detector.lab.label import candidates_of_replay, candidates_of_transitions
from detector.lab.matching import merge
from detector.lab.outcome import activations_of
from tests.unit.lab.test_replay import JSON_KEYS, T0

CONTRACT = """
version: 1
predicates:
  slow_responses: {type: exceedance, field: latency_s, above_ms: 200, ceiling: 0.01}
  slow_upstream: {type: exceedance, field: upstream_s, above_ms: 100, ceiling: 0.01}
modes:
  external_api_latency: {when: slow_upstream, mutes: [latency_spike]}
  latency_spike: {when: slow_responses}
fallbacks:
  rule: {type: rule, p99_ms: 20, share: 1}
matrix:
  - {mode: "*", input_class: "*", fallbacks: [rule]}
"""
ACTIVATION_KEYS = {
    "scope",
    "mode",
    "predicate",
    "disposition",
    "activated_at",
    "deactivated_at",
    "evidence",
}


def calls():
    """Ten a second; slow from 60 s to 120 s, and from 70 s on the external API says that it is why."""
    draw = random.Random(7)
    for i in range(1800):
        slow = 60 <= i / 10 < 120
        yield {
            "event_time": T0 + i / 10,
            "route": "chat",
            "error": "",
            "latency_s": draw.uniform(0.4, 0.6) if slow else draw.uniform(0.02, 0.1),
            "upstream_s": draw.uniform(0.3, 0.4) if slow and i >= 700 else draw.uniform(0.01, 0.02),
        }


@pytest.fixture(scope="module")
def frame():
    return pa.Table.from_pylist(list(calls()))


@pytest.fixture(scope="module")
def found(frame):
    return replay(frame, CONTRACT)


def test_the_cause_that_was_named_last_is_that_of_the_activation(found):
    """With its predicate and evidence, and when it was named; its beginning and delay stay what they were."""
    opened, *later = [each for each in found.result.decisions if each.disposition == "act"]
    naming = next(each for each in later if each.mode == "external_api_latency")
    (activation,) = found.result.activations
    (merged,) = merge(found.result.activations)
    lateness_s = load_contract(CONTRACT).defaults.lateness_s

    assert (opened.mode, naming.kind) == ("latency_spike", "revised")
    assert (activation.mode, activation.predicate) == ("external_api_latency", "slow_upstream")
    assert (activation.evidence, activation.opened_by) == (naming.evidence, opened.evidence)
    assert activation.activated_at == opened.at < activation.named_at == naming.at
    assert merged.decided_at(lateness_s) == merge(activations_of([opened]))[0].decided_at(lateness_s)


def test_what_is_never_named_anew_has_no_time_of_naming(found):
    """Other transitions, such as those of the ramp, name nothing."""
    ramp = [each for each in found.result.decisions if each.mode != "external_api_latency"]
    (activation,) = activations_of(ramp)

    assert (activation.mode, activation.named_at, activation.opened_by) == ("latency_spike", None, None)


def test_every_way_to_look_at_it_says_so(found, frame, tmp_path):
    """The text, the document, whose keys stay as they were, a notebook's frame, and what is labelled."""
    file, contract = tmp_path / "calls.jsonl", tmp_path / "contract.yaml"
    file.write_text("\n".join(map(json.dumps, frame.to_pylist())))
    contract.write_text(CONTRACT)
    text, document = (
        CliRunner().invoke(build(), ["replay", str(file), "--contract", str(contract), *more]).stdout
        for more in ([], ["--json"])
    )
    (row,) = found.activations().to_pylist()
    (activation,) = json.loads(document)["activations"]
    (tmp_path / "out.json").write_text(document)

    took_s = row["named_at"] - row["activated_at"]
    assert f"external_api_latency (named {took_s:.1f} s later)" in text
    assert (row["mode"], row["predicate"]) == ("external_api_latency", "slow_upstream")
    assert (set(json.loads(document)), set(activation)) == (JSON_KEYS, ACTIVATION_KEYS)
    assert activation["evidence"]["predicate"] == activation["predicate"] == "slow_upstream"
    for candidates in (
        candidates_of_replay(tmp_path / "out.json"),
        candidates_of_transitions(found.records()),
    ):
        assert [each.mode for each in candidates] == ["external_api_latency"]
