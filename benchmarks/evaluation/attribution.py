"""Which failure mode is named for which: a confusion matrix per profile of what is measured.

    python -m benchmarks.evaluation.attribution           # some fifteen minutes on two cores

Per mode and profile 34 incidents of a minute, one every five minutes, in regimes that nothing was tuned on,
judged by `deploy/ten-modes.yaml` calibrated on the healthy hour before. Each is judged by a detector of its
own that has seen three healthy minutes: what comes back every five minutes would be the route's habit soon.
What is named is the mode of the incident's activation a minute after it began, or its last one if it ended
sooner. A symptom's name for what has another cause is `cause unknown`: no guess. Modes that a profile cannot
tell are listed by the simulator beforehand (`Profile.tells`). The question is which mode is named, not how
small a fault is found, so `SIZES` are such as hurt in every regime; the others have their default size.
"""

import gc
import os
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import product
from pathlib import Path

from benchmarks.evaluation.protocol import calibrated
from benchmarks.evaluation.streams import UNSEEN, seed_of
from detector.contract import load_contract
from detector.contract.model import Contract
from detector.lab.feed import Feed
from detector.lab.incidents import Incident
from detector.lab.simulator import Fault, Simulation
from detector.lab.simulator.profiles import PROFILES
from detector.lab.simulator.scenario import Scenario
from detector.modes.catalog import FAILURE_MODES
from detector.modes.decision import Decision
from detector.pipeline import Pipeline
from topics.telemetry import TelemetryRecord

CONTRACT = Path(__file__).parents[2] / "deploy" / "ten-modes.yaml"
PREFIX_S, EVERY_S, LASTS_S = 3600.0, 300.0, 60.0
HEALTHY_S = 180.0
INCIDENTS = 34
SIZES = {
    "input_drift": 1.5,
    "token_drift": 1.5,
    "hardware_throttling": 0.8,
    "latency_spike": 2.0,
    "external_api_latency": 10.0,
}
CALLS_PER_S = 40.0
NAMED_WITHIN_S = 60.0
SLACK_S = 60.0
SYMPTOMS = frozenset({"latency_spike", "hallucination_spike", "error_spike", "token_drift"})
MODES = tuple(FAILURE_MODES)
UNKNOWN, MISSED = "cause unknown", "missed"


def confusion(mode: str, profile: str) -> tuple[str, str, Counter[str], int]:
    """(mode, profile, how often each name was given, activations that belong to no incident)."""
    seed = seed_of("attribution", mode, profile)
    regime = UNSEEN[sorted(UNSEEN)[seed % len(UNSEEN)]]
    first = PREFIX_S + EVERY_S
    scenario = Scenario(
        name="attribution",
        says=mode,
        regime=regime,
        profile=profile,
        routes=("r",),
        calls_per_s=CALLS_PER_S,
        duration_s=first + INCIDENTS * EVERY_S,
        faults=tuple(
            Fault(kind=mode, start_s=first + i * EVERY_S, duration_s=LASTS_S, size=SIZES.get(mode))
            for i in range(INCIDENTS)
        ),
    )
    simulation = Simulation(scenario, seed)
    records = list(simulation.records())
    gc.freeze()
    split = bisect_left(records, records[0].event_time + PREFIX_S, key=lambda each: each.event_time)
    contract = calibrated(unstated(load_contract(CONTRACT.read_text("utf-8"))), records[:split])
    incidents = [Incident("r", mode, each.start, each.end) for each in simulation.incidents]
    names, wrong = Counter[str](), 0
    for incident in incidents:
        decisions = judged(contract, records, incident)
        names[named(mode, incident, decisions)] += 1
        wrong += _false(incident, decisions)
    return mode, profile, names, wrong


def judged(contract: Contract, records: Sequence[TelemetryRecord], incident: Incident) -> list[Decision]:
    """What a detector decides that begins three minutes before an incident and ends a minute after it."""
    begin, end = (
        bisect_left(records, at, key=lambda each: each.event_time)
        for at in (incident.start - HEALTHY_S, incident.end + SLACK_S)
    )
    feed = Feed([Pipeline(contract)], contract.defaults.lateness_s, 67.0)
    for index in range(begin, end):
        feed.add(records[index], index)
    feed.finish()
    return feed.decisions


def unstated(contract: Contract) -> Contract:
    """Limits and ceilings are learnt: the example's are of other traffic."""
    predicates = {
        name: replace(spec, stated=tuple(key for key in spec.stated if key != "ceiling"))
        for name, spec in contract.predicates.items()
    }
    return replace(contract, predicates=predicates)


def named(mode: str, incident: Incident, decisions: list[Decision]) -> str:
    """The name that an incident was given."""
    inside = [each for each in decisions if incident.start <= each.at <= incident.end + SLACK_S]
    if mode == "telemetry_silence":
        heard = any(each.mode == mode and each.kind == "activated" for each in inside)
        return mode if heard else MISSED
    acts = [each for each in inside if each.disposition == "act" and each.kind != "extended"]
    began = next((each for each in acts if each.kind == "activated"), None)
    if began is None:
        return MISSED
    until = began.at + NAMED_WITHIN_S
    last = [each for each in acts if began.at <= each.at <= until and each.state == "active" and each.mode]
    name = last[-1].mode
    return UNKNOWN if name != mode and name in SYMPTOMS else name


def _false(incident: Incident, decisions: list[Decision]) -> int:
    return sum(
        each.kind == "activated" and each.disposition == "act" and each.at < incident.start
        for each in decisions
    )


def main() -> None:
    """Run all cells and print the matrices."""
    found: dict[str, dict[str, Counter[str]]] = {profile: {} for profile in PROFILES}
    false: Counter[str] = Counter()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        todo = [pool.submit(confusion, *cell) for cell in product(MODES, PROFILES)]
        for number, done in enumerate(as_completed(todo), start=1):
            mode, profile, names, wrong = done.result()
            found[profile][mode] = names
            false[profile] += wrong
            print(f"{number} of {len(todo)}: {mode}, {profile}: {dict(names)}", file=sys.stderr)
    for profile, rows in found.items():
        tells = PROFILES[profile].tells
        columns = (*MODES, UNKNOWN, MISSED)
        print(f"\n## {profile}\n\n| was \\ named | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
        told, can = Counter[str](), Counter[str]()
        for mode in MODES:
            mark = mode if mode in tells else f"({mode})"
            print(f"| {mark} | {' | '.join(str(rows[mode][name] or '') for name in columns)} |")
            for name, count in rows[mode].items():
                how = "right" if name == mode else name if name in (UNKNOWN, MISSED) else "wrong"
                told[how] += count
                can[how] += count * (mode in tells)
        print(
            f"\nOf the modes that it can tell {can['right']} of {can.total()} right; of all {told.total()} "
            f"{told['wrong']} wrong, {told[UNKNOWN]} unknown, {told[MISSED]} missed; {false[profile]} "
            "activations belong to none"
        )


if __name__ == "__main__":
    main()
