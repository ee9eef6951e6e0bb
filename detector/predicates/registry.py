"""Which class judges which predicate: one line for each pair of type and method."""

from collections.abc import Callable

from detector.contract.model import PredicateSpec
from detector.predicates.absence import Absence
from detector.predicates.base import Budget, Judge
from detector.predicates.divergence import Divergence
from detector.predicates.evaluation_rate import EvaluationRate
from detector.predicates.exceedance import Exceedance
from detector.predicates.literal import LiteralDivergence, LiteralRate, RunRule
from detector.predicates.rate import Rate

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
    ("absence", "default"): Absence,
    ("absence", "literal"): Absence,
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


def judge_for(spec: PredicateSpec, budget: Budget) -> Judge:
    """Make the judge of one predicate for one route.

    Raises:
        ValueError: the contract names a pair that does not exist, or a field that cannot be judged so.
    """
    try:
        make = PREDICATES["evaluation" if spec.evaluation else spec.type, spec.method]
    except KeyError:
        raise ValueError(f"predicate {spec.name}: no method {spec.method!r} for type {spec.type!r}") from None
    return make(spec, budget)
