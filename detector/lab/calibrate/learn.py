"""Everything that healthy telemetry teaches, for every route and predicate, and what it does not allow."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from detector.contract.calibration import CalibratedPredicate, CalibratedRoute, Calibration
from detector.contract.model import Contract, PredicateSpec
from detector.lab.calibrate import beside, bootstrap, healthy, limit, said, shares, silent, spread, stretches
from detector.lab.calibrate.covered import covered_minutes, holes
from detector.lab.calibrate.gather import Gathered, RouteTally
from detector.lab.calibrate.pairs import PairTally
from detector.lab.calibrate.quiet import quiet_share
from detector.lab.calibrate.tally import Ints, ShareTally, ValueTally
from detector.lab.columns import Columns
from detector.lab.doubts import Doubts
from detector.lab.files import Malformed, Progress, Row, read_rows
from detector.predicates.base import WEEK_S, Budget
from detector.predicates.shiryaev_roberts import HIGHEST

DEPENDENT = 1.05  # a design effect above this is dependence
UNTESTED = 1000.0  # times the wanted run length where dependence could not be tried out
_MOST_BOOTSTRAPS = 100  # of the busiest routes; each takes half a second
_POINTS = 240


class NotHealthyError(ValueError):
    """Too much of the recording is incident, or it holds nothing to learn from; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """One route and predicate, with what reports show of it.

    Attributes:
        limits: what this traffic does not allow, in plain words.
        series: (Unix seconds, share of bad calls or None) of blocks, for plots.
        strayed: window length -> (median, 99 %, 99.9 %) of what windows strayed, nats.
        curve: (seconds, smallest share or divergence found within them with 99 % power).
        left_out: [from, to) in Unix seconds, taken for incidents.
    """

    route: str
    spec: PredicateSpec
    one: CalibratedPredicate
    limits: tuple[str, ...] = ()
    series: tuple[tuple[float, float], ...] = ()
    strayed: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    curve: tuple[tuple[float, float | None], ...] = ()
    left_out: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateResult:
    """A calibration and how it came about.

    `limits` are those of the whole recording; `warnings`, which are among them, what makes it doubtful;
    `covered_s` is how long it is without its holes.
    """

    calibration: Calibration
    learnt: tuple[Learnt, ...]
    left_out: dict[str, tuple[tuple[int, int], ...]]
    limits: tuple[str, ...]
    records: int
    malformed: int
    elapsed_s: float
    shown: tuple[Malformed, ...]
    covered_s: float
    warnings: tuple[str, ...] = ()


def calibrate(
    files: Sequence[Path],
    contract: Contract,
    *,
    columns: Columns | None = None,
    progress: Progress | None = None,
    seed: int = 1,
) -> CalibrateResult:
    """Learn from files of healthy telemetry, in any order.

    Order begins to matter, a little, where one field of a route fills four million pairs of second and fine
    bin: its bins are then fixed by what has been read.

    Args:
        files: read one after the other, once.
        contract: what is to be judged; a calibration that it holds already is not looked at.
        columns: which column is which field; None if the names agree.
        progress: told the bytes read so far, now and then.
        seed: of the block bootstrap.

    Raises:
        FileError, MappingError: as for a replay.
        NotHealthyError: over a fifth of each route's minutes look like incidents, or there are no records.
    """
    columns = columns or Columns()
    doubts = Doubts(columns)
    rows = read_rows(files, columns, progress, doubts.tell, doubts.unread_columns)
    return calibrate_rows(rows, contract, sorted(path.name for path in files), seed=seed, doubts=doubts)


