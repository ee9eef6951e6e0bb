"""Which class judges which predicate: one line for each pair of type and method."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from detector.contract.calibration import CalibratedPredicate
from detector.contract.model import PredicateSpec
from detector.predicates.absence import Absence
from detector.predicates.attributed import Attributed
from detector.predicates.base import Budget, Judge
from detector.predicates.bernoulli import BernoulliJudge
from detector.predicates.design_effect import LEAST, MARGIN
from detector.predicates.divergence import Divergence
from detector.predicates.evaluation_rate import EvaluationRate
from detector.predicates.exceedance import Exceedance
from detector.predicates.literal import LiteralDivergence, LiteralRate, RunRule
from detector.predicates.log_cusum import LogCusum
from detector.predicates.rate import Rate
from detector.predicates.repetition import Repetition
from detector.predicates.shortfall import Shortfall
from detector.predicates.where import Filtered

_LEAST_CEILING = 1e-6

Factory = Callable[[PredicateSpec, Budget], Judge]


def _river(spec: PredicateSpec, budget: Budget) -> Judge:
    # River takes a second to import; only those who ask for it wait.
    from detector.predicates.river_adapter import RiverJudge

    return RiverJudge(spec, budget)


PREDICATES: dict[tuple[str, str], Factory] = {
    ("divergence", "default"): Divergence,
    ("divergence", "literal"): LiteralDivergence,
    ("rate", "default"): Rate,
    ("rate", "literal"): LiteralRate,
    ("evaluation", "default"): EvaluationRate,
    ("exceedance", "default"): Exceedance,
    ("exceedance", "literal"): RunRule,
    ("exceedance", "log_cusum"): LogCusum,
    ("absence", "default"): Absence,
    ("absence", "literal"): Absence,
    ("attribution", "default"): Attributed,
    ("repetition", "default"): Repetition,
    ("shortfall", "default"): Shortfall,
    ("divergence", "adwin"): _river,
    ("divergence", "kswin"): _river,
    ("divergence", "page_hinkley"): _river,
    ("rate", "adwin"): _river,
    ("rate", "kswin"): _river,
    ("rate", "page_hinkley"): _river,
    ("exceedance", "adwin"): _river,
    ("exceedance", "kswin"): _river,
    ("exceedance", "page_hinkley"): _river,
}


def judge_for(
    spec: PredicateSpec,
    budget: Budget,
    calibrated: CalibratedPredicate | None = None,
    known_until: float | None = None,
) -> Judge:
    """Make the judge of one predicate for one route.

    Args:
        spec: the predicate as the contract states it.
        budget: what it may cost in false alarms.
        calibrated: what was learnt about it on this route.
        known_until: event time of the last record that it was learnt from, Unix seconds.

    Raises:
        ValueError: the contract names a pair that does not exist, or a field that cannot be judged so.
    """
    judge = _judge(spec, budget, calibrated, known_until)
    return Filtered(judge) if spec.where else judge


def _judge(
    spec: PredicateSpec, budget: Budget, calibrated: CalibratedPredicate | None, known_until: float | None
) -> Judge:
    try:
        make = PREDICATES["evaluation" if spec.evaluation else spec.type, spec.method]
    except KeyError:
        raise ValueError(f"predicate {spec.name}: no method {spec.method!r} for type {spec.type!r}") from None
    if calibrated is None or spec.method != "default":
        return make(spec, _dependent(spec, budget))
    spec, budget = applied(spec, budget, calibrated)
    if make is Divergence:
        return Divergence(spec, budget, calibrated, known_until)
    judge = make(spec, budget)
    # Learnt from verdicts as they were given, where the stated ceiling is a true rate.
    ceiling = spec.judge.observed(spec.ceiling) if spec.judge else spec.ceiling
    exceeded = not calibrated.usable and (calibrated.ceiling or 0.0) > ceiling
    if exceeded and "ceiling" in spec.stated and isinstance(judge, BernoulliJudge):
        judge.begin_unusable(calibrated.rate)
    return judge


def _dependent(spec: PredicateSpec, budget: Budget) -> Budget:
    """The budget where a design effect is stated and no calibration has found the run length that keeps it.

    Tempering by the effect alone falls short of A = 1e5 by 2.5 times at an autocorrelation of 0.4, by 4
    at 0.7 and by 3 at 0.9; with the margin A is exceeded there (simulated). The greater A is, the more it
    falls short: an estimate in any case, which calibration replaces by one from the traffic itself.
    """
    if spec.design_effect <= LEAST:
        return budget
    return replace(budget, run_length=budget.run_length * MARGIN)


def applied(
    spec: PredicateSpec, budget: Budget, calibrated: CalibratedPredicate
) -> tuple[PredicateSpec, Budget]:
    """Fill in from calibration what the contract leaves open; what it states stands.

    The run length is the greater of the two: dependence only ever asks for more, and a budget made
    stricter after the calibration counts at once.
    """
    # What calibration knows is not to be learnt again from the stream.
    learnt: dict[str, Any] = {"stated": (*spec.stated, "design_effect")}
    if "design_effect" not in spec.stated:
        learnt["design_effect"] = calibrated.design_effect
    if "ceiling" not in spec.stated and calibrated.ceiling is not None:
        # Learnt from verdicts as they were, right or wrong.
        learnt["ceiling"] = (
            max(_LEAST_CEILING, spec.judge.corrected(calibrated.ceiling))
            if spec.judge
            else calibrated.ceiling
        )
    if calibrated.run_length is None:
        filled = replace(spec, **learnt)
        return filled, _dependent(filled, budget)
    run_length = max(budget.run_length, calibrated.run_length)
    return replace(spec, **learnt), replace(budget, run_length=run_length)
