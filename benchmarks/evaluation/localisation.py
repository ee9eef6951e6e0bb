"""Which scope acts, the route's or one deployment's? Gateways obey meanwhile.

    python -m benchmarks.evaluation.localisation           # some four minutes on two cores

Per kind of fault 16 incidents of a minute that strike one of four deployments, and 16 that strike all,
one every four minutes, in regimes that nothing was tuned on, at 100 calls/s. Judged by the ten-mode contract
and by the example contract, which has no causes; both calibrated on the healthy half hour before.
"""

import gc
import os
import sys
from bisect import bisect_left
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import product
from pathlib import Path

from benchmarks.evaluation.attribution import unstated
from benchmarks.evaluation.protocol import calibrated
from benchmarks.evaluation.streams import UNSEEN, seed_of
from detector.contract import example_text, load_contract
from detector.contract.model import Condition, Contract
from detector.lab.simulator import Fault, Simulation
from detector.lab.simulator.diversion import Diversion
from detector.lab.simulator.scenario import Scenario
from detector.lab.simulator.simulator import Simulator
from detector.modes.decision import Decision
from detector.pipeline import Pipeline
from topics.scope import scope_of
from topics.telemetry import TelemetryRecord

TEN_MODES = Path(__file__).parents[2] / "deploy" / "ten-modes.yaml"
PREFIX_S, LEAD_S, EVERY_S, LASTS_S = 1800.0, 600.0, 240.0, 60.0
INCIDENTS = 16
CALLS_PER_S = 100.0
SLACK_S = 30.0
ONE, ALL = 1, -1
KINDS = {
    "error_spike": 0.3,
    "hallucination_spike": 0.3,
    "latency_spike": 3.0,
    "hardware_throttling": 0.7,
    "inference_overload": 1.5,
    "mid_stream_stall": 1.0,
}
OUTCOMES = ("deployment", "route, then deployment", "route", "both", "another deployment", "missed")


def contract_text(name: str) -> str:
    """The contract of this name."""
    return TEN_MODES.read_text("utf-8") if name == "ten modes" else example_text()


def outcomes(kind: str, struck: int, contract_name: str) -> tuple[str, int, str, Counter[str], int]:
    """(kind, struck, contract, what acted how often, activations outside of all incidents)."""
    seed = seed_of("localisation", kind, struck)
    regime = UNSEEN[sorted(UNSEEN)[seed % len(UNSEEN)]]
    first = PREFIX_S + LEAD_S
    scenario = Scenario(
        name="localisation",
        says=kind,
        regime=regime,
        routes=("r",),
        deployments=4,
        calls_per_s=CALLS_PER_S,
        duration_s=first + INCIDENTS * EVERY_S,
        faults=tuple(
            Fault(
                kind=kind,
                start_s=first + i * EVERY_S,
                duration_s=LASTS_S,
                size=KINDS[kind],
                deployment=struck,
            )
            for i in range(INCIDENTS)
        ),
    )
    simulation = Simulation(scenario, seed)
    world = simulation.simulator()
    prefix = healthy(world, PREFIX_S)
    contract = calibrated(undrifting(unstated(load_contract(contract_text(contract_name)))), prefix)
    gc.freeze()
    decisions = obeyed(world, Pipeline(contract))
    found = Counter(
        outcome(decisions, each.start, each.end + SLACK_S, scope_of("r", "r-1") if struck == ONE else "r")
        for each in simulation.incidents
    )
    began = [each.at for each in decisions if each.kind == "activated" and each.disposition == "act"]
    outside = sum(
        not any(each.start <= at <= each.end + SLACK_S for each in simulation.incidents) for at in began
    )
    return kind, struck, contract_name, found, outside


def undrifting(contract: Contract) -> Contract:
    """Without divergences: half an hour is too short for them, and they tell no deployments."""
    kept = {name: spec for name, spec in contract.predicates.items() if spec.type != "divergence"}
    modes = {}
    for name, mode in contract.modes.items():
        if isinstance(mode.when, Condition):
            of = tuple(each for each in mode.when.of if each in kept)
            modes[name] = replace(mode, when=Condition(mode.when.least, of))
        elif mode.when in kept:
            modes[name] = mode
    return replace(contract, predicates=kept, modes=modes)


def healthy(world: Simulator, seconds: float) -> list[TelemetryRecord]:
    """The first `seconds` of a world, all calls answered by the primary."""
    records: list[TelemetryRecord] = []
    end = world.now + seconds
    while world.now < end:
        records += world.step().records
    return records[: bisect_left(records, end, key=lambda each: each.event_time)]


def obeyed(world: Simulator, pipeline: Pipeline) -> list[Decision]:
    """Decisions on the rest of a world whose gateways do what they say, from the next block on."""
    decisions: list[Decision] = []
    diverted: dict[str, Diversion] = {}
    offset = 0
    while world.now < world.scenario.end:
        block = world.step(diverted)
        n = len(block.records)
        fresh = pipeline.step(block.records, range(offset, offset + n), [block.end] * n) if n else []
        fresh += pipeline.tick(block.end)
        offset += n
        for each in fresh:
            if each.disposition == "act":
                diverted.pop(each.scope, None)
                if each.state == "active":
                    diverted[each.scope] = Diversion(primary_share=each.primary_share)
        decisions += fresh
    return decisions


def outcome(decisions: list[Decision], start: float, end: float, scope: str) -> str:
    """Which scopes acted in [start, end), one of OUTCOMES; `scope`: the one that was struck."""
    acts = [
        each.scope
        for each in decisions
        if start <= each.at < end and each.disposition == "act" and each.kind == "activated"
    ]
    if not acts:
        return "missed"
    if set(acts) == {"r"}:
        return "route"
    if scope == "r":
        return "both" if "r" in acts else "deployment"
    if set(acts) == {scope}:
        return "deployment"
    return "route, then deployment" if set(acts) == {"r", scope} else "another deployment"


def main() -> None:
    """Run all cells and print a table."""
    rows: dict[tuple[str, int, str], tuple[Counter[str], int]] = {}
    cells = [
        (kind, struck, name)
        for kind, struck, name in product(KINDS, (ONE, ALL), ("ten modes", "example"))
        if struck == ALL or kind != "inference_overload"  # which is more calls than all of them can take
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        todo = [pool.submit(outcomes, *cell) for cell in cells]
        for number, done in enumerate(as_completed(todo), start=1):
            kind, struck, name, found, outside = done.result()
            rows[kind, struck, name] = found, outside
            print(f"{number} of {len(cells)}: {kind}, {struck}, {name}: {dict(found)}", file=sys.stderr)
    print(f"| fault | strikes | contract | {' | '.join(OUTCOMES)} | outside |\n|---|---|---|{'---|' * 7}")
    for cell in cells:
        found, outside = rows[cell]
        kind, struck, name = cell
        counts = " | ".join(str(found[each] or "") for each in OUTCOMES)
        print(
            f"| {kind} | {'one of four' if struck == ONE else 'all'} | {name} | {counts} | {outside or ''} |"
        )


if __name__ == "__main__":
    main()
