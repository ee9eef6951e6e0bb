"""Simulated weeks with known incidents, in regimes that no method was tuned on.

The unseen regimes differ from the simulator's own, which are for tuning, in wander, session size,
autocorrelation of the engines, tenant skew and day curve. Each stream begins with the healthy day that it is
calibrated on; then come 20 minutes in which windows fill, five healthy transients, and an incident of each
kind, one every eight minutes. Seeds follow from the commit that is evaluated: nobody picks them.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from detector.lab.incidents import Incident
from detector.lab.simulator import REGIMES, Fault, Regime, Simulation
from detector.lab.simulator.scenario import Scenario
from topics.telemetry import TelemetryRecord

UNSEEN: dict[str, Regime] = {
    # Long sessions of few callers, engines whose speed drifts.
    "agents": replace(
        REGIMES["mid"], zipf=1.8, session_turns=6.0, think_s=4.0, speed_sd=0.1, speed_tau_s=60.0
    ),
    # Many callers, a steep day.
    "evening": replace(
        REGIMES["small"], zipf=0.9, wander_tau_s=12_000.0, day_amplitude=0.6, day_peak_s=72_000.0
    ),
    # Calls alike within sessions, a stall every six minutes.
    "batchy": replace(REGIMES["small"], session_sd=0.5, session_turns=3.0, stalls_per_hour=10.0, stall_s=0.5),
}
TUNING: dict[str, Regime] = {name: REGIMES[name] for name in ("small", "mid", "large")}
CALIBRATED_S = 86_400.0
LEAD_S = 1200.0
TRANSIENT_S = 120.0
EVERY_S = 480.0  # longer than an incident and the time in which it can be found
# Mode, sizes from a size that hurts to a small one; every size with every duration.
SIZES: dict[str, tuple[float, ...]] = {
    "input_drift": (0.7, 0.3),
    "token_drift": (0.7, 0.3),
    "hallucination_spike": (0.5, 0.1),
    "error_spike": (0.5, 0.1),
    "latency_spike": (1.0, 0.5),
    "external_api_latency": (10.0, 5.0),
}
DURATIONS_S = (30.0, 90.0)
TRANSIENTS = ("batch_stall", "cache_change", "flash_crowd", "scale_up", "scale_down")


@dataclass(frozen=True)
class Cell:
    """One stream to be made: a regime at a rate, calls per second, and which repeat of it."""

    regime: str
    calls_per_s: float
    repeat: int


@dataclass(frozen=True)
class Stream:
    """Telemetry of one route and the truth about it.

    Attributes:
        prefix: the healthy day that methods may calibrate on.
        records: what they are judged on, from the end of that day on.
        incidents, sizes: what is wrong in it, in the order of time.
        transients: (kind, start, Unix s) of healthy events.
    """

    cell: Cell
    seed: int
    prefix: Sequence[TelemetryRecord]
    records: Sequence[TelemetryRecord]
    incidents: Sequence[Incident]
    sizes: Sequence[float]
    transients: Sequence[tuple[str, float]]

    @property
    def healthy_s(self) -> float:
        """Seconds outside incidents."""
        length = self.records[-1].event_time - self.records[0].event_time
        return length - sum(each.end - each.start for each in self.incidents)


def seed_of(commit: str, *parts: object) -> int:
    """A seed that follows from the commit and the cell."""
    text = " ".join(map(str, (commit, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def cells(regimes: Sequence[str], rates: Sequence[float], repeats: int) -> list[Cell]:
    """Every regime at every rate, so many times; in rounds, so that a run cut short holds all regimes."""
    return [Cell(regime, rate, repeat) for repeat, regime, rate in product(range(repeats), regimes, rates)]


def stream(commit: str, cell: Cell, laps: int = 1) -> Stream:
    """Make a cell's stream, some 20,000 records a second; `laps`: how often each incident comes."""
    seed = seed_of(commit, cell.regime, cell.calls_per_s, cell.repeat)
    grid = [
        (mode, size, duration_s)
        for duration_s, (mode, sizes) in product(DURATIONS_S, SIZES.items())
        for size in sizes
    ]
    # The order turns from stream to stream, so that no mode always follows the same one.
    turned = grid[seed % len(grid) :] + grid[: seed % len(grid)]
    lap_s = len(turned) * EVERY_S
    first = CALIBRATED_S + LEAD_S
    quiet = [
        Fault(kind=kind, start_s=first + i * EVERY_S, duration_s=TRANSIENT_S)
        for i, kind in enumerate(TRANSIENTS)
    ]
    first += len(quiet) * EVERY_S
    faults = [
        Fault(
            kind=mode,
            start_s=first + i * EVERY_S,
            duration_s=laps * lap_s,
            size=size,
            every_s=lap_s,
            for_s=duration_s,
        )
        for i, (mode, size, duration_s) in enumerate(turned)
    ]
    scenario = Scenario(
        name="evaluation",
        says="a healthy day, transients, faults",
        regime=(UNSEEN | TUNING)[cell.regime],
        routes=("r",),
        calls_per_s=cell.calls_per_s,
        duration_s=first + laps * lap_s,
        faults=(*quiet, *faults),
    )
    simulation = Simulation(scenario, seed)
    records = list(simulation.records())
    began = records[0].event_time
    split = bisect_left(records, began + CALIBRATED_S, key=lambda each: each.event_time)
    incidents = [
        Incident(each.scope, each.mode, each.start, each.end)
        for each in sorted(simulation.incidents, key=lambda each: each.start)
    ]
    return Stream(
        cell,
        seed,
        records[:split],
        records[split:],
        incidents,
        laps * [size for _, size, _ in turned],
        [(each.kind, began + each.start_s) for each in quiet],
    )
