"""Simulated weeks with known incidents, in regimes that no method was tuned on.

The regimes differ from the simulator's own in wander, session size, autocorrelation of the engines, tenant
skew and day curve. Each stream is healthy for 20 minutes, of which the first 10 are calibrated on; then an
incident starts every eight minutes. Seeds follow from the commit that is evaluated: nobody picks them.
"""

import hashlib
from collections.abc import Iterator, Sequence
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
LEAD_S = 1200.0
CALIBRATED_S = 600.0
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
class Stream:
    """Telemetry of one route and the truth about it."""

    name: str
    regime: str
    calls_per_s: float
    seed: int
    records: Sequence[TelemetryRecord]
    incidents: Sequence[Incident]
    sizes: Sequence[float]

    @property
    def prefix(self) -> Sequence[TelemetryRecord]:
        """What methods may calibrate on."""
        end = self.records[0].event_time + CALIBRATED_S
        return [each for each in self.records if each.event_time < end]

    @property
    def healthy_s(self) -> float:
        """Seconds outside incidents."""
        length = self.records[-1].event_time - self.records[0].event_time
        return length - sum(each.end - each.start for each in self.incidents)


def seed_of(commit: str, *parts: object) -> int:
    """A seed that follows from the commit and the cell."""
    text = " ".join(map(str, (commit, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def streams(commit: str, rates: Sequence[float], repeats: int) -> Iterator[Stream]:
    """Per regime, rate and repeat a stream with the whole grid in it, and one with transients."""
    grid = [
        (mode, size, duration_s)
        for duration_s, (mode, sizes) in product(DURATIONS_S, SIZES.items())
        for size in sizes
    ]
    for regime, per_s, repeat in product(UNSEEN, rates, range(repeats)):
        seed = seed_of(commit, regime, per_s, repeat)
        # The order turns from stream to stream, so that no mode always follows the same one.
        turned = grid[seed % len(grid) :] + grid[: seed % len(grid)]
        faults = [
            Fault(kind=mode, start_s=LEAD_S + i * EVERY_S, duration_s=duration_s, size=size)
            for i, (mode, size, duration_s) in enumerate(turned)
        ]
        sizes = [size for _, size, _ in turned]
        yield _stream("faults", regime, per_s, seed, faults, sizes)
        quiet = [
            Fault(kind=kind, start_s=LEAD_S + i * EVERY_S, duration_s=120.0)
            for i, kind in enumerate(TRANSIENTS)
        ]
        yield _stream("transients", regime, per_s, seed_of(commit, seed), quiet, [])


def _stream(
    name: str, regime: str, per_s: float, seed: int, faults: Sequence[Fault], sizes: Sequence[float]
) -> Stream:
    scenario = Scenario(
        name=name,
        says=name,
        regime=UNSEEN[regime],
        routes=("r",),
        calls_per_s=per_s,
        duration_s=LEAD_S + len(faults) * EVERY_S,
        faults=tuple(faults),
    )
    simulation = Simulation(scenario, seed)
    records = list(simulation.records())
    incidents = [Incident(each.scope, each.mode, each.start, each.end) for each in simulation.incidents]
    return Stream(name, regime, per_s, seed, records, incidents, sizes)
