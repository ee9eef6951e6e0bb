"""Rules about the section `calibration`: whether it fits itself, the contract, and the user's own values."""

from itertools import pairwise

from detector.contract.calibration import CalibratedPredicate
from detector.contract.draft import Draft, Path, nearest, shown
from detector.contract.model import Contract, PredicateSpec

_EXPECTED = 10  # bad calls of a recording whose rate is at the ceiling, for it to say something of that


def _learnt(draft: Draft, contract: Contract) -> list[tuple[Path, str, CalibratedPredicate]]:
    """(place, name of the predicate, what was learnt) of every sound part."""
    return [
        (here, name, one)
        for route, calibrated in contract.calibration.routes.items()
        for name, one in calibrated.predicates.items()
        if draft.sound(*(here := ("calibration", "routes", route, "predicates", name)))
    ]


def bins(draft: Draft, contract: Contract) -> None:
    """Edges ascend, categories differ, and there is one count for each bin."""
    for here, name, one in _learnt(draft, contract):
        spec, counted = contract.predicates.get(name), len(one.reference or ())
        given = spec is not None and bool(spec.given)  # then each stratum has as many bins as any other
        if one.edges is not None and one.categories is not None:
            draft.report("calibration-bins", (*here, "categories"), "both edges and categories", key=True)
        elif one.edges is not None and any(low >= high for low, high in pairwise(one.edges)):
            draft.report("calibration-bins", (*here, "edges"), "the edges do not ascend")
        elif one.categories is not None and len(set(one.categories)) < len(one.categories):
            draft.report("calibration-bins", (*here, "categories"), "a category stands twice")
        elif given and one.categories is not None:
            if not counted or counted % max(1, len(one.categories)):
                message = f"{counted} counts for {len(one.categories)} strata"
                draft.report("calibration-bins", (*here, "reference"), message)
        elif one.bins is not None and counted != one.bins:
            message = f"{counted} counts for {one.bins} bins"
            draft.report("calibration-bins", (*here, "reference"), message)


def known(draft: Draft, contract: Contract) -> None:
    """Only predicates that are declared were learnt about, and they judge what they judged then."""
    declared = draft.names("predicates")
    if declared is None:
        return
    told: set[str] = set()
    for here, name, one in _learnt(draft, contract):
        if name not in declared and name not in told:
            told.add(name)
            advice = nearest(name, declared)
            draft.report("stale-calibration", here, f"no predicate {shown(name)} any more", advice, key=True)
            continue
        spec = contract.predicates.get(name)
        if spec is not None and not spec.exists_on(str(here[2])) and name not in told:
            told.add(name)
            message = f"learnt on route {shown(here[2])}, and {shown(name)} is not judged there now"
            draft.report("stale-calibration", here, message, key=True)
        elif spec is not None and one.made_for not in ("", spec.subject) and name not in told:
            told.add(name)
            message = f"learnt for {shown(one.made_for)}, and {shown(name)} is {shown(spec.subject)} now"
            draft.report("stale-calibration", (*here, "made_for"), message)


def agreement(draft: Draft, contract: Contract) -> None:
    """The user's own values stand; where healthy traffic contradicts them that is said, once per value."""
    told: set[tuple[str, str]] = set()
    for here, name, one in _learnt(draft, contract):
        spec = contract.predicates.get(name)
        found = disagreement(spec, one) if spec is not None and spec.exists_on(str(here[2])) else None
        if found is None or (name, found[0]) in told or not draft.sound("predicates", name):
            continue
        key, message = found
        told.add((name, key))
        rule = "threshold-under-wander" if key == "threshold_nats" else "ceiling-under-traffic"
        draft.report(rule, ("predicates", name, key), f"{message} on route {shown(here[2])}")


def disagreement(spec: PredicateSpec, one: CalibratedPredicate) -> tuple[str, str] | None:
    """(key of the user's value that healthy traffic contradicts, what it does), if there is one."""
    # Learnt from verdicts as they were given, where the stated ceiling is a true rate.
    ceiling = spec.judge.observed(spec.ceiling) if spec.judge else spec.ceiling
    # Few calls leave room for rates that nobody has seen.
    enough = not one.usable or one.records * ceiling >= _EXPECTED
    if "ceiling" in spec.stated and enough and one.ceiling is not None and one.ceiling > ceiling:
        often = f"{one.rate:.3g} on the mean and " if one.rate is not None else ""
        return (
            "ceiling",
            f"{spec.ceiling:g} is stated, healthy calls come to {often}{one.ceiling:.3g} at times",
        )
    if "threshold_nats" in spec.stated and one.thresholds_nats:
        span, highest = max(one.thresholds_nats.items())
        if highest > spec.threshold_nats:
            return "threshold_nats", (
                f"{spec.threshold_nats:g} is stated, windows of {span} s are held to {highest:.3g}, "
                "so far does healthy traffic stray"
            )
    return None
