"""Ours beside other methods on simulated incidents in unseen regimes: false, found, delay, cost.

    python -m benchmarks.evaluation --quick
    python -m benchmarks.evaluation --full

Truth, false and found are what `detector.lab.matching` says; every run is a line of the log. `--quick` takes
some minutes on two cores.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import beta, chi2

from benchmarks.evaluation.methods import methods
from benchmarks.evaluation.protocol import calibrated, example
from benchmarks.evaluation.streams import Stream, streams
from detector.lab.matching import Matching, longest_window_s, match

WEEK_S = 604_800.0


@dataclass
class Tally:
    """What one method did on some streams."""

    true: int = 0
    false: int = 0
    repeats: int = 0
    incidents: int = 0
    healthy_s: float = 0.0
    records: int = 0
    took_s: float = 0.0
    delays_s: list[float] = field(default_factory=list)

    def add(self, stream: Stream, matching: Matching, took_s: float, lateness_s: float) -> None:
        """Count one stream."""
        self.true += len(matching.found)
        self.false += len(matching.false)
        self.repeats += len(matching.repeats)
        self.incidents += len(stream.incidents)
        self.healthy_s += stream.healthy_s
        self.records += len(stream.records)
        self.took_s += took_s
        self.delays_s += matching.delays_s(lateness_s)

    def row(self, name: str) -> str:
        """Of the table; bounds are one-sided 95 %, Clopper-Pearson and exact Poisson."""
        total = self.true + self.false
        share = self.false / total if total else 0.0
        upper = float(beta.ppf(0.95, self.false + 1, self.true)) if self.true else 1.0
        weeks = self.healthy_s / WEEK_S
        weekly = float(chi2.ppf(0.95, 2 * (self.false + 1))) / 2 / weeks
        middle, late = np.quantile(self.delays_s, [0.5, 0.95]) if self.delays_s else (np.nan, np.nan)
        return (
            f"| {name} | {self.true}/{self.incidents} | {self.false} | {share:.1%} (< {upper:.1%}) "
            f"| {self.false / weeks:.1f} (< {weekly:.1f}) | {self.repeats} | {middle:.1f} / {late:.1f} "
            f"| {1e6 * self.took_s / max(1, self.records):.1f} |"
        )


HEAD = (
    "| method | found | false | false share (95 % bound) | false per week (95 % bound) | repeats "
    "| delay s, median / p95 | us per record |\n|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true", help="some minutes")
    size.add_argument("--full", action="store_true", help="hours: KSWIN, more repeats, three rates")
    parser.add_argument("--log", type=Path, default=Path("evaluation-runs.jsonl"), help="one line per run")
    parser.add_argument("--commit", help="whose hash seeds; default: the present one")
    args = parser.parse_args()
    commit = (
        args.commit
        or subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    rates, repeats = ((10.0, 100.0, 1000.0), 8) if args.full else ((20.0, 40.0), 1)
    chosen = methods(full=args.full)
    whole = {each.name: Tally() for each in chosen}
    parts: dict[str, Tally] = {}
    modes: dict[str, list[int]] = {}
    contract = example(learnt=True)
    with args.log.open("a", encoding="utf-8") as log:
        for stream in streams(commit, rates, repeats):
            own = calibrated(contract, stream.prefix)
            for method in chosen:
                started = time.perf_counter()
                activations = method.run(own, stream.prefix, stream.records)
                took_s = time.perf_counter() - started
                matching = match(activations, stream.incidents, longest_window_s=longest_window_s(own))
                lateness_s = own.defaults.lateness_s if method.name in ("ours", "literal") else 0.0
                whole[method.name].add(stream, matching, took_s, lateness_s)
                if method.name == "ours":
                    part = f"{stream.regime}, {stream.calls_per_s:g}/s, {stream.name}"
                    parts.setdefault(part, Tally()).add(stream, matching, took_s, lateness_s)
                    hits = {each.start for each, _ in matching.found}
                    for each, how_big in zip(stream.incidents, stream.sizes, strict=True):
                        cell = modes.setdefault(f"{each.mode} {how_big:g}", [0, 0])
                        cell[0] += each.start in hits
                        cell[1] += 1
                log.write(json.dumps(_said(commit, stream, method.name, matching, took_s)) + "\n")
                print(
                    f"{stream.regime} {stream.calls_per_s:g}/s {stream.name} {method.name}", file=sys.stderr
                )
    print(f"commit {commit}, regimes agents, evening, batchy, rates {rates}, {repeats} repeat(s)\n\n{HEAD}")
    for name, tally in whole.items():
        print(tally.row(name))
    print("\nOurs, by regime, rate and stream:\n\n" + HEAD)
    for name, tally in parts.items():
        print(tally.row(name))
    print("\nOurs, by mode and size:\n\n| incident | found |\n|---|---|")
    for name, (hit, total) in sorted(modes.items()):
        print(f"| {name} | {hit}/{total} |")


def _said(commit: str, stream: Stream, method: str, matching: Matching, took_s: float) -> dict[str, object]:
    return {
        "commit": commit,
        "stream": stream.name,
        "regime": stream.regime,
        "calls_per_s": stream.calls_per_s,
        "seed": stream.seed,
        "method": method,
        "records": len(stream.records),
        "found": [[each.mode, merged.start - each.start] for each, merged in matching.found],
        "missed": [each.mode for each in matching.missed],
        "repeats": len(matching.repeats),
        "false": [
            [each.parts[0].predicate, each.start - stream.records[0].event_time] for each in matching.false
        ],
        "took_s": round(took_s, 2),
    }


if __name__ == "__main__":
    main()
