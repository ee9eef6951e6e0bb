"""Real data under the one protocol of PROTOCOL.md: what is found, how fast, and what is falsely said.

DETECTOR_DATA=/where/the/traces/are python -m benchmarks.evaluation.real_data [--only WORD] [--example]
"""

import argparse
import os
import time
from itertools import chain
from pathlib import Path

from benchmarks.evaluation.protocol import Outcome, calibrated, example, judge, prefix_of
from benchmarks.evaluation.traces import NOMINAL_PER_S, SEED, cases, petshop
from detector.lab.report import evidence


def line(outcome: Outcome, seconds: float) -> str:
    """One row of the table."""
    case = outcome.case
    verdict = "ok" if outcome.ok else "FAILS"
    if case.fault is not None:
        said = "missed"
        if outcome.found is not None:
            said = f"{outcome.found.predicate} after {outcome.delay} records, {outcome.delay_s:.1f} s"
        said += ", ACTIVE BEFORE" if outcome.active_before else ", inactive before"
    else:
        said = "armed " + ", ".join(f"{name} {outcome.armed[name]:.0%}" for name in case.watched)
    if outcome.false:
        start = case.records[0].event_time
        shown = (
            f"{each.predicate} at {each.activated_at - start:.0f} s ({evidence(each)})"
            for each in outcome.false[:4]
        )
        said += f"; {len(outcome.false)} false: {', '.join(shown)}"
    if outcome.unusable:
        said += f"; unusable: {', '.join(outcome.unusable)}"
    return f"| {case.name} | {len(case.records):,} | {verdict} | {said} | {seconds:.1f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("DETECTOR_DATA"))
    parser.add_argument("--only", default="", help="cases whose name holds this word")
    parser.add_argument("--example", action="store_true", help="the example contract, without calibration")
    parser.add_argument("--per-s", type=float, default=NOMINAL_PER_S, help="nominal rate of untimed sets")
    parser.add_argument("--seed", type=int, default=SEED, help="order of what has no order")
    args = parser.parse_args()
    if args.data is None:
        parser.error("say where the traces are: --data or DETECTOR_DATA")
    print("| case | records | | what was said | s |\n|---|---|---|---|---|")
    good = total = 0
    for case in chain(
        cases(args.data, args.per_s, args.seed),
        petshop(args.data, calls=True),
        petshop(args.data, calls=False),
    ):
        if args.only not in case.name:
            continue
        started = time.perf_counter()
        contract = example(learnt=not args.example)
        if not args.example:
            contract = calibrated(contract, prefix_of(case))
        outcome = judge(case, contract)
        total += 1
        good += outcome.ok
        print(line(outcome, time.perf_counter() - started), flush=True)
    print(f"\n{good} of {total} as they should be")


if __name__ == "__main__":
    main()