def calibrate_rows(
    rows: Iterable[Row],
    contract: Contract,
    made_from: Sequence[str],
    *,
    seed: int = 1,
    doubts: Doubts | None = None,
) -> CalibrateResult:
    """`calibrate` on rows from anywhere.

    Args:
        rows, contract, seed: as there.
        made_from: what the calibration says of where.
        doubts: what the reader of the rows tells goes there.
    """
    started = time.monotonic()
    doubts = doubts or Doubts()
    gathered = Gathered(contract)
    gathered.take(doubts.watch(rows))
    if not gathered.routes:
        first = f": {gathered.shown[0].said}" if gathered.shown else ""
        raise NotHealthyError(f"no record to learn from, {gathered.malformed} malformed{first}")
    minutes = set().union(*(tally.minutes for tally in gathered.routes.values()))
    silence = holes(minutes)
    covered_s = 60.0 * covered_minutes(minutes, silence)
    fleet = gathered.records / covered_s
    found = replace(
        contract,
        calibration=Calibration(
            made_at=datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            made_from=tuple(made_from),
            records=gathered.records,
            first_event_time=min(tally.first for tally in gathered.routes.values()),
            last_event_time=max(tally.last for tally in gathered.routes.values()),
            fleet_records_per_s=float(f"{fleet:.4g}"),
        ),
    )
    budget = Budget.of(found)
    learnt: list[Learnt] = []
    left_out: dict[str, tuple[tuple[int, int], ...]] = {}
    routes: dict[str, CalibratedRoute] = {}
    refused: list[str] = []
    draws = _MOST_BOOTSTRAPS
    for route, tally in sorted(gathered.routes.items(), key=lambda each: (-each[1].records, each[0])):
        try:
            bad = _incidents(route, tally, gathered.on(route))
        except NotHealthyError as error:
            refused.append(str(error))
            continue
        left_out |= {route: tuple(healthy.spans(bad))} if len(bad) else {}
        pace = tally.records / (60.0 * covered_minutes(tally.minutes, silence))
        mine = [
            one
            for spec in gathered.on(route)
            if (one := _learn(route, spec, tally.of[spec.name], bad, silence, pace, budget, seed, draws > 0))
            is not None
        ]
        draws -= sum(one.one.run_length is not None and one.one.basis == "estimated" for one in mine)
        judged = [(one.spec, one.one) for one in mine]
        more = beside.advice(gathered.beside, tally.of, judged, bad, pace, budget.alpha)
        learnt += [
            replace(one, limits=(*one.limits, more[one.spec.name])) if one.spec.name in more else one
            for one in mine
        ]
        predicates = {one.spec.name: one.one for one in mine}
        routes[route] = CalibratedRoute(records_per_s=float(f"{pace:.4g}"), predicates=predicates)
    if not routes:
        raise NotHealthyError("; ".join((refused[0], *doubts.said())))
    learnt.sort(key=lambda one: one.route)
    return CalibrateResult(
        calibration=replace(found.calibration, routes=dict(sorted(routes.items()))),
        learnt=tuple(learnt),
        left_out=left_out,
        limits=(
            *doubts.said(),
            *said.of_the_whole(contract, gathered, int(covered_s / 60), learnt),
            *refused,
        ),
        records=gathered.records,
        malformed=gathered.malformed,
        elapsed_s=time.monotonic() - started,
        shown=tuple(gathered.shown),
        covered_s=covered_s,
        warnings=doubts.said(),
    )


def _incidents(route: str, tally: RouteTally, specs: Sequence[PredicateSpec]) -> Ints:
    """Minutes of a route that one of its predicates takes for an incident."""
    found: list[Ints] = [np.zeros(0, np.int64)]
    for spec in specs:
        counts = tally.of[spec.name]
        if isinstance(counts, ShareTally):
            seconds, judged, bad = per_second(counts)
            if len(seconds):
                phi = shares.design_effect(judged, bad)
                rise = healthy.LEAST_RISE if "ceiling" in spec.stated else healthy.LEAST_RISE_UNSTATED
                found.append(healthy.bad_share_minutes(seconds, judged, bad, phi, rise))
        elif isinstance(counts, ValueTally) and counts.numeric is not None:
            spread.settle_bins(counts)
            seconds, table = spread.panes(counts)
            found.append(healthy.strange_minutes(seconds, table, spread.design_effect(table)))
        else:
            continue
        if healthy.recurs(found[-1], len(tally.minutes)):
            found.pop()
            continue
        of_all = len(found[-1]) / max(1, len(tally.minutes))
        if of_all > healthy.MOST_LEFT_OUT and len(found[-1]) > 3:
            raise NotHealthyError(
                f"{of_all:.0%} of the minutes of route {route!r} look like incidents by {spec.name}: "
                "this is no healthy recording; leave the bad times out, or give a longer one"
            )
    return np.unique(np.concatenate(found))


