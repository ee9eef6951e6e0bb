"""Simulated LLM serving with known faults: `simulate(name, seed)`, or `python -m detector.lab.simulator`.

Mechanisms make the fields: calls arrive in sessions of tenants, wait for slots, and share batches. So a
fault shows in all the fields that it would show in, with the noise and gaps that it would have. Knows
nothing of predicates and modes: what it calls wrong does not depend on what a detector can see.
"""

from detector.lab.simulator.catalogue import SCENARIOS
from detector.lab.simulator.diversion import Diversion
from detector.lab.simulator.faults import KINDS, Fault, Incident
from detector.lab.simulator.profiles import PROFILES, Profile
from detector.lab.simulator.regimes import REGIMES, Regime
from detector.lab.simulator.scenario import Scenario
from detector.lab.simulator.simulation import Simulation, simulate, write_incidents
from detector.lab.simulator.simulator import Block, Simulator

__all__ = [
    "KINDS",
    "PROFILES",
    "REGIMES",
    "SCENARIOS",
    "Block",
    "Diversion",
    "Fault",
    "Incident",
    "Profile",
    "Regime",
    "Scenario",
    "Simulation",
    "Simulator",
    "simulate",
    "write_incidents",
]
