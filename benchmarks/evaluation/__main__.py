"""Ours beside other methods on simulated incidents in unseen regimes: false, found, delay, cost.

    python -m benchmarks.evaluation --quick
    python -m benchmarks.evaluation --full

Truth, false and found are what `detector.lab.matching` says; every run is a line of the log. Incidents come
far more often here than the 4.3 a day that the promise is made for: `false per week` is of healthy time, and
`at 4.3 a day` the share of false activations that it would come to then. `--quick` takes some ten minutes on
two cores.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path

import numpy as np
from scipy.stats import beta, chi2

from benchmarks.evaluation.methods import methods
from benchmarks.evaluation.protocol import BESIDE, calibrated_on, example
from benchmarks.evaluation.reach import Reach
from benchmarks.evaluation.streams import EVERY_S, TUNING, UNSEEN, Cell, Stream, cells, stream
from detector.lab.matching import Matching, longest_window_s, match
from topics.telemetry import TelemetryRecord

WEEK_S = 604_800.0
PER_DAY = 4.3
WAITS_S = 0.1  # in a queue: two to three times what the first token usually takes
LOOKED_BACK_S = 15.0

_time = attrgetter("event_time")


@dataclass
class Tally:
    """What one method did on some streams."""

    true: int = 0
    false: int = 0
    repeats: int = 0
    incidents: int = 0
    waited: int = 0  # of the false ones, those around which at least a tenth of the calls stood in a queue
    reachable: int = 0
    reached: int = 0
    healthy_s: float = 0.0
    records: int = 0
    took_s: float = 0.0
    delays_s: list[float] = field(default_factory=list)

    def add(self, run: "Run") -> None:
        """Count one stream."""
        self.true += len(run.found)
        self.false += len(run.false)
        self.waited += sum(share >= 0.1 for *_, share in run.false)
        self.repeats += run.repeats
        self.incidents += run.incidents
        self.reachable += run.reachable
        self.reached += run.reached
        self.healthy_s += run.healthy_s
        self.records += run.records
        self.took_s += run.took_s
        self.delays_s += run.delays_s

    def row(self, name: str) -> str:
        """Of the table; bounds are one-sided 95 %, Clopper-Pearson and exact Poisson."""
        total = self.true + self.false
        share = self.false / total if total else 0.0
        upper = float(beta.ppf(0.95, self.false + 1, self.true)) if self.true else 1.0
        weeks = self.healthy_s / WEEK_S
        weekly = float(chi2.ppf(0.95, 2 * (self.false + 1))) / 2 / weeks
        daily = self.true / self.incidents * PER_DAY * 7 if self.incidents else 0.0
        asked = self.false / weeks / (self.false / weeks + daily) if daily + self.false else 0.0
        middle, late = np.quantile(self.delays_s, [0.5, 0.95]) if self.delays_s else (np.nan, np.nan)
        cells = (
            name,
            f"{self.true}/{self.incidents}",
            f"{self.reached}/{self.reachable}",
            f"{self.false} ({self.waited})",
            f"{share:.1%} (< {upper:.1%})",
            f"{self.false / weeks:.1f} (< {weekly:.1f})",
            f"{asked:.1%}",
            str(self.repeats),
            f"{middle:.1f} / {late:.1f}",
            f"{1e6 * self.took_s / max(1, self.records):.1f}",
        )
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| method | found | of the detectable | false (in a queue) | false share (95 % bound) "
    "| false per week (95 % bound) "
    "| at 4.3 a day | repeats | delay s, median / p95 | us per record |\n|" + 10 * "---|"
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One method on one stream; times in seconds from the stream's start.

    Attributes:
        found: (mode, size) of each; missed likewise, and whether it was one of the reachable.
        reachable, reached: incidents above the smallest detectable that our calibration predicted, and those
            of them that were found.
        false: (predicate, time, the transient that acted less than eight minutes before or "", share of the
            calls around it that waited for a slot): a queue in traffic that no fault was put into.
    """

    method: str
    found: list[tuple[str, float]]
    missed: list[tuple[str, float, bool]]
    reachable: int
    reached: int
    false: list[tuple[str, float, str, float]]
    repeats: int
    incidents: int
    healthy_s: float
    records: int
    took_s: float
    delays_s: list[float]


def evaluate(
    commit: str, cell: Cell, *, full: bool, only: Sequence[str], laps: int, beside: Sequence[str]
) -> tuple[Cell, int, list[Run]]:
    """All methods on one stream, calibrated on its first day."""
    data = stream(commit, cell, laps)
    gc.collect()
    gc.freeze()  # millions of records, none of them garbage
    contract = example(learnt=True)
    for each in beside:
        contract = BESIDE[each](contract)
    own, learnt = calibrated_on(contract, data.prefix)
    reach = Reach(own, learnt)
    within = [
        reach.covers(each, size, data.records) for each, size in zip(data.incidents, data.sizes, strict=True)
    ]
    runs = []
    for method in methods(full=full):
        if only and method.name not in only:
            continue
        started = time.perf_counter()
        activations = method.run(own, data.prefix, data.records)
        took_s = time.perf_counter() - started
        matching = match(activations, data.incidents, longest_window_s=longest_window_s(own))
        lateness_s = own.defaults.lateness_s if method.name in ("ours", "literal") else 0.0
        runs.append(_run(method.name, data, matching, within, took_s, lateness_s))
    return cell, data.seed, runs


