"""Answers given the tenant: what calibration learns of them, and when it proposes them."""

import math
import random
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from detector.contract import load_contract
from detector.contract.loader import check_text
from detector.contract.model import PredicateSpec
from detector.lab.calibrate import calibrate, report, spread
from detector.lab.calibrate.gather import Gathered
from detector.lab.calibrate.given_tenant import candidates, judges_all
from detector.lab.calibrate.pairs import PairTally
from detector.lab.calibrate.section import with_calibration
from detector.predicates.base import Budget
from detector.predicates.bins import TOKEN_BINS
from detector.predicates.registry import judge_for
from tests.unit.lab.calibrate.test_calibrate import EXAMPLE, T0
from topics.telemetry import TelemetryRecord

PROPOSED = "answer_drift: {type: divergence, field: output_tokens, given: tenant}"
GIVEN = EXAMPLE.replace("  silence: ", f"  {PROPOSED}\n  silence: ").replace(
    "{when: output_drift}", "{when: {any: [answer_drift, output_drift]}}"
)
LENGTHS = {"ada": 3, "bob": 40, "cyd": 300, "dan": 2000}


def written(path, sway=0.9, tenants=LENGTHS, hours=2.0, per_s=10, field="output_tokens"):
    """Callers whose answers (`field`) are far apart in length, and whose mix sways every twenty minutes."""
    draw = random.Random(4)
    with path.open("wb") as out:
        for i in range(int(hours * 3600 * per_s)):
            at = i / per_s
            weights = [
                1 + sway * math.sin(2 * math.pi * (at / 1200 + place / len(LENGTHS)))
                for place in range(len(LENGTHS))
            ]
            name, length = draw.choices(list(LENGTHS.items()), weights)[0]
            call = {
                "event_time": T0 + at,
                "route": "chat",
                "tenant": name if name in tenants else "all",
                "input_tokens": 100,
                "output_tokens": 100,
                field: int(length * draw.lognormvariate(0, 0.5)) + 1,
            }
            out.write(msgspec.json.encode(call) + b"\n")
    return path


def said(path, text=EXAMPLE):
    """What is proposed."""
    found = calibrate([path], load_contract(text))
    return [says for one in found.learnt for says in one.limits if "given: tenant" in says]


def test_it_is_proposed_where_the_mix_hides_what_answers_do(tmp_path):
    """With what would be found; the line can be put into the contract as it stands."""
    (says,) = said(written(tmp_path / "a.jsonl"))

    assert says.endswith(f"Consider {PROPOSED}.")
    own = EXAMPLE.replace(
        "field: output_tokens, threshold_nats: 0.07, window_s: 300",
        "field: output_tokens, threshold_nats: 0.1, window_s: 120",
    )
    assert own != EXAMPLE
    assert "given: tenant, threshold_nats: 0.1, window_s: 120}." in said(tmp_path / "a.jsonl", own)[0]
    assert not [each for each in check_text(GIVEN) if each.severity == "error"]


def test_questions_are_proposed_likewise(tmp_path):
    """Where it is the questions of each caller that stay alike; answers that never differ need nothing."""
    (says,) = said(written(tmp_path / "a.jsonl", field="input_tokens"))

    assert says.startswith("Among all questions, whoever asks how often, ")
    assert says.endswith("Consider question_drift: {type: divergence, field: input_tokens, given: tenant}.")


@pytest.mark.parametrize(
    ("traffic", "text"),
    [({"sway": 0.0}, EXAMPLE), ({"tenants": ()}, EXAMPLE), ({}, GIVEN)],
    ids=["steady mix", "one tenant", "judged already"],
)
def test_nothing_is_proposed_where_it_would_not_help(tmp_path, traffic, text):
    """Where the mix is steady, where nobody tells callers apart, and where it is judged."""
    assert said(written(tmp_path / "a.jsonl", **traffic), text) == []


def test_what_is_learnt_of_it_can_be_judged_by(tmp_path):
    """The section passes `check`; the judge is armed by it at once, and held to less than all answers are."""
    contract = load_contract(GIVEN)
    found = calibrate([written(tmp_path / "a.jsonl")], contract)
    text, _ = with_calibration(GIVEN, found.calibration)
    plain, given = (
        found.calibration.routes["chat"].predicates[name] for name in ("output_drift", "answer_drift")
    )

    assert msgspec.json.encode(report.as_json(found))
    assert not [each for each in check_text(text) if each.severity == "error"]
    (strayed,) = [one.strayed for one in found.learnt if one.spec.name == "answer_drift"]
    assert all(abs(median) < 0.01 for median, _, _ in strayed.values())
    assert given.categories == tuple(LENGTHS)
    assert len(given.reference) == 4 * TOKEN_BINS
    assert given.records == sum(given.reference) == plain.records
    assert given.thresholds_nats[300] < 0.15
    assert given.tolerance_nats == 0.035
    assert plain.thresholds_nats[300] > 0.5
    assert given.smallest_detectable_nats < plain.smallest_detectable_nats / 4
    again = load_contract(text)
    judge = judge_for(
        again.predicates["answer_drift"], Budget(1e9, 1e-9), again.calibrated("chat", "answer_drift")
    )
    assert judge._stream.yardstick is not None
    assert judge._stream.limits.strata == 4


def test_lengths_need_no_names():
    """Octaves of the question, in their order."""
    tally = PairTally("input_tokens")
    tally.add(np.array([T0, T0, T0 + 1.0]), [10, 40, 5000], [1, 2, 3])
    tally.settle()
    seconds, table = spread.panes(tally)

    assert tally.categories is None
    assert (seconds - T0).tolist() == [0, 1]
    assert np.flatnonzero(table[0]).tolist() == [1, TOKEN_BINS + 2]
    assert np.flatnonzero(table[1]).tolist() == [8 * TOKEN_BINS + 2]


