"""The scenarios that ship with the package, by name.

Each kind of event has one of its own name with its default size: five minutes of health, a minute of fault,
and health again. The others say what they add to that.
"""

from detector.lab.simulator.faults import KINDS, Fault
from detector.lab.simulator.scenario import Scenario

FAULT_FROM_S = 300.0
FAULT_FOR_S = 60.0
DURATION_S = 600.0


def _single(kind: str) -> Scenario:
    known = KINDS[kind]
    what = "a healthy transient" if known.mode is None else f"failure mode {known.mode}"
    return Scenario(
        name=kind,
        says=f"{kind.replace('_', ' ')} for a minute: {what}; size: {known.unit}, {known.size:g}",
        duration_s=DURATION_S,
        faults=(Fault(kind=kind, start_s=FAULT_FROM_S, duration_s=FAULT_FOR_S),),
    )


def _fault(
    kind: str, start_s: float = FAULT_FROM_S, duration_s: float = FAULT_FOR_S, **more: object
) -> Fault:
    return Fault(kind=kind, start_s=start_s, duration_s=duration_s, **more)  # type: ignore[arg-type]  # its own fields


_OTHERS = (
    Scenario(name="healthy", says="ten minutes in which nothing happens", duration_s=DURATION_S),
    Scenario(
        name="still",
        says="ten minutes in which nothing happens, and no mix, day or engine moves",
        regime="still",
        duration_s=DURATION_S,
    ),
    Scenario(
        name="healthy_transients",
        says="forty minutes with everything that looks like a fault and is none",
        duration_s=2400.0,
        faults=(
            _fault("batch_stall", 300.0),
            _fault("tenant_arrives", 600.0, 240.0),
            _fault("tenant_leaves", 960.0, 180.0),
            _fault("flash_crowd", 1260.0, 120.0),
            _fault("cache_change", 1500.0, 120.0),
            _fault("scale_up", 1740.0, 180.0),
            _fault("scale_down", 2040.0, 180.0),
        ),
    ),
    Scenario(
        name="flapping",
        says="errors for 20 seconds, health for 20 seconds, for half an hour",
        duration_s=2400.0,
        faults=(_fault("error_spike", FAULT_FROM_S, 1800.0, size=0.5, every_s=40.0),),
    ),
    Scenario(
        name="double_latency",
        says="the external API gets slow while one device is throttled",
        duration_s=DURATION_S,
        faults=(_fault("external_api_latency"), _fault("hardware_throttling", 315.0)),
    ),
    Scenario(
        name="double_quality",
        says="the questions change, and soon after one deployment's answers are damaged",
        duration_s=DURATION_S,
        faults=(_fault("input_drift", 300.0, 90.0), _fault("parameter_corruption", 330.0)),
    ),
    Scenario(
        name="silent_update",
        says="all deployments get another model under the old name: answers change, questions do not",
        duration_s=DURATION_S,
        faults=(_fault("parameter_corruption", deployment=-1),),
    ),
    Scenario(
        name="neighbours",
        says="three routes, one of them made to hallucinate; the other two are well",
        routes=("chat", "search", "extract"),
        duration_s=DURATION_S,
        faults=(_fault("hallucination_spike", route="search"),),
    ),
    Scenario(
        name="collector_lost",
        says="the telemetry of all three routes stops for a minute; calls go on",
        routes=("chat", "search", "extract"),
        duration_s=DURATION_S,
        faults=(_fault("telemetry_gap"),),
    ),
)

SCENARIOS = {each.name: each for each in (*(_single(kind) for kind in KINDS), *_OTHERS)}


def scenario_named(name: str) -> Scenario:
    """The scenario of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in SCENARIOS:
        raise ValueError(f"unknown scenario {name!r}; one of {', '.join(SCENARIOS)}")
    return SCENARIOS[name]
