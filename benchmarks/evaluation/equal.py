"""Methods at one run length: how long a change takes to be found where false alarms are equally rare.

    python -m benchmarks.evaluation.equal                        # one false alarm in 100,000 records
    python -m benchmarks.evaluation.equal --run-length 1000000   # 45 minutes, as long as the first

Each method's own knob is turned until healthy streams give one false alarm in so many records, within a tenth
where the knob allows it; other healthy streams then say what came of it, and fresh ones with a change in them
how long it takes. The defaults of the libraries are rows of their own. Independent records, no wander: what a
test can do at best, not what traffic lets it do.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import drift

from detector.predicates.divergence import SPANS_S
from detector.predicates.drift import DriftStream
from detector.predicates.limits import Limits
from detector.predicates.shiryaev_roberts import MixtureShiryaevRoberts

Values = NDArray[np.float64]
Counts = NDArray[np.int64]
# Indices of the alarms on a stream, with a fresh start after each.
Alarms = Callable[[float, Values], Iterator[int]]

HEALTHY_RATE = 0.01
WINDOW = 1000  # calls of a plain rate
CHUNK = 30_000  # calls of five minutes at 100 a second
PER_S = 100
SIGMA = 0.8  # of log lengths
BINS = 16
_LEAD = 40_000
_LENGTH = 200_000  # records of a healthy stream
_ALARMS = 100
_TURNS = 12
_RUNS = 100
_EDGES = np.array([-1.534, -1.15, -0.887, -0.674, -0.489, -0.319, -0.157, 0.0])
_EDGES = np.concatenate([_EDGES, -_EDGES[-2::-1]])


@dataclass(frozen=True)
class Method:
    """A name, its alarms, the ends of its knob (the first gives the shorter runs), and the knob's default."""

    name: str
    alarms: Alarms
    ends: tuple[float, float]
    default: float | None = None


def shiryaev_roberts(run_length: float, flags: Values) -> Iterator[int]:
    """Ours for rates, told the healthy rate as its ceiling."""
    test = MixtureShiryaevRoberts(HEALTHY_RATE, run_length)
    bad, done = np.flatnonzero(flags), 0
    while (found := test.observe(len(flags) - done, (bad[bad >= done] - done).tolist())) is not None:
        done += found + 1
        yield done - 1
        test.restart()


def plain_rate(most: float, flags: Values) -> Iterator[int]:
    """The share of bad ones in the last thousand calls is over a limit."""
    total, at = np.concatenate([[0], np.cumsum(flags)]), WINDOW
    over = np.flatnonzero(total[WINDOW:] - total[:-WINDOW] > most * WINDOW) + WINDOW - 1
    while len(over := over[over >= at - 1]):
        yield int(over[0])
        at = int(over[0]) + 1 + WINDOW


def of_river(make: Callable[[float], Any], *, upwards: bool) -> Alarms:
    """A detector of River's; `upwards`: alarms of a rate that falls do not count."""

    def alarms(knob: float, values: Values) -> Iterator[int]:
        detector, slow, fast = make(knob), 0.0, 0.0
        binary = isinstance(detector, drift.binary.DDM)
        for index, value in enumerate(values.tolist()):
            detector.update(bool(value) if binary else value)
            slow += (value - slow) / min(index + 1, 2000)
            fast += (value - fast) / min(index + 1, 50)
            if detector.drift_detected:
                if fast > slow or not upwards:
                    yield index
                detector = make(knob)

    return alarms


