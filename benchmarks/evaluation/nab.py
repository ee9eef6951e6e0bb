"""NAB's own rules, one setting for all series, published scores beside.

    DETECTOR_DATA=/where/the/traces/are python -m benchmarks.evaluation.nab

A series is read as one record a second whose value is a feature; a divergence over at most 300 samples is
asked, nothing is set per series, and each activation is one detection. Rules of scoring: each window of an
anomaly pays once, for its earliest detection, by a sigmoid that falls from the window's start to its end;
detections outside cost, the less the sooner they follow a window; missed windows cost. The first 15 % of a
series (at most 750 samples) are not scored. 0 is a detector that says nothing, 100 a perfect one.

The published scores are on all 58 series of the corpus; those of known cause are not among the 35 here, and
the detectors' own outputs are not stored with the data, so that the two columns are not on equal terms.

Source: A. Lavin, S. Ahmad (2015), Evaluating real-time anomaly detection algorithms: the Numenta Anomaly
Benchmark, ICMLA.
"""

import argparse
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.evaluation.traces import T0, rows_of
from detector.contract.model import Contract, Defaults, Mode, PredicateSpec
from detector.lab.feed import Feed
from detector.lab.outcome import activations_of
from detector.pipeline import Pipeline
from topics.telemetry import TelemetryRecord

PROBATION_SHARE = 0.15
PROBATION_OF = 5000
WINDOW_SAMPLES = 300.0


@dataclass(frozen=True)
class Costs:
    """What a profile pays for a window found, and takes for a false detection and for a missed window."""

    found: float
    false: float
    missed: float


PROFILES = {
    "standard": Costs(1.0, 0.11, 1.0),
    "reward_low_FP_rate": Costs(1.0, 0.22, 1.0),
    "reward_low_FN_rate": Costs(1.0, 0.11, 2.0),
}
Span = tuple[int, int]  # first and last sample of a window, both inside


def sigmoid(position: float) -> float:
    """1 far before, 0 at the end of a window, -1 far behind; positions in window lengths from the end.

    >>> sigmoid(0.0)
    0.0
    """
    return 2.0 / (1.0 + math.exp(min(5.0 * position, 500.0))) - 1.0


def score(detections: Sequence[int], windows: Sequence[Span], samples: int, costs: Costs) -> float:
    """Raw score of one series; detections are sample indices, ascending.

    >>> score([], [(20, 29)], 100, PROFILES["standard"])
    -1.0
    >>> score([20], [(20, 29)], 100, PROFILES["standard"])
    1.0
    """
    probation = math.floor(PROBATION_SHARE * min(samples, PROBATION_OF))
    total = 0.0
    paid: set[Span] = set()
    for at in detections:
        if at < probation:
            continue
        inside = next((span for span in windows if span[0] <= at <= span[1]), None)
        if inside is not None:
            if inside not in paid:
                paid.add(inside)
                length = inside[1] - inside[0] + 1
                total += costs.found * sigmoid(-(inside[1] - at + 1) / length) / sigmoid(-1.0)
            continue
        before = [span for span in windows if span[1] < at]
        if before:
            first, last = before[-1]
            total += costs.false * sigmoid((at - last) / max(1, last - first))
        else:
            total -= costs.false
    return total - costs.missed * (len(windows) - len(paid))


def detections_of(values: Sequence[float]) -> list[int]:
    """Samples at which the default divergence activates."""
    spec = PredicateSpec(
        name="value_drift", type="divergence", field="features.value", window_s=WINDOW_SAMPLES
    )
    contract = Contract(
        defaults=Defaults(lateness_s=0.0, fleet_records_per_s=1.0),
        predicates={spec.name: spec},
        modes={spec.name: Mode(name=spec.name, when=spec.name)},
    )
    feed = Feed([Pipeline(contract)], 0.0, 5.0)
    for index, value in enumerate(values):
        feed.add(TelemetryRecord(event_time=T0 + index, route="r", features={"value": value}), index)
    feed.finish()
    found = (each.activated_at for each in activations_of(feed.decisions) if each.disposition == "act")
    return [min(len(values) - 1, math.floor(at - T0)) for at in found]


def series_of(folder: Path) -> dict[str, tuple[list[float], list[Span]]]:
    """Values and windows of each series by name."""
    labelled = json.loads((folder / "nab" / "combined_windows.json").read_text(encoding="utf-8"))
    rows: dict[str, list[tuple[datetime, float]]] = {}
    for row in rows_of(folder / "nab", "series.csv.gz"):
        at = datetime.fromisoformat(row["timestamp"])
        rows.setdefault(row["series"], []).append((at, float(row["value"])))
    found: dict[str, tuple[list[float], list[Span]]] = {}
    for name, samples in rows.items():
        spans = []
        for begins, ends in labelled[name]:
            inside = [
                i
                for i, (at, _) in enumerate(samples)
                if datetime.fromisoformat(begins) <= at <= datetime.fromisoformat(ends)
            ]
            spans.append((inside[0], inside[-1]))
        found[name] = ([value for _, value in samples], spans)
    return found


def evaluate(folder: Path) -> list[str]:
    """Lines of a Markdown report."""
    raw = dict.fromkeys(PROFILES, 0.0)
    windows = hits = outside = 0
    lines = ["| series | windows | found | false |", "|---|---|---|---|"]
    for name, (values, spans) in series_of(folder).items():
        detections = detections_of(values)
        probation = math.floor(PROBATION_SHARE * min(len(values), PROBATION_OF))
        late = [at for at in detections if at >= probation]
        hit = sum(any(first <= at <= last for at in late) for first, last in spans)
        wrong = sum(not any(first <= at <= last for first, last in spans) for at in late)
        windows, hits, outside = windows + len(spans), hits + hit, outside + wrong
        lines.append(f"| {name} | {len(spans)} | {hit} | {wrong} |")
        for profile, costs in PROFILES.items():
            raw[profile] += score(detections, spans, len(values), costs)
    lines.append(f"| all | {windows} | {hits} | {outside} |")
    lines += ["", "| detector | standard | low FP | low FN |", "|---|---|---|---|"]
    ours = [
        100.0 * (raw[profile] + costs.missed * windows) / ((costs.found + costs.missed) * windows)
        for profile, costs in PROFILES.items()
    ]
    lines.append("| ours, 35 series | " + " | ".join(f"{value:.1f}" for value in ours) + " |")
    published = json.loads((folder / "nab" / "published_final_results.json").read_text(encoding="utf-8"))
    for name, scores in sorted(published.items(), key=lambda pair: -pair[1]["standard"]):
        cells = " | ".join(f"{scores[profile]:.1f}" for profile in PROFILES)
        lines.append(f"| {name}, 58 series, as published | {cells} |")
    return lines


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("DETECTOR_DATA"))
    args = parser.parse_args()
    if args.data is None:
        parser.error("say where the traces are: --data or DETECTOR_DATA")
    print("\n".join(evaluate(args.data)))


if __name__ == "__main__":
    main()
