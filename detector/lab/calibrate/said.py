"""What the traffic does not allow, in plain words."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from detector.contract.calibration import CalibratedPredicate
from detector.contract.calibration_rules import disagreement
from detector.contract.model import Contract, PredicateSpec
from detector.lab.calibrate.gather import Gathered
from detector.lab.calibrate.limit import Kept
from detector.lab.calibrate.shares import Shares
from detector.lab.calibrate.spread import Spread
from detector.lab.calibrate.stretches import FewStretches
from detector.lab.words import counted
from detector.predicates.divergence import LEAST_RECORDS
from detector.predicates.yardstick import LEAST_REFERENCE

_DAY_MINUTES = 1440
_FEW_BLOCKS = 20
_WORTH_FINDING = 0.05  # of calls, within ten seconds
_WORTH_NATS = 0.3
_LISTED = 3
_OWN_TRAFFIC = ("shortfall", "repetition")
_HIGH = 0.1  # of calls; a recording that is bad from end to end has no minutes that stand out
_FEW = 1.5  # times the limit that endless calls would allow: more of the same would lower it


def of_the_whole(
    contract: Contract, gathered: Gathered, minutes: int, learnt: Sequence[Any]
) -> Iterator[str]:
    """Limits of the recording as a whole."""
    if minutes < _DAY_MINUTES:
        yield (
            f"The recording holds {_hours(minutes)} of traffic: how a day or a week swings is not in it. "
            "Limits learnt here may be too narrow at other hours; a day is the least, a week better."
        )
    if gathered.beyond:
        yield f"Left out, for too many routes or odd names: {counted(gathered.beyond, 'record')}."
    known = {one.spec.name for one in learnt}
    for spec in contract.predicates.values():
        if not any(map(spec.exists_on, gathered.routes)):
            routes = _listed(spec.routes)
            yield f"{spec.name}: no call of this recording is of {routes}, so nothing was learnt."
        elif spec.learnable and spec.name not in known:
            yield f"{spec.name}: no call of this recording carries {spec.field}, so nothing was learnt."
        elif not spec.learnable and spec.type in _OWN_TRAFFIC:
            yield (
                f"{spec.name} was not calibrated: no recording teaches the ceiling of a {spec.type}. "
                f"The contract's own stands, {spec.ceiling:.2%}: `detector replay` of this recording tells "
                "whether healthy traffic keeps it."
            )
        elif not spec.learnable and spec.type in ("divergence", "rate", "exceedance"):
            why = "it is judged on evaluations" if spec.evaluation else f"method {spec.method} learns nothing"
            if spec.field == "token_ids":
                why = "token ids learn from the running traffic"
            yield f"{spec.name} was not calibrated: {why}."


def _listed(routes: Sequence[str]) -> str:
    more = f" or {len(routes) - _LISTED} more" if len(routes) > _LISTED else ""
    return f"route {', '.join(map(repr, routes[:_LISTED]))}{more}"


def _hours(minutes: int) -> str:
    return counted(minutes, "minute") if minutes < 120 else f"{minutes / 60:.1f} hours"


def of_shares(
    spec: PredicateSpec,
    one: CalibratedPredicate,
    found: Shares,
    phi: float,
    ceiling: float,
    quiet: float,
    usual: tuple[float, float | None],
    needed: float | None,
) -> Iterator[str]:
    """Limits of a rate or an exceedance.

    Args:
        spec, one: what is judged, and what was learnt about it.
        found: of healthy calls; `phi`, `ceiling`: what it is judged by.
        quiet: judged calls a second in quiet minutes; `usual`: on average, and the smallest share that is
            found in ten seconds of that.
        needed: the threshold that the bootstrap asks for.
    """
    calls = counted(found.records, "judged call")
    if one.ceiling is not None and one.ceiling > _HIGH:
        yield _of_high_ceiling(one.ceiling, found)
    if not one.usable:
        what = f"{spec.above_ms:g} ms" if spec.above_ms is not None else f"ceiling {ceiling:g}"
        hint = f"; above_ms: {one.proposed_above_ms:g} would be kept" if one.proposed_above_ms else ""
        # A lower limit of how bad it comes to be, by chance alone under the mean, by wander over it.
        times = "" if found.at_least <= found.rate else "and at times "
        yield (
            f"Unusable at {what}: healthy calls are over the limit {found.rate:.2%} of the time, {times}"
            f"surely more than {found.at_least:.2%}, while {ceiling:.2%} is allowed{hint}. "
            "It gives notice and never acts."
        )
        return
    if found.highest > ceiling:
        yield (
            f"{calls} {_are(found.records)} too few to show that healthy traffic keeps {ceiling:.2%}: "
            f"it may come to {found.highest:.2%}, and false activations may be more than stated."
        )
    if one.proposed_above_ms is not None:
        yield (
            f"{found.rate:.1%} of healthy calls are over {spec.above_ms:g} ms: no limit for slow ones. "
            f"above_ms: {one.proposed_above_ms:g} is one, at a ceiling of {spec.ceiling:.2%}."
        )
    if found.blocks < _FEW_BLOCKS:
        yield f"Only {calls}: how far the healthy rate wanders is hardly known."
    if "ceiling" in spec.stated and one.ceiling is not None and one.ceiling < spec.ceiling / 4:
        yield (
            f"The contract's ceiling of {spec.ceiling:.2%} stands; healthy traffic would allow "
            f"{one.ceiling:.2%}, which finds smaller faults."
        )
    if phi > 1.05:
        more = (
            f"the threshold is raised to {one.run_length:.2g}" if needed else "too few calls to test how far"
        )
        yield f"Calls depend on each other (design effect {phi:.2g}): run lengths are estimates, {more}."
    pace, most_often = usual
    found_then = None if most_often is None else f"{most_often:.0%}"
    more = f"; at {pace:.3g}/s, which is usual, faults of {found_then} and more are"
    if one.smallest_detectable_rate is None:
        nothing = f"At {quiet:.3g} judged calls/s, in quiet minutes, nothing can be found within 10 s"
        yield f"{nothing}{more if found_then else ''}."
    elif one.smallest_detectable_rate > max(_WORTH_FINDING, 1.5 * ceiling):
        least = f"{one.smallest_detectable_rate:.0%}"
        only = f"Within 10 s, in quiet minutes, only faults of {least} of calls and more are found"
        yield f"{only}{more if found_then != least else ''}."


def _of_high_ceiling(ceiling: float, found: Shares) -> str:
    """Why a learnt ceiling is high: calls are few, or many of them are bad, all along or at times."""
    calls = counted(found.records, "judged call")
    if found.measured <= _HIGH < found.ceiling() and found.highest > _FEW * found.measured:
        few = f"none of {calls} is" if not found.bad else f"{found.bad:,} of {calls} {_are(found.bad)}"
        return (
            f"The learnt ceiling is {ceiling:.1%}, though {few} bad: so few calls allow no lower one; "
            "a longer recording would."
        )
    bad = f"{found.rate:.1%} of {calls} given as healthy {_are(found.records)} bad"
    if found.rate <= _HIGH and (found.at_least > found.rate or ceiling > found.ceiling()):
        return (
            f"{bad}, at times so many more that the learnt ceiling is {ceiling:.1%}: was something wrong "
            "then, or is that usual here?"
        )
    return (
        f"{bad}, and the learnt ceiling is {ceiling:.1%}: does the verdict mean that something is wrong with "
        "a call, or is it usual here?"
    )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def of_limit(kept: Kept) -> Iterator[str]:
    """Whether a few minutes alone made a proposed limit what it is."""
    if kept.set_by:
        n = len(kept.set_by)
        listed = ", ".join(when(at) for at in kept.set_by[:_LISTED]) + (", ..." if n > _LISTED else "")
        yield (
            f"{kept.above_ms:g} ms is as high as that for {n} stretch{'es' if n > 1 else ''} of traffic "
            f"alone, from {listed} on: all others would keep {kept.others_ms:g} ms. If something was wrong "
            "then, leave them out of the recording and calibrate again: so high a limit finds little."
        )


def of_ceiling(ceiling: float, few: FewStretches) -> Iterator[str]:
    """That a few stretches alone made a learnt ceiling what it is."""
    n = len(few.spans)
    listed = ", ".join(f"{when(a)} .. {when(b)}" for a, b in few.spans[:_LISTED])
    more = f" and {n - _LISTED} more" if n > _LISTED else ""
    yield (
        f"The ceiling of {ceiling:.2%} is as high as that for {n} stretch{'es' if n > 1 else ''} of traffic "
        f"alone, {listed}{more}: all others would keep {few.others:.2%}. If something was wrong then, leave "
        "them out of the recording and calibrate again, or state a ceiling: under so high a one faults "
        "are missed."
    )


_OF_KNOWN = " of kinds of calls of which the hour before holds 300"


def of_spread(
    spec: PredicateSpec,
    one: CalibratedPredicate,
    found: Spread,
    curve: Iterable[tuple[float, float | None]],
    usual: float | None,
) -> Iterator[str]:
    """Limits of a divergence; `curve`: what is found in quiet minutes, `usual`: at the mean pace."""
    if not found.thresholds_nats:
        least = LEAST_RECORDS * found.design_effect
        if found.in_longest >= least:
            yield (
                f"No hour before a window holds the {LEAST_REFERENCE} calls that it takes to say how far "
                "healthy windows stray: each route learns that itself while it runs."
            )
        else:
            known = _OF_KNOWN if spec.given else ""
            yield (
                f"No window of up to {spec.window_s:g} s holds the {least:.0f} calls that it takes{known}: "
                "this drift cannot be judged on this traffic."
            )
        return
    contradicted = disagreement(spec, one)
    if contradicted is not None:
        yield f"Healthy traffic strays further than the contract's threshold: {contradicted[1]}."
    if not spec.given and sum(count > 0 for count in one.reference or ()) == 1:
        yield f"{spec.field} has one value in this recording, or some next to each other: any other is news."
        return
    shown = [(seconds, value) for seconds, value in curve if value is not None]
    if not shown:
        more = "" if usual is None else f", but drifts of {usual:.2g} nats and more are at the usual rate"
        yield f"No drift of any size is found with 99 % power at the rate of calls of quiet minutes{more}."
    elif min(value for _, value in shown) > _WORTH_NATS:
        yield (
            f"Drifts under {min(value for _, value in shown):.2g} nats cannot be told from "
            "this traffic's own wander."
        )


def when(at: float) -> str:
    """Event time for people, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