def divergence(alpha: float, logs: Values) -> Iterator[int]:
    """Ours for lengths: its windows, and the test alone, without the tolerance that wander needs."""
    seconds = _binned(logs[: len(logs) // PER_S * PER_S]).reshape(-1, PER_S)
    limits = Limits(
        threshold_nats=1e-9,
        tolerance_nats=1e-9,
        alpha=alpha,
        design_effect=1.0,
        least=30.0,
        mode="fixed",
        calibrated=(1e-9,) * len(SPANS_S),
        reference=(3600 * PER_S // BINS,) * BINS,
    )
    stream = None
    for second, bins in enumerate(seconds):
        if stream is None:
            stream = DriftStream(BINS, SPANS_S, limits)
            stream.ring.start(second)
        stream.ring.add(second, np.bincount(bins, minlength=BINS))
        stream.close(second + 1, frozen=False)
        if stream.latched:
            yield (second + 1) * PER_S - 1
            stream = None


def chunk(distance: Callable[[Values], Values]) -> Alarms:
    """A distance of the last five minutes from the healthy distribution, looked at every second."""

    def alarms(most: float, logs: Values) -> Iterator[int]:
        bins = _binned(logs[: len(logs) // PER_S * PER_S]).reshape(-1, PER_S)
        panes = np.stack([(bins == each).sum(axis=1) for each in range(BINS)], axis=1)
        total = np.concatenate([np.zeros((1, BINS), np.int64), np.cumsum(panes, axis=0)])
        span, at = CHUNK // PER_S, 0
        over = np.flatnonzero(distance((total[span:] - total[:-span]) / CHUNK) > most) + span
        while len(over := over[over >= at + span]):
            at = int(over[0])
            yield at * PER_S - 1

    return alarms


def _kl(shares: Values) -> Values:
    return (shares * np.log(np.where(shares > 0, shares, 1.0) * BINS)).sum(axis=1)  # type: ignore[no-any-return]


def _jensen_shannon(shares: Values) -> Values:
    middle = (shares + 1 / BINS) / 2
    halves = shares * np.log2(np.where(shares > 0, shares / middle, 1.0)) - np.log2(middle * BINS) / BINS
    found: Values = np.sqrt(np.maximum(0.0, halves.sum(axis=1) / 2))
    return found


def _binned(logs: Values) -> Counts:
    return np.searchsorted(_EDGES, logs / SIGMA)


def _adwin(*, upwards: bool) -> Method:
    def make(delta: float) -> Any:
        return drift.ADWIN(delta=delta)  # type: ignore[no-untyped-call]  # no types there

    return Method("river ADWIN", of_river(make, upwards=upwards), (0.5, 1e-9), 0.002)


def _page_hinkley(*, upwards: bool) -> Method:
    def make(threshold: float) -> Any:
        return drift.PageHinkley(threshold=threshold, mode="up" if upwards else "both")

    return Method("river Page-Hinkley", of_river(make, upwards=upwards), (1.0, 1000.0), 50.0)


RATES = (
    Method("ours: mixture Shiryaev-Roberts", shiryaev_roberts, (10.0, 1e7)),
    Method("share of the last 1,000 over a limit", plain_rate, (0.01, 0.05)),
    _adwin(upwards=True),
    _page_hinkley(upwards=True),
    Method(
        "river DDM",
        of_river(lambda k: drift.binary.DDM(warning_threshold=k / 2, drift_threshold=k), upwards=True),
        (1.5, 30.0),
        3.0,
    ),
)
LENGTHS = (
    Method("ours: windows of 3 to 300 s", divergence, (1e-2, 1e-12)),
    Method("KL of five minutes over a limit", chunk(_kl), (1e-5, 0.1), 0.07),
    Method("Jensen-Shannon of five minutes over a limit", chunk(_jensen_shannon), (1e-3, 0.5), 0.1),
    _adwin(upwards=False),
    _page_hinkley(upwards=False),
)


def healthy_flags(rng: np.random.Generator) -> Values:
    """Bad ones at their healthy rate."""
    return (rng.random(_LENGTH) < HEALTHY_RATE).astype(np.float64)


def healthy_logs(rng: np.random.Generator) -> Values:
    """Log lengths of healthy answers, about their mean."""
    return SIGMA * rng.standard_normal(_LENGTH)


def run_length(
    method: Method, knob: float, healthy: Callable[[np.random.Generator], Values], wanted: float, seed: int
) -> float:
    """Mean records to a false alarm, of a hundred; infinite where ten times that many bring hardly any."""
    rng, alarms, records = np.random.default_rng(seed), 0, 0
    while alarms < _ALARMS and records < _ALARMS * wanted * 1.5:
        values = healthy(rng)
        found = sum(1 for _ in method.alarms(knob, values))
        alarms, records = alarms + found, records + len(values)
        if records > 10 * wanted and not alarms:
            return inf
        if alarms >= 20 and not 0.5 < records / alarms / wanted < 2.0:
            break  # far off: it need not be known any better
    return records / alarms if alarms else inf


def turned(method: Method, healthy: Callable[[np.random.Generator], Values], wanted: float) -> float:
    """The knob at which runs are as long as wanted, by bisection of its logarithm."""
    short, long = log(method.ends[0]), log(method.ends[1])
    for turn in range(_TURNS):
        middle = (short + long) / 2
        found = run_length(method, float(np.exp(middle)), healthy, wanted, turn)
        if abs(found / wanted - 1) < 0.05:
            return float(np.exp(middle))
        short, long = (middle, long) if found < wanted else (short, middle)
    return float(np.exp(long))


def delays(
    method: Method, knob: float, healthy: Values, changed: Callable[[np.random.Generator], Values]
) -> str:
    """Records until a change is found: median and 95 %, of a hundred runs behind healthy records."""
    found = []
    for seed in range(_RUNS):
        rng = np.random.default_rng([7, seed])
        values = np.concatenate([rng.permutation(healthy)[:_LEAD], changed(rng)])
        at = next((index for index in method.alarms(knob, values) if index >= _LEAD), None)
        found.append(inf if at is None else at + 1 - _LEAD)
    middle, late = np.quantile(found, [0.5, 0.95], method="higher")
    return f"{middle:,.0f} / {late:,.0f}".replace("inf", f"> {_LENGTH:,}")


def table(methods: tuple[Method, ...], wanted: float, *, rates: bool) -> Iterator[str]:
    """One row a method, and one of its defaults where it has any."""
    sizes = (0.02, 0.05, 0.2, 0.5) if rates else (0.15, 0.3, 0.7)
    healthy = healthy_flags if rates else healthy_logs
    columns = [f"to {size:.0%}" if rates else f"{size} nats" for size in sizes]
    yield f"| method | knob | run length | {' | '.join(columns)} |"
    yield "|" + (3 + len(sizes)) * "---|"
    steady = healthy(np.random.default_rng(99))

    def changed(size: float) -> Callable[[np.random.Generator], Values]:
        if rates:
            return lambda rng: (rng.random(_LENGTH) < size).astype(np.float64)
        # Two normal distributions of one width diverge by half the square of their distance in widths.
        return lambda rng: SIGMA * (rng.standard_normal(_LENGTH) - sqrt(2 * size))

    for method in methods:
        knobs = [("", turned(method, healthy, wanted))]
        knobs += [] if method.default is None else [(", its default", method.default)]
        for what, knob in knobs:
            length = run_length(method, knob, healthy, wanted, 1000)
            cells = (delays(method, knob, steady, changed(size)) for size in sizes)
            shown = f"{length:.2g}" if length < inf else f"> {10 * wanted:.0e}"
            yield f"| {method.name}{what} | {knob:.3g} | {shown} | {' | '.join(cells)} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run-length", type=float, default=1e5, help="records to a false alarm")
    args = parser.parse_args()
    for methods, rates in ((RATES, True), (LENGTHS, False)):
        sys.stdout.write(f"\n{'Rates, healthy 1 %' if rates else 'Lengths'}: records, median / 95 %\n\n")
        for row in table(methods, args.run_length, rates=rates):
            print(row, flush=True)


if __name__ == "__main__":
    main()