def test_the_callers_with_most_calls_are_told_apart_and_no_call_is_lost(monkeypatch):
    """Fifteen of them, before as after the table has grown too large to go on; the others lie behind them."""
    draw = np.random.default_rng(5)
    names = [f"t{min(i, 40)}" for i in draw.geometric(0.15, 9000)]
    times, tokens = T0 + np.arange(9000) / 20, draw.integers(1, 500, 9000)

    def told(tally):
        for start in range(0, 9000, 1000):
            part = slice(start, start + 1000)
            tally.add(times[part], names[part], tokens[part].tolist())
        tally.settle()
        return tally

    whole = told(PairTally("tenant"))
    monkeypatch.setattr(sys.modules[PairTally.__module__], "MOST_CELLS", 5000)
    early = told(PairTally("tenant"))

    for tally in (whole, early):
        assert tally.strata == 15
        by_stratum = tally.totals().reshape(16, TOKEN_BINS).sum(axis=1)
        assert by_stratum.sum() == 9000
        assert by_stratum[tally.categories.index("t1")] == names.count("t1")
        found = spread.measure(tally, np.zeros(0, np.int64), 300, 0.07, None)
        assert found.records == by_stratum[:15].sum()
        assert found.judged_share == pytest.approx(found.records / 9000)
        assert len(found.reference) == 15 * TOKEN_BINS
    assert "t40" not in whole.categories
    assert 0.8 < found.judged_share < 0.95
    some = replace(found, thresholds_nats={300: 0.07}, tolerance_nats=0.035)
    whole_share = replace(some, judged_share=1.0)
    least = [spread.smallest_detectable(each, 300, 10.0, 1e-8) for each in (whole_share, some)]
    assert least[0] < least[1]


def test_dependence_within_strata_is_what_counts():
    """Callers who come in turns make no answers depend on each other; equal answers in a row do."""
    draw = np.random.default_rng(6)

    def phi(repeated):
        rows, per_s = 20_000, 40
        tenants = np.repeat(draw.integers(0, 2, rows // 200), 200)
        places = np.repeat(draw.integers(0, 8, rows // repeated), repeated)
        table = np.zeros((rows // per_s, 2 * TOKEN_BINS), np.int64)
        np.add.at(table, (np.arange(rows) // per_s, tenants * TOKEN_BINS + places), 1)
        cells = spread.Counted(*np.nonzero(table), table[np.nonzero(table)])
        return spread._within(cells, 2, TOKEN_BINS), spread.design_effect(table)

    within, whole = phi(1)
    assert within < 1.2
    assert whole > 2
    assert phi(4)[0] > 2.5


def test_what_is_judged_already_is_not_looked_at():
    """All answers and all questions, unless they are judged by caller or not at all."""

    def looked_at(text):
        return [(each.name, each.field, each.given) for each in candidates(load_contract(text))]

    questions = ("question_drift", "input_tokens", "tenant")
    assert looked_at(EXAMPLE) == [("answer_drift", "output_tokens", "tenant"), questions]
    assert looked_at(GIVEN) == [questions]
    assert not judges_all(PredicateSpec(name="p", type="divergence", field="input_tokens"), "output_tokens")


def test_what_chance_explains_is_no_sign_of_what_may_come() -> None:
    """Of four strata chance alone comes to more than a hundredth of a nat in five minutes of two hours."""
    reference = np.tile(np.full(TOKEN_BINS, 250), 4)

    assert spread._slow(7200, reference, 300, 1.0, 0.01, 4) == 0.0
    assert spread._slow(7200, reference, 300, 1.0, 0.2, 4) > 0.5


def test_answers_to_questions_of_the_same_length_are_learnt_and_judged(tmp_path):
    """A token count that is given has octaves for strata; its calibration can be judged by."""
    text = GIVEN.replace("given: tenant", "given: input_tokens")
    found = calibrate([written(tmp_path / "a.jsonl")], load_contract(text))
    filled, _ = with_calibration(text, found.calibration)
    again = load_contract(filled)
    one = again.calibrated("chat", "answer_drift")
    judge = judge_for(again.predicates["answer_drift"], Budget(1e9, 1e-9), one)

    assert not [each for each in check_text(filled) if each.severity == "error"]
    assert one.categories is None
    assert one.made_for == "divergence of output_tokens given input_tokens"
    assert len(one.reference) == 9 * TOKEN_BINS
    assert judge._stream.yardstick.n == one.records == 72_000


def test_only_answers_of_the_primary_are_learnt_and_questions_whoever_answers():
    """A failed call has no answer; a fallback's answer says nothing of the primary, its question does."""
    text = GIVEN.replace(
        "  silence: ", "  asked: {type: divergence, field: input_tokens, given: tenant}\n  silence: "
    ).replace("{when: input_drift}", "{when: {any: [asked, input_drift]}}")
    calls = [
        TelemetryRecord(event_time=T0 + i, route="r", tenant="ada", input_tokens=9, output_tokens=5, **how)
        for i, how in enumerate(
            [
                {},
                {"error": "500"},
                {"served_by": "rule"},
                {"probe": True},
                {"served_by": "rule", "error": "500"},
            ]
        )
    ]
    gathered = Gathered(load_contract(text))
    gathered.take(iter(calls))
    of = gathered.routes["r"].of

    assert (of["answer_drift"].cells.read()[0] - T0).tolist() == [0, 3]
    assert (of["asked"].cells.read()[0] - T0).tolist() == [0, 2, 3]
