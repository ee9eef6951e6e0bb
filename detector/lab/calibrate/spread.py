"""How a field's distribution wanders on healthy traffic: bins, dependence, tolerance, thresholds.

phi      mean two-sample Pearson X^2 of neighbouring panes over its degrees of freedom, panes
         pooled to >= 5 k values: neighbours share the slow wander, so it does not count
strayed  bias-corrected KL of windows of 3 .. 300 s from the hour before, lagged by the longest window
d0       1.5 times the 99.9 % point of what the longest windows strayed, less what chance alone makes of
         windows of their size, for the test adds that again; at least 0.035
thr_L    1.25 times that of windows of L seconds, at least what the contract says, and at least what the
         longest windows strayed beyond chance, times what the time known leaves open (`wander.further`)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from detector.lab.calibrate.pairs import PairTally
from detector.lab.calibrate.quiet import quiet_share
from detector.lab.calibrate.tally import FINE, Floats, Ints, ValueTally, quantile_edges
from detector.predicates.bins import TOKEN_BINS
from detector.predicates.divergence import LEAST_RECORDS, SPANS_S, TOLERANCE_NATS
from detector.predicates.drift import CHANCE, GATE_S, GATE_SHARE
from detector.predicates.kl import bias, bias_tables, summed_bias
from detector.predicates.power import smallest_divergence
from detector.predicates.wander import WANDER_MARGIN, further
from detector.predicates.yardstick import LEAST_REFERENCE

TOLERANCE_MARGIN = 1.5
CATEGORIES = 15
HOUR_S = 3600
_PER_CHUNK = 43_200
_LEAST_LOOKS = 20
_MOST_LOOKS = 200_000  # per window length
_SHOWN_IN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What was learnt about a distribution; `strayed` holds quantiles by window length, for plots.

    `reference` has a row of bins for each of its `strata`, one after the other; `judged_share` of the values
    belong to one, and in quiet minutes they come at `quiet_share` of their mean pace. Of the longest windows
    one holds `in_longest` of them on average.
    """

    records: int
    edges: tuple[float, ...] | None
    categories: tuple[str, ...] | None
    reference: Ints
    design_effect: float
    tolerance_nats: float
    thresholds_nats: dict[int, float]
    strayed: dict[int, tuple[float, float, float]] = field(default_factory=dict)  # median, 99 %, 99.9 %
    looks: int = 0
    strata: int = 1
    judged_share: float = 1.0
    quiet_share: float = 1.0
    in_longest: float = 0.0


def settle_bins(tally: ValueTally) -> tuple[tuple[float, ...] | None, tuple[str, ...] | None]:
    """Merge fine bins into those that the route is judged by: (edges, categories), one of them None."""
    if tally.settled is None:
        tally.settled = _edges(tally) if tally.numeric else _categories(tally)
    return tally.settled


def _edges(tally: ValueTally) -> tuple[tuple[float, ...] | None, tuple[str, ...] | None]:
    if tally.edges is FINE:
        tally.use(quantile_edges(tally.totals()))
    return tuple(tally.edges.tolist()), None


def _categories(tally: ValueTally) -> tuple[tuple[float, ...] | None, tuple[str, ...] | None]:
    totals = tally.totals()
    top = np.argsort(-totals, kind="stable")[:CATEGORIES]
    names = {index: name for name, index in tally.known.items()}
    # The bin of all the others (an index past the known ones) is never a category of its own.
    chosen = sorted((names[int(i)], int(i)) for i in top if totals[i] and int(i) in names)
    recode = np.full(tally.cells.columns, len(chosen), np.int64)
    for place, (_, i) in enumerate(chosen):
        recode[i] = place
    tally.cells.recode(recode, len(chosen) + 1)
    return None, tuple(name for name, _ in chosen)


class Counted(NamedTuple):
    """What a tally's cells hold: parallel arrays, by second and column ascending."""

    seconds: Ints
    columns: Ints
    counts: Ints

    def where(self, keep: NDArray[np.bool_]) -> "Counted":
        """Some of them."""
        return Counted(self.seconds[keep], self.columns[keep], self.counts[keep])

    def table(self, width: int) -> tuple[Ints, Ints]:
        """(seconds with values, ascending; counts per column, shape (seconds, width))."""
        seconds, where = np.unique(self.seconds, return_inverse=True)
        table = np.zeros((len(seconds), width), np.int64)
        table[where, self.columns] = self.counts
        return seconds, table