def _run(
    name: str, data: Stream, matching: Matching, within: Sequence[bool], took_s: float, lateness_s: float
) -> Run:
    hits = {each.start for each, _ in matching.found}
    labelled = list(zip(data.incidents, data.sizes, within, strict=True))
    began = data.records[0].event_time
    return Run(
        method=name,
        found=[(each.mode, size) for each, size, _ in labelled if each.start in hits],
        missed=[(each.mode, size, far) for each, size, far in labelled if each.start not in hits],
        reachable=sum(within),
        reached=sum(far and each.start in hits for each, _, far in labelled),
        false=[
            (
                each.parts[0].predicate,
                round(each.start - began, 1),
                next((kind for kind, at in data.transients if 0 <= each.start - at < EVERY_S), ""),
                round(_waited(data.records, each.start), 2),
            )
            for each in matching.false
        ],
        repeats=len(matching.repeats),
        incidents=len(data.incidents),
        healthy_s=data.healthy_s,
        records=len(data.records),
        took_s=took_s,
        delays_s=matching.delays_s(lateness_s),
    )


def _waited(records: Sequence[TelemetryRecord], at: float) -> float:
    """Share of the calls of the quarter of a minute before a time that stood in a queue."""
    first = bisect_left(records, at - LOOKED_BACK_S, key=_time)
    around = records[first : bisect_left(records, at, lo=first, key=_time)]
    return sum((each.queue_s or 0.0) > WAITS_S for each in around) / max(1, len(around))


def count(run: Run, modes: dict[str, list[int]]) -> None:
    """Add a run's incidents to [found, all, missed though reachable] of each mode and size."""
    outcomes = [(mode, size, True, False) for mode, size in run.found]
    outcomes += [(mode, size, False, reachable) for mode, size, reachable in run.missed]
    for mode, size, hit, reachable in outcomes:
        counted = modes.setdefault(f"{mode} {size:g}", [0, 0, 0])
        counted[0] += hit
        counted[1] += 1
        counted[2] += reachable


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    extent = parser.add_mutually_exclusive_group(required=True)
    extent.add_argument("--quick", action="store_true", help="some ten minutes")
    extent.add_argument("--full", action="store_true", help="hours: KSWIN, more repeats, three rates")
    parser.add_argument("--log", type=Path, default=Path("evaluation-runs.jsonl"), help="one line per run")
    parser.add_argument("--commit", help="whose hash seeds; default: the present one")
    parser.add_argument("--tuning", action="store_true", help="the simulator's own regimes instead")
    parser.add_argument("--only", action="append", default=[], metavar="METHOD", help="leave out the others")
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        choices=BESIDE,
        help="judge this as well: time to first token, answers and questions given the tenant",
    )
    parser.add_argument("--laps", type=int, default=1, help="how often each incident comes in a stream")
    parser.add_argument("--repeats", type=int, help="streams of each regime and rate")
    parser.add_argument("--per-s", type=float, action="append", help="calls a second; may be given again")
    args = parser.parse_args()
    commit = args.commit or _head()
    rates, repeats = ((10.0, 100.0), 8) if args.full else ((20.0,), 2)
    rates, repeats = args.per_s or rates, args.repeats or repeats
    regimes = list(TUNING if args.tuning else UNSEEN)
    whole: dict[str, Tally] = {}
    parts: dict[str, Tally] = {}
    modes: dict[str, list[int]] = {}
    with args.log.open("a", encoding="utf-8") as log, ProcessPoolExecutor(os.cpu_count()) as pool:
        todo = [
            pool.submit(
                evaluate,
                commit,
                cell,
                full=args.full,
                only=args.only,
                laps=args.laps,
                beside=args.beside,
            )
            for cell in cells(regimes, rates, repeats)
        ]
        for number, done in enumerate(as_completed(todo), start=1):
            cell, seed, runs = done.result()
            for run in runs:
                whole.setdefault(run.method, Tally()).add(run)
                if run.method == "ours":
                    parts.setdefault(f"{cell.regime}, {cell.calls_per_s:g}/s", Tally()).add(run)
                    count(run, modes)
                log.write(json.dumps({"commit": commit, "seed": seed} | asdict(cell) | asdict(run)) + "\n")
            log.flush()
            print(f"{number} of {len(todo)} streams: {cell}", file=sys.stderr)
    size = f"{repeats} repeats, {args.laps} laps"
    print(f"commit {commit}, regimes {', '.join(regimes)}, rates {rates}, {size}\n\n{HEAD}")
    for name, tally in whole.items():
        print(tally.row(name))
    print("\nOurs, by regime and rate:\n\n" + HEAD)
    for name, tally in sorted(parts.items()):
        print(tally.row(name))
    print("\nOurs, by mode and size:\n\n| incident | found | missed though detectable |\n|---|---|---|")
    for name, (hit, total, reachable) in sorted(modes.items()):
        print(f"| {name} | {hit}/{total} | {reachable} |")


def _head() -> str:
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


if __name__ == "__main__":
    main()
