"""What might be judged beside what the contract judges, and what that would bring on this traffic."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from detector.contract.calibration import CalibratedPredicate
from detector.contract.model import Contract, PredicateSpec
from detector.lab.calibrate import first_token, given_tenant
from detector.lab.calibrate.pairs import PairTally
from detector.lab.calibrate.tally import Ints, ShareTally, ValueTally

EVERY = 4  # calls: a quarter of them says well enough what it would bring


def candidates(contract: Contract) -> list[PredicateSpec]:
    """What is worth a look; of several beside one predicate the last that is worth something is told."""
    return [*first_token.candidates(contract), *given_tenant.candidates(contract)]


def advice(
    beside: Sequence[PredicateSpec],
    tallies: Mapping[str, ShareTally | ValueTally | PairTally],
    judged: Sequence[tuple[PredicateSpec, CalibratedPredicate]],
    left_out: Ints,
    pace: float,
    alpha: float,
) -> dict[str, str]:
    """Predicate of the contract -> what is to be said beside it.

    Args:
        beside: the candidates.
        tallies: by predicate and candidate, what the route's calls came to.
        judged: the route's predicates, and what was learnt about them.
        left_out: minutes taken for incidents.
        pace: calls a second.
        alpha: error probability of one evaluation of a divergence.
    """
    said: dict[str, str] = {}
    for each in beside:
        there = tallies[each.name]
        for spec, one in judged:
            whole, found, mine = tallies[spec.name], None, replace(each, routes=spec.routes)
            if isinstance(there, PairTally) and given_tenant.judges_all(spec, each.field):
                found = given_tenant.advice(mine, there, one, left_out, pace, alpha)
            elif (
                isinstance(there, ShareTally)
                and isinstance(whole, ShareTally)
                and first_token.judges_whole(spec)
            ):
                above_ms = one.proposed_above_ms or spec.above_ms or 0.0
                found = first_token.advice(mine, there, whole, above_ms, left_out)
            if found is not None:
                said[spec.name] = found
    return said