def per_second(tally: ShareTally, left_out: Ints | None = None) -> tuple[Ints, Ints, Ints]:
    """(seconds, judged calls, bad calls), ascending; without minutes that are left out."""
    rows, columns, counts = tally.cells.read()
    if left_out is not None and len(left_out):
        keep = ~np.isin(rows // 60, left_out)
        rows, columns, counts = rows[keep], columns[keep], counts[keep]
    seconds, where = np.unique(rows, return_inverse=True)
    judged = np.bincount(where, weights=counts, minlength=len(seconds)).astype(np.int64)
    bad = np.bincount(where, weights=counts * columns, minlength=len(seconds)).astype(np.int64)
    return seconds, judged, bad


def _learn(
    route: str,
    spec: PredicateSpec,
    tally: ShareTally | ValueTally | PairTally,
    left_out: Ints,
    silence: Ints,
    pace: float,
    budget: Budget,
    seed: int,
    draw: bool,
) -> Learnt | None:
    if isinstance(tally, ShareTally):
        return _share(route, spec, tally, left_out, silence, budget, seed if draw else None)
    return _divergence(route, spec, tally, left_out, pace, budget)


def _share(
    route: str,
    spec: PredicateSpec,
    tally: ShareTally,
    left_out: Ints,
    silence: Ints,
    budget: Budget,
    seed: int | None,
) -> Learnt | None:
    seconds, judged, bad = per_second(tally, left_out)
    if not len(seconds):
        return None
    found = shares.measure(judged, bad)
    stated = "ceiling" in spec.stated
    phi = spec.design_effect if "design_effect" in spec.stated else found.design_effect
    # All rates here are of verdicts as they were given; a stated ceiling is a true rate.
    as_judged = spec.judge.observed(spec.ceiling) if spec.judge else spec.ceiling
    wanted = budget.run_length
    out = set(left_out.tolist())
    minutes = {minute: each for minute, each in tally.minutes().items() if minute not in out}
    kept = list(minutes.values())
    least = shares.LEAST_SLOW if spec.type == "exceedance" else shares.LEAST_CEILING
    learnt = silent.silent_ceiling(kept, found.ceiling(least), wanted, phi, HIGHEST / 2)
    ceiling = as_judged if stated else learnt
    few = None
    if not stated:
        known_phi = phi if "design_effect" in spec.stated else None
        few = stretches.set_by(
            (seconds, judged, bad),
            minutes,
            learnt,
            least=least,
            run_length=wanted,
            phi=known_phi,
            highest=HIGHEST / 2,
        )
    usable = found.at_least <= ceiling
    # A limit that one call in twenty exceeds while all is well says nothing of the slow ones.
    useless = spec.type == "exceedance" and (not usable or (not stated and ceiling > shares.MOST_IN_TAIL))
    needed = None
    if phi > DEPENDENT and usable and seed is not None:
        needed = bootstrap.run_length_threshold(kept, ceiling, phi, wanted, seed=seed)
    untested = UNTESTED * wanted if phi > DEPENDENT else wanted
    run_length = untested if needed is None else max(wanted, needed)
    # Calls of this predicate, not of the route: verdicts are given on some calls only.
    pace = found.records / (60.0 * covered_minutes(seconds // 60, silence, left_out))
    quiet = pace * quiet_share(seconds, judged, left_out)
    detectable = shares.smallest_detectable(ceiling, run_length, phi, quiet)
    usual = pace, shares.smallest_detectable(ceiling, run_length, phi, pace)
    # Of what was left out, or is unlike all else, nobody knows whether it is how the traffic is.
    certain = found.highest <= ceiling and phi <= DEPENDENT and not len(left_out) and few is None
    kept_limit = limit.kept(tally, spec, left_out) if useless else None
    one = CalibratedPredicate(
        made_for=spec.subject,
        records=found.records,
        rate=found.rate,
        ceiling=learnt,
        design_effect=found.design_effect,
        run_length=run_length,
        usable=usable,
        proposed_above_ms=kept_limit.above_ms if kept_limit else None,
        smallest_detectable_rate=detectable,
        false_per_week=WEEK_S * pace / wanted,
        basis="guaranteed" if certain else "estimated",
    )
    return Learnt(
        route=route,
        spec=spec,
        one=one,
        limits=(
            *said.of_shares(spec, one, found, phi, ceiling, quiet, usual, needed),
            *(said.of_limit(kept_limit) if kept_limit else ()),
            *(said.of_ceiling(learnt, few) if few else ()),
        ),
        series=_series(seconds, judged, bad),
        curve=tuple(
            (within, shares.smallest_detectable(ceiling, run_length, phi, quiet, within))
            for within in (1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 900.0)
        ),
        left_out=tuple(healthy.spans(left_out)),
    )


def _series(seconds: Ints, judged: Ints, bad: Ints) -> tuple[tuple[float, float], ...]:
    """Share of bad calls over at most some hundred blocks of time."""
    first, last = int(seconds[0]), int(seconds[-1]) + 1
    width = max(60, (last - first) // _POINTS)
    # What is left over at the end belongs to the last one: a share of two calls would be no share.
    slot = np.minimum((seconds - first) // width, max(0, (last - first) // width - 1))
    n = np.bincount(slot, weights=judged)
    x = np.bincount(slot, weights=bad)
    return tuple((first + (i + 0.5) * width, float(x[i] / n[i])) for i in np.flatnonzero(n))


def _divergence(
    route: str,
    spec: PredicateSpec,
    tally: ValueTally | PairTally,
    left_out: Ints,
    pace: float,
    budget: Budget,
) -> Learnt | None:
    if isinstance(tally, ValueTally) and tally.numeric is None:
        return None
    longest = int(spec.window_s)
    found = spread.measure(tally, left_out, longest, spec.threshold_nats, spec.min_samples)
    if found is None:
        return None
    alpha = budget.alpha / (len(found.thresholds_nats) or 1)
    curve = tuple(
        (float(span), spread.smallest_detectable(found, span, pace, alpha)) for span in found.thresholds_nats
    )
    shown = [value for _, value in curve if value is not None]
    always = replace(found, quiet_share=1.0)
    usual = [spread.smallest_detectable(always, span, pace, alpha) for span in found.thresholds_nats]
    one = CalibratedPredicate(
        made_for=spec.subject,
        records=found.records,
        design_effect=found.design_effect,
        tolerance_nats=found.tolerance_nats,
        thresholds_nats=found.thresholds_nats,
        edges=found.edges,
        categories=found.categories,
        reference=tuple(int(count) for count in found.reference),
        smallest_detectable_nats=min(shown, default=None),
        false_per_week=WEEK_S * budget.alpha,
    )
    return Learnt(
        route=route,
        spec=spec,
        one=one,
        limits=tuple(said.of_spread(spec, one, found, curve, min(filter(None, usual), default=None))),
        strayed=found.strayed,
        curve=curve,
        left_out=tuple(healthy.spans(left_out)),
    )
