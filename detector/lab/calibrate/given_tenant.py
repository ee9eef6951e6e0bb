"""Would answers to the same tenant, or its questions, show a change that the mix of tenants hides?

Each tenant's answers stay much as they are while tenants come and go, so a drift's threshold need not allow
for the mix. Measured on simulated traffic at 20 calls/s, calibrated on a day, of 24 drifts of 0.3 and 0.7
nats over 30 and 90 s: answers as they come showed 3, answers given the tenant 19. At 10 calls/s, of 48 drifts
of questions: all questions showed none, those given the tenant 19, and in twelve healthy days all questions
were falsely active six times, those given the tenant never.
"""

from dataclasses import replace

from detector.contract.calibration import CalibratedPredicate
from detector.contract.model import Contract, PredicateSpec
from detector.lab.calibrate import spread
from detector.lab.calibrate.pairs import PairTally
from detector.lab.calibrate.tally import Ints
from detector.predicates.divergence import SPANS_S
from detector.predicates.yardstick import LEAST_REFERENCE

GIVEN = "tenant"
NAMES = {"output_tokens": "answer_drift", "input_tokens": "question_drift"}
_CALLED = {"output_tokens": "answers to", "input_tokens": "questions of"}
_WORTH = 2.0  # times less that they have to drift


def candidates(contract: Contract) -> list[PredicateSpec]:
    """What could be judged beside all answers and questions, where they are judged and nothing like it is."""
    specs = contract.predicates.values()
    found = []
    for field, name in NAMES.items():
        plain = next((spec for spec in specs if judges_all(spec, field)), None)
        given = any(spec.given or GIVEN in spec.by for spec in specs if spec.field == field)
        if plain is not None and not given and name not in contract.predicates:
            found.append(replace(plain, name=name, given=GIVEN, routes=()))
    return found


def judges_all(spec: PredicateSpec, field: str) -> bool:
    """Whether a predicate compares a field of all calls, as they come."""
    compared = spec.type == "divergence" and spec.method == "default" and spec.field == field
    return compared and not spec.where


def advice(
    spec: PredicateSpec,
    pairs: PairTally,
    plain: CalibratedPredicate,
    left_out: Ints,
    pace: float,
    alpha: float,
) -> str | None:
    """In plain words, where drifts half as large would be found; `pace`: calls a second, all of them."""
    if pace * spread.HOUR_S < 2 * LEAST_REFERENCE:  # an hour would know no two callers
        return None
    longest, least = int(spec.window_s), spec.min_samples
    found = spread.measure(pairs, left_out, longest, spec.threshold_nats, least, shorter=False)
    if found is None or found.strata < 2:
        return None
    shown = spread.smallest_detectable(found, longest, pace, alpha / (1 + len(SPANS_S)))
    before = plain.smallest_detectable_nats
    if shown is None or (before is not None and before < _WORTH * shown):
        return None
    said = "no drift is found" if before is None else f"drifts from {before:.2g} nats are found"
    usual = PredicateSpec(name=spec.name, type="divergence")
    keys = ("threshold_nats", "window_s")
    own = "".join(
        f", {key}: {getattr(spec, key):g}" for key in keys if getattr(spec, key) != getattr(usual, key)
    )
    proposed = f"{spec.name}: {{type: divergence, field: {spec.field}, given: {GIVEN}{own}{spec.only}}}"
    called = _CALLED[spec.field]
    return (
        f"Among all {called.split()[0]}, whoever asks how often, {said}; among {called} the same {GIVEN} "
        f"drifts from {shown:.2g} nats would be. Consider {proposed}."
    )
