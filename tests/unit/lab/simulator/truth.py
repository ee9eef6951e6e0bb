"""What the tests of the simulator share: short runs, and the whole truth about their calls."""

import numpy as np

from detector.lab.simulator import Fault, Scenario, Simulation, simulate

FROM_S, FOR_S, ALL_S = 40.0, 30.0, 110.0


def run(kind=None, *, seed=5, of=("chat",), **changes):
    """A short run of one kind of event (or none) on traffic that is else steady, and its calls in order."""
    of_fault = ("size", "deployment", "every_s", "for_s", "route")
    more = {name: changes.pop(name) for name in of_fault if name in changes}
    faults = () if kind is None else (Fault(kind=kind, start_s=FROM_S, duration_s=FOR_S, **more),)
    scenario = Scenario(
        name="test", says="a test", regime="still", routes=of, duration_s=ALL_S, faults=faults
    )
    return simulate(scenario, seed, **changes)


def calls_of(simulation: Simulation, route="chat"):
    return np.concatenate([block.calls[route] for block in simulation.blocks()])


def during(simulation, calls):
    """Calls that arrived while the fault acted, the first seconds left out in which it builds up."""
    since = calls["arrival"] - simulation.scenario.start
    return calls[(since >= FROM_S + 5) & (since < FROM_S + FOR_S)]


def before(simulation, calls):
    return calls[calls["arrival"] - simulation.scenario.start < FROM_S - 2]


def ms_per_token(calls):
    decoding = calls["done"] - calls["arrival"] - calls["ttft"]
    return 1000 * decoding / np.maximum(calls["output_tokens"] - 1, 1)
