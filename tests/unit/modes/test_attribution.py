"""The decision table: every row can decide, and none does where a signal that it needs is missing."""

from dataclasses import replace
from typing import get_args

import pytest

from detector.contract.model import Cause
from detector.modes.attribution import CAUSES, TABLE, kind_of
from detector.modes.catalog import FAILURE_MODES
from detector.modes.localisation import at_fault
from detector.predicates.shift import MISSING, SIGNALS, Level, Shift
from detector.windows.columns import DERIVED
from tests.builders import spec

HIGH, NORMAL, UNCLEAR = Shift(Level.HIGH, 1.0, 20.0, 100), Shift(Level.NORMAL), Shift(Level.UNCLEAR, z=4.0)
KINDS = frozenset({"slow", "failing", "quality", "answers", "questions"})
NOTHING = dict.fromkeys(SIGNALS, MISSING)
EACH = pytest.mark.parametrize("row", TABLE, ids=[f"{i}-{row.cause}" for i, row in enumerate(TABLE)])


def first(shifts, kinds=KINDS):
    return next((row.cause for row in TABLE if row.matches(kinds, shifts)), "")


def evidence_for(row):
    """Just what the row needs, and nothing else measured."""
    high = (*row.all_of, *row.one_of[:1])
    return NOTHING | dict.fromkeys(row.normal, NORMAL) | dict.fromkeys(high, HIGH)


def test_causes_are_the_failure_modes_that_a_contract_may_ask_for():
    """Table, contract and catalogue agree."""
    assert set(CAUSES) == set(get_args(Cause)) - {""}
    assert set(CAUSES) <= set(FAILURE_MODES)


def test_every_signal_of_the_table_exists():
    """A row that looks at a signal nobody keeps would never match."""
    assert {name for row in TABLE for name in row.signals} <= set(SIGNALS)


def test_nothing_measured_is_no_cause():
    """No signal, or only normal or unclear ones: unknown."""
    for shift in (MISSING, NORMAL, UNCLEAR):
        assert first(dict.fromkeys(SIGNALS, shift)) == ""


@EACH
def test_each_row_decides_on_its_own_evidence(row):
    """What a row asks for is enough for it, and no row before it takes it away."""
    assert first(evidence_for(row)) == row.cause


@EACH
@pytest.mark.parametrize("instead", [MISSING, UNCLEAR], ids=["missing", "unclear"])
def test_a_row_needs_each_of_its_signals(row, instead):
    """Take away any signal that the row needs, or make it unclear: unknown, never a guess."""
    needed = (*row.all_of, *row.one_of[:1], *row.normal)
    for name in needed:
        assert first(evidence_for(row) | {name: instead}) == ""


@EACH
def test_a_row_explains_only_its_symptoms(row):
    """The same signals beside a symptom that the cause does not have: not named."""
    for kind in KINDS:
        assert row.matches(frozenset({kind}), evidence_for(row)) == (kind in row.explains)
    assert not row.matches(frozenset({""}), evidence_for(row))


def test_slow_calls_alone_are_no_throttling():
    """Slow tokens without a word from the device, and a slow device whose tokens are not slow: unknown."""
    assert first(NOTHING | {"latency": HIGH, "own": HIGH, "decode": HIGH}) == ""
    assert first(NOTHING | {"latency": HIGH, "own": HIGH, "decode": NORMAL, "clock": HIGH}) == ""


def test_questions_and_answers_that_both_moved_are_unknown_until_golden_prompts_tell():
    """Whether answers moved because of the questions cannot be told from lengths alone."""
    both = dict.fromkeys(SIGNALS, NORMAL) | {"input": HIGH, "output": HIGH, "logprob": HIGH}

    assert first(both) == ""
    assert first(both | {"golden": HIGH}) == "parameter_corruption"


def test_a_predicate_is_a_symptom_by_what_it_judges():
    """Evaluations are of quality; a field of one's own says nothing that the table knows."""
    assert kind_of(spec("exceedance")) == "slow"
    assert {kind_of(spec("exceedance", field=field)) for field in DERIVED} == {"slow"}
    assert kind_of(spec("rate", field="error")) == "failing"
    assert kind_of(replace(spec("rate"), field="", evaluation="toxicity")) == "quality"
    assert kind_of(spec("divergence", field="features.topic")) == ""


def changes(**z):
    return {
        name: {"error": MISSING if value is None else Shift(level_of(value), value / 20, value, 100)}
        for name, value in z.items()
    }


def level_of(z):
    return Level.HIGH if z >= 6 else Level.NORMAL if z < 3 else Level.UNCLEAR


@pytest.mark.parametrize(
    ("shifts", "found"),
    [
        (changes(a=20, b=0, c=1), "a"),
        (changes(a=20, b=0), ""),  # under three deployments
        (changes(a=20, b=0, c=None), ""),  # too few calls on the third
        (changes(a=20, b=20, c=0), ""),  # two are at fault
        (changes(a=20, b=20, c=20), ""),  # all are
        (changes(a=5, b=0, c=0), ""),  # none is for sure
        (changes(a=7, b=5, c=5), ""),  # the others have changed nearly as much
        ({}, ""),
    ],
)
def test_one_deployment_is_at_fault_if_it_alone_has_changed(shifts, found):
    """Each against its own reference; then the difference of the changes."""
    assert at_fault(["error"], shifts) == found


def test_the_most_telling_signal_that_was_measured_localises():
    """A signal that was not measured on three deployments is passed over."""
    shifts = {name: {"clock": MISSING, "decode": HIGH if name == "b" else NORMAL} for name in ("a", "b", "c")}

    assert at_fault(["clock", "decode"], shifts) == "b"