def panes(tally: ValueTally | PairTally) -> tuple[Ints, Ints]:
    """(seconds with values, ascending; counts per bin, shape (seconds, bins))."""
    return Counted(*tally.cells.read()).table(tally.cells.columns)


def design_effect(table: Ints) -> float:
    """phi >= 1 from panes of one second each, shape (panes, bins)."""
    return _phi([_dispersion(table)])


def _phi(parts: Iterable[tuple[float, int]]) -> float:
    found = list(parts)
    total = sum(freedom for _, freedom in found)
    return max(1.0, sum(squares for squares, _ in found) / total) if total else 1.0


def _within(cells: Counted, strata: int, bins: int) -> float:
    """phi of neighbours in the same stratum, one after the other: all in one table may be too much."""
    of_strata = cells.columns // bins
    return _phi(
        _dispersion(Counted(part.seconds, part.columns % bins, part.counts).table(bins)[1])
        for part in (cells.where(of_strata == stratum) for stratum in range(strata))
    )


def _dispersion(table: Ints) -> tuple[float, int]:
    """(Pearson's X^2 of neighbouring blocks, its degrees of freedom)."""
    bins = max(1, int(table.any(axis=0).sum()))  # one that nothing falls into asks for no longer blocks
    before = np.concatenate([[0], np.cumsum(table.sum(axis=1))])
    cuts = [0]
    while len(cuts) < 40_000:
        cut = int(np.searchsorted(before, before[cuts[-1]] + 5 * bins, side="left"))
        if cut >= len(before):
            break
        cuts.append(cut)
    if len(cuts) < 10:
        return 0.0, 0
    counts = np.add.reduceat(table, cuts[:-1], axis=0).astype(np.float64)
    # The last slice runs to the end of the table; it is no block.
    a, b = counts[:-2], counts[1:-1]
    n, m = a.sum(axis=1, keepdims=True), b.sum(axis=1, keepdims=True)
    both = a + b
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(both > 0, (a * np.sqrt(m / n) - b * np.sqrt(n / m)) ** 2 / both, 0.0)
    return float(parts.sum()), int(((both > 0).sum(axis=1) - 1).sum())


