"""What records say of why: of what still holds, by what was seen, and never of something else."""

from dataclasses import replace

import pytest

from detector.contract.calibration import CalibratedPredicate, CalibratedRoute, Calibration
from detector.contract.model import Condition, PredicateSpec
from detector.pipeline import Pipeline
from tests.builders import T0, contract, spec
from tests.unit.modes.traffic import ERRORS, QUESTIONS, SLOW, mode, stream


def test_what_a_recovered_mode_did_is_not_called_harmless_for_anothers_sake():
    """A benign drift of questions stands as a notice; errors that come and go have recovered."""
    rules = contract([ERRORS, QUESTIONS])

    def call(at, name, draw):
        return {
            "input_tokens": int(draw.lognormal(6 if at >= 900 else 5, 0.6)) + 1,
            "error": "x" if 1000 <= at < 1010 and draw.random() < 0.5 else "",
        }

    told = Pipeline(rules).step(*stream(1060, call).args())
    ends = [each.reason for each in told if each.kind == "deactivated" and each.disposition == "act"]

    assert ends == ["questions does no harm", "recovered from errors"]


def test_evidence_is_of_what_still_holds():
    """Errors are over, slowness is not: the next record tells of the latter."""
    rules = contract([ERRORS, SLOW], [mode("broken", Condition(1, ("errors", "slow")))])
    told = Pipeline(rules).step(
        *stream(
            120,
            lambda at, name, draw: {
                "error": "x" if 60 <= at < 80 and draw.random() < 0.5 else "",
                "latency_s": 0.4 if at >= 70 else 0.1,
            },
        ).args()
    )
    last = [each for each in told if each.kind == "extended"][-1]

    assert told[0].evidence.predicate == "errors"
    assert last.state == "active"
    assert last.evidence.predicate == "slow"


def test_no_probe_is_inconclusive():
    """Verdicts cease with the first bad ones: nothing was shown since, and it is said so."""
    rules = contract([spec("rate", name="evals", ceiling=0.01)])
    some = stream(100, lambda at, *_: {"hallucinated": at >= 60 if at < 60.2 else None})
    told = Pipeline(rules).step(*some.args())
    extended = [each.reason for each in told if each.kind == "extended"]

    assert len(extended) >= 3
    assert all("inconclusive: no probe with a verdict" in reason for reason in extended)


def test_a_notice_of_the_first_second_points_at_a_record():
    """All calls have been slow from the start on: unusable before any pane was closed."""
    told = Pipeline(contract([SLOW])).step(*stream(2, lambda at, name, draw: {"latency_s": 0.4}).args())

    assert "unusable" in told[0].reason
    assert told[0].evidence.offset >= 0
    assert T0 <= told[0].evidence.event_time < T0 + 2


def test_to_calibrate_is_no_advice_where_calibration_learns_nothing():
    """Answers that repeat themselves from the start on: no recording teaches how many may."""
    repeats = PredicateSpec(name="repeats", type="repetition", field="token_ids", above_share=0.5)
    calls = stream(30, lambda *_: {"token_ids": [7] * 20, "latency_s": 0.4}).args()
    told = {each.name: Pipeline(contract([each])).step(*calls)[0].reason for each in (repeats, SLOW)}

    assert told["repeats"].endswith("raise it, as calibration does not learn it")
    assert told["slow"].endswith("calibrate or raise it")


@pytest.mark.parametrize("learnt", [None, 0.03], ids=["stated", "learnt"])
def test_calls_that_kept_a_limit_are_not_said_to_have_broken_it(learnt):
    """A hundred good ones are too few to tell an eighth of slow ones from how the traffic always is.

    Also where two of a hundred were slow, more than the contract's default and less than what was learnt.
    """
    rules, usual = contract([SLOW if learnt is None else replace(SLOW, stated=())]), 0.02 if learnt else 0.0
    if learnt:
        one = CalibratedPredicate(made_for=SLOW.subject, records=10_000, rate=0.015, ceiling=learnt)
        routes = {"chat": CalibratedRoute(records_per_s=10.0, predicates={"slow": one})}
        rules = replace(rules, calibration=Calibration(records=10_000, routes=routes))
    calls = stream(
        60, lambda at, name, draw: {"latency_s": 0.4 if draw.random() < (usual if at < 4 else 0.08) else 0.1}
    )
    (notice,) = [each for each in Pipeline(rules).step(*calls.args()) if "unusable" in each.reason]

    assert notice.disposition == "notice"
    assert "never seen within" not in notice.reason
    assert "kept its limit, too few to call it a change" in notice.reason
