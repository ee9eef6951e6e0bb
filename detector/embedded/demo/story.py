"""What the demo found, for programs (`demo --json`) and for people."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from rich.console import Console

from detector.embedded.demo.log import Episode, Log
from detector.embedded.demo.scenarios import FAULT_S, SILENT, Scenario
from detector.embedded.demo.traffic import Traffic

_QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of one scenario; times are seconds into the feed.

    Attributes:
        observed: mode acted on, or `silent`.
        ok: the expected mode, once, while the fault lasted, and the primary back afterwards.
        delay_s: from the first faulty call to the first gateway that had applied the activation.
        false: episodes that should not have been.
        episode: the one that answers the fault.
    """

    scenario: Scenario
    observed: str
    ok: bool
    delay_s: float | None
    false: int
    episode: Episode | None


def judge(scenario: Scenario, log: Log, traffic: Traffic, age_at: Callable[[float], float]) -> Finding:
    """Compare what was decided on a route with what had to be.

    Args:
        scenario: what was fed.
        log: what was decided.
        traffic: what became of the route's calls.
        age_at: turns Unix seconds into seconds of the feed.
    """
    answer: Episode | None = None
    false = 0
    for episode in log.of_route(scenario.route):
        at = age_at(episode.opened.issued_at)
        start = scenario.fault_at_s
        # A window that ends with the fault is judged a little after it.
        in_time = start is not None and start <= at <= start + FAULT_S + 1.0
        if answer is None and in_time and episode.mode == scenario.expected:
            answer = episode
        else:
            false += 1
    observed = next((episode.mode for episode in log.of_route(scenario.route)), SILENT)
    if answer is not None:
        observed = answer.mode
    done = scenario.expected == SILENT or (answer is not None and answer.closed is not None)
    delay_s = None
    if answer is not None and answer.applied and traffic.first_fault_s is not None:
        delay_s = age_at(min(answer.applied.values())) - traffic.first_fault_s
    return Finding(
        scenario=scenario,
        observed=observed,
        ok=observed == scenario.expected and false == 0 and done,
        delay_s=delay_s,
        false=false,
        episode=answer,
    )


def delays_ms(log: Log, sent_at: Callable[[int, int], float | None]) -> tuple[list[float], list[float]]:
    """Time from each record that crossed a line to each gateway's having applied what followed, ms.

    Returns:
        Those of predicates that judge at each record, and those of windowed ones, which have to wait
        for the end of a pane and for late records.
    """
    each_record: list[float] = []
    windowed: list[float] = []
    for episode in log.episodes:
        evidence = episode.opened.evidence
        sent = sent_at(evidence.partition, evidence.offset)
        if sent is not None:
            found = windowed if evidence.window_s is not None else each_record
            found += [1000.0 * (applied - sent) for applied in episode.applied.values()]
    return each_record, windowed


def quantiles(values: Sequence[float]) -> dict[str, Any]:
    """Nearest-rank quantiles, None of no values, and their number."""
    ranked = sorted(values)
    return {
        name: round(ranked[ceil(share * len(ranked)) - 1], 3) if ranked else None
        for name, share in _QUANTILES.items()
    } | {"n": len(ranked)}


def as_json(
    findings: Sequence[Finding], records: int, malformed: int, rate: float, delays: Sequence[float]
) -> dict[str, Any]:
    """The document of `demo --json`."""
    false = sum(finding.false for finding in findings)
    return {
        "records": records,
        "malformed": malformed,
        "scenarios": [
            {
                "name": finding.scenario.name,
                "expected": finding.scenario.expected,
                "observed": finding.observed,
                "ok": finding.ok,
                "delay_s": None if finding.delay_s is None else round(finding.delay_s, 3),
            }
            for finding in findings
        ],
        "false_activations": false,
        "evidence_to_gateway_ms": quantiles(delays),
        "records_per_s": round(rate, 1),
        "ok": all(finding.ok for finding in findings) and false == 0,
    }


def tell(console: Console, finding: Finding, traffic: Traffic, age_at: Callable[[float], float]) -> None:
    """Tell the story of one scenario."""
    scenario, tally = finding.scenario, traffic.tally
    mark = "[green]as expected[/green]" if finding.ok else "[red]NOT as expected[/red]"
    console.print(f"\n[bold]{scenario.name}[/bold], route {scenario.route}: {mark}")
    console.print(f"  {scenario.story}.", markup=False)
    episode = finding.episode
    if episode is None:
        console.print(f"  expected {scenario.expected}, observed {finding.observed}", markup=False)
        console.print(f"  {tally.calls:,} calls, {tally.diverted:,} of them diverted")
        return
    opened = episode.opened
    delay = "" if finding.delay_s is None else f", {finding.delay_s:.2f} s after the first faulty call"
    console.print(f"  detected  {finding.observed} at {age_at(opened.issued_at):.1f} s{delay}", markup=False)
    console.print(f"  because   {opened.reason}", markup=False)
    for name, said in opened.evidence.detail.items():
        if isinstance(said, str):
            console.print(f"            {name}: {said}", markup=False)
    evidence = opened.evidence
    console.print(
        f"  evidence  {evidence.topic} partition {evidence.partition} offset {evidence.offset}", markup=False
    )
    served = ", ".join(f"{name} {count:,}" for name, count in sorted(tally.by_fallback.items()))
    calls = tally.calls_until - tally.calls_before
    console.print(
        f"  gateways  sent {tally.diverted_share:.0%} of the next {calls:,} calls to fallbacks ({served}),"
        f" from {tally.first_diverted_s or 0.0:.1f} s on; {tally.probes:,} calls probed the primary",
        markup=False,
    )
    if episode.closed is not None and scenario.fault_at_s is not None:
        back = age_at(episode.closed.issued_at)
        console.print(
            f"  recovery  the primary had all calls again at {back:.1f} s,"
            f" {back - scenario.fault_at_s - FAULT_S:.1f} s after its fault had ended"
        )
    else:
        console.print("  recovery  none: the primary was not given back its calls")