def strayed(
    cells: Counted, bins: int, strata: int, spans: Sequence[int], phi: float, least: float
) -> dict[int, Floats]:
    """Bias-corrected KL of windows from the hour before, per length; empty where windows are too small.

    Args:
        bins: of each of the `strata`, which lie one after the other.
        spans: window lengths, seconds, ascending.
    """
    longest, width = spans[-1], strata * bins
    found: dict[int, list[Floats]] = {span: [] for span in spans}
    first, last = int(cells.seconds[0]), int(cells.seconds[-1]) + 1
    whole = np.bincount(cells.columns, weights=cells.counts, minlength=width).astype(np.float64)
    short = last - first < 2 * HOUR_S  # too short for an hour before: the whole stands for it
    lead = 0 if short else HOUR_S + longest
    chunk = _PER_CHUNK if strata == 1 else _PER_CHUNK // 4
    for begin in range(first, last, chunk):
        start, end = max(first, begin - lead - longest), min(last, begin + chunk)
        inside = slice(*np.searchsorted(cells.seconds, [start, end]).tolist())
        dense = np.zeros((end - start + 1, width), np.float64)
        dense[cells.seconds[inside] - start + 1, cells.columns[inside]] = cells.counts[inside]
        total = np.cumsum(dense, axis=0)  # total[i]: before second start + i
        for span in spans:
            step = max(1, span // 10, (last - first) // _MOST_LOOKS)
            at = np.arange(max(begin, first + span), end + 1, step) - start
            at = at[at >= span]
            if not len(at):
                continue
            windows = total[at] - total[at - span]
            if short:
                reference = np.broadcast_to(whole, windows.shape)
            else:
                newest = np.maximum(at - longest, 0)
                reference = total[newest] - total[np.maximum(newest - HOUR_S, 0)]
            found[span].append(_corrected(windows, reference, phi, least, strata))
    return {span: np.concatenate(parts) if parts else np.zeros(0) for span, parts in found.items()}


def _corrected(windows: Floats, reference: Floats, phi: float, least: float, strata: int) -> Floats:
    n, big = windows.sum(axis=1), reference.sum(axis=1)
    enough = (n >= least) & (big >= LEAST_REFERENCE)
    windows, reference = windows[enough], reference[enough]
    if not len(windows):
        return np.zeros(0)
    parts = [
        _summed(window, past, phi, alone=strata == 1)
        for window, past in zip(
            np.split(windows, strata, axis=1), np.split(reference, strata, axis=1), strict=True
        )
    ]
    judged: Floats = np.sum([held for held, _ in parts], axis=0)
    total: Floats = np.sum([far for _, far in parts], axis=0)
    told = judged >= least
    corrected: Floats = total[told] / judged[told]
    return corrected


def _summed(windows: Floats, reference: Floats, phi: float, *, alone: bool) -> tuple[Floats, Floats]:
    """Of one stratum: (records judged of each window, these times their corrected distance)."""
    n, big = windows.sum(axis=1), reference.sum(axis=1)
    judged, far = np.zeros(len(n)), np.zeros(len(n))
    known = (n > 0) & (big >= LEAST_REFERENCE)
    if not known.any():
        return judged, far
    windows, reference, n, big = windows[known], reference[known], n[known], big[known]
    q = (reference + 0.5) / (big + 0.5 * windows.shape[1])[:, None]
    kl = (windows * np.log(np.where(windows > 0, windows, 1.0) / q)).sum(axis=1) / n - np.log(n)
    # The bias goes by n alone to within a percent; references of an hour hardly differ for it.
    grid = np.exp(np.linspace(np.log(n.min()), np.log(n.max()) + 1e-9, 24))
    usual = float(np.median(big))
    if alone:
        chance = bias(grid, q.mean(axis=0), usual) * grid
    else:  # see `bias_tables`
        shares = reference.sum(axis=0) / reference.sum()
        (of_usual,) = bias_tables(np.round(shares[np.newaxis] * usual).astype(np.int64))
        chance = summed_bias(of_usual[np.newaxis], np.round(grid).astype(np.int64)[:, np.newaxis])
    own = np.interp(np.log(n), np.log(grid), chance)
    judged[known], far[known] = n, n * kl - phi * own
    return judged, far


def measure(
    tally: ValueTally | PairTally,
    left_out: Ints,
    longest: int,
    threshold: float,
    min_samples: int | None,
    *,
    shorter: bool = True,
) -> Spread | None:
    """Learn one distribution; None if there are no values. `shorter`: windows under the longest as well."""
    edges: tuple[float, ...] | None = None
    categories: tuple[str, ...] | None = None
    if isinstance(tally, PairTally):
        tally.settle()
        categories, strata, bins = tally.categories, tally.strata, TOKEN_BINS
    else:
        (edges, categories), strata = settle_bins(tally), 1
        bins = tally.cells.columns
    cells = Counted(*tally.cells.read())
    cells = cells.where(~np.isin(cells.seconds // 60, left_out))
    values = int(cells.counts.sum())
    cells = cells.where(cells.columns < strata * bins)
    if not len(cells.counts):
        return None
    phi = design_effect(cells.table(bins)[1]) if strata == 1 else _within(cells, strata, bins)
    least = max(min_samples or 0, LEAST_RECORDS * phi)
    spans = (*(span for span in SPANS_S if shorter and span < longest), longest)
    by_span = strayed(cells, bins, strata, spans, phi, least)
    quantiles = {span: _quantiles(strays) for span, strays in by_span.items() if len(strays) >= _LEAST_LOOKS}
    highest = quantiles[max(quantiles)][2] if quantiles else 0.0
    # Looks overlap: an excursion shows in several, what shows in few is chance or a short reference.
    farthest = float(np.sort(by_span[max(quantiles)])[-_SHOWN_IN]) if quantiles else 0.0
    reference = np.bincount(cells.columns, weights=cells.counts, minlength=strata * bins).astype(np.int64)
    known_s = int(cells.seconds[-1]) + 1 - int(cells.seconds[0])
    slow = _slow(known_s, reference, max(quantiles), phi, farthest, strata) if quantiles else 0.0
    in_longest = float(reference.sum()) * longest / (60 * len(np.unique(cells.seconds // 60)))
    wander = _without_chance(highest, max(in_longest, least), reference, phi, strata)
    thresholds = {span: max(threshold, WANDER_MARGIN * q[2], slow) for span, q in quantiles.items()}
    records = int(reference.sum())
    return Spread(
        records=records,
        edges=edges,
        categories=categories,
        reference=reference,
        design_effect=phi,
        tolerance_nats=max(TOLERANCE_NATS, TOLERANCE_MARGIN * wander),
        thresholds_nats=thresholds,
        strayed=quantiles,
        looks=sum(map(len, by_span.values())),
        strata=strata,
        judged_share=records / values,
        quiet_share=quiet_share(cells.seconds, cells.counts, left_out),
        in_longest=in_longest,
    )


def _quantiles(values: Floats) -> tuple[float, float, float]:
    median, high, highest = np.quantile(values, (0.5, 0.99, 0.999)).tolist()
    return median, high, highest


def _without_chance(highest: float, n: float, reference: Ints, phi: float, strata: int) -> float:
    """What the 99.9 % point of windows of `n` records, nats, would be if they held many more.

    G over phi is chi-square, and KL is G / 2n. As spreads do, the two add up in squares: nothing is taken
    off a wander that is far beyond chance.
    """
    occupied = (reference > 0).reshape(strata, -1).sum(axis=1)
    freedom = max(1, int(np.maximum(occupied - 1, 0).sum()))
    by_chance = phi * (chi2.ppf(0.999, freedom) - freedom) / (2 * n)
    return float(np.sqrt(max(0.0, highest**2 - by_chance**2)))


def _slow(known_s: int, reference: Ints, longest: int, phi: float, farthest: float, strata: int) -> float:
    """How far the longest window will stray some day, nats, by how far it did in the time known."""
    chance = total = 0.0
    for totals in np.split(reference.astype(np.float64), strata):
        seen = totals[totals > 0]
        if seen.sum() >= LEAST_REFERENCE or strata == 1:
            n = float(seen.sum()) * longest / known_s
            own = bias(np.array([n]), seen / seen.sum(), seen.sum())[0]
            chance, total = chance + phi * n * float(own), total + n
    chance /= max(total, 1e-9)
    return further(known_s) * max(0.0, farthest - CHANCE * chance)


def smallest_detectable(spread: Spread, span: int, records_per_s: float, alpha: float) -> float | None:
    """Smallest divergence, nats, that a window of `span` seconds shows with 99 % power within as many.

    At the pace of quiet minutes, where `records_per_s` is that of all values on average.
    It need not begin with a second: one of the window's may lack it. Of a window that holds a share f of a
    drift, some f^2 of its distance is seen. A short window waits for the gate window as well.
    """
    own = _shown(spread, span, span - 1, records_per_s, 1.0, spread.tolerance_nats, alpha)
    gate = min((each for each in spread.thresholds_nats if each >= GATE_S), default=span)
    if own is None or span >= gate:
        return own
    happening = _shown(spread, gate, span - 1, records_per_s, GATE_SHARE, 0.0, 0.5)
    return None if happening is None else max(own, happening)


def _shown(
    spread: Spread,
    span: int,
    drift_s: int,
    records_per_s: float,
    share: float,
    tolerance: float,
    alpha: float,
) -> float | None:
    """What brings a window that holds `drift_s` seconds of it over `share` of its threshold."""
    records_per_s *= spread.judged_share * spread.quiet_share
    n = records_per_s * span
    known = span in spread.thresholds_nats and drift_s > 0
    if n < LEAST_RECORDS * spread.design_effect or not known:
        return None
    occupied = (spread.reference > 0).reshape(spread.strata, -1).sum(axis=1)
    freedom = max(1, int(np.maximum(occupied - 1, 0).sum()))
    reference_n = min(records_per_s * HOUR_S, float(spread.reference.sum()))
    scale = spread.design_effect * (1 / n + 1 / max(reference_n, 1.0))
    found = smallest_divergence(freedom, scale, share * spread.thresholds_nats[span], tolerance, alpha)
    return None if found is None else found * (span / drift_s) ** 2
