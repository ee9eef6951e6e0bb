"""Would answers to the same tenant show a change that the mix of tenants hides?

Each tenant's answers stay much as they are while tenants come and go, so a drift's threshold need not allow
for the mix. Measured on simulated traffic at 20 calls/s, calibrated on a day, of 24 drifts of 0.3 and 0.7
nats over 30 and 90 s: answers as they come showed 3, answers given the tenant 19.
"""

from dataclasses import replace

from detector.contract.calibration import CalibratedPredicate
from detector.contract.model import Contract, PredicateSpec
from detector.lab.calibrate import spread
from detector.lab.calibrate.pairs import PairTally
from detector.lab.calibrate.tally import Ints
from detector.predicates.divergence import SPANS_S
from detector.predicates.yardstick import LEAST_REFERENCE

NAME, FIELD, GIVEN = "answer_drift", "output_tokens", "tenant"
_WORTH = 2.0  # times less that answers have to drift


def candidate(contract: Contract) -> PredicateSpec | None:
    """What could be judged beside all answers; None if something is, or if they are not judged."""
    specs = contract.predicates.values()
    plain = next((spec for spec in specs if judges_answers(spec)), None)
    given = any(spec.given or GIVEN in spec.by for spec in specs if spec.field == FIELD)
    if plain is None or given or NAME in contract.predicates:
        return None
    return replace(plain, name=NAME, given=GIVEN)


def judges_answers(spec: PredicateSpec) -> bool:
    """Whether a predicate compares the lengths of all answers."""
    compared = spec.type == "divergence" and spec.method == "default" and spec.field == FIELD
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
    usual = PredicateSpec(name=NAME, type="divergence")
    keys = ("threshold_nats", "window_s")
    own = "".join(
        f", {key}: {getattr(spec, key):g}" for key in keys if getattr(spec, key) != getattr(usual, key)
    )
    proposed = f"{NAME}: {{type: divergence, field: {FIELD}, given: {GIVEN}{own}}}"
    return (
        f"Among all answers, whoever asks how often, {said}; among answers to the same {GIVEN} drifts from "
        f"{shown:.2g} nats would be. Consider {proposed}."
    )
