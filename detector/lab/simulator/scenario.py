"""A scenario: traffic, what is measured of it, and what happens in it."""

from dataclasses import dataclass, fields, replace
from typing import Any

from detector.lab.simulator.faults import Fault
from detector.lab.simulator.profiles import PROFILES, Profile
from detector.lab.simulator.regimes import REGIMES, Regime

START = 1_767_225_600.0  # 2026-01-01
MOST_FAULTS = 64  # each has a bit of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What a simulation runs.

    Attributes:
        name, says: as in the catalogue, and in a sentence.
        regime: the name of one, or one of your own.
        profile: who measures what, by name or of your own.
        routes: names; each has the same kind of traffic, drawn anew.
        calls_per_s: of each route, mean over the day.
        deployments: of each route.
        duration_s: seconds.
        start: Unix seconds, a whole second.
        block_s: seconds simulated at once; a stream depends on it. Diversions and sizes change between
        blocks.
        faults: what happens.
    """

    name: str
    says: str
    regime: str | Regime = "small"
    profile: str | Profile = "all_signals"
    routes: tuple[str, ...] = ("chat",)
    calls_per_s: float = 100.0
    deployments: int = 3
    duration_s: float = 900.0
    start: float = START
    block_s: float = 1.0
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.regime, str) and self.regime not in REGIMES:
            raise ValueError(f"unknown regime {self.regime!r}; one of {', '.join(REGIMES)}")
        if isinstance(self.profile, str) and self.profile not in PROFILES:
            raise ValueError(f"unknown profile {self.profile!r}; one of {', '.join(PROFILES)}")
        if not self.routes or len(set(self.routes)) < len(self.routes):
            raise ValueError("a scenario needs routes, each named once")
        if self.calls_per_s <= 0 or self.deployments < 1 or self.duration_s <= 0 or self.block_s <= 0:
            raise ValueError("a scenario needs calls_per_s, deployments, duration_s and block_s above 0")
        if len(self.faults) > MOST_FAULTS:
            raise ValueError(f"at most {MOST_FAULTS} faults in one scenario")
        for fault in self.faults:
            if fault.route not in (None, "", "*", *self.routes):
                raise ValueError(f"a fault strikes route {fault.route!r}, which the scenario does not have")
            if fault.deployment is not None and not -1 <= fault.deployment < self.deployments:
                raise ValueError(f"a fault strikes deployment {fault.deployment} of {self.deployments}")

    @property
    def traffic(self) -> Regime:
        """The regime itself."""
        return REGIMES[self.regime] if isinstance(self.regime, str) else self.regime

    @property
    def measured(self) -> Profile:
        """The profile itself."""
        return PROFILES[self.profile] if isinstance(self.profile, str) else self.profile

    @property
    def end(self) -> float:
        """Unix seconds."""
        return self.start + self.duration_s

    def changed(self, **changes: Any) -> "Scenario":
        """Another one that differs in fields of its own, of its regime or profile, or of all its faults.

        Fields of the regime and of the profile go by their own names, those of faults as `fault_size`,
        `fault_start_s`, `fault_duration_s` and so on.

        Raises:
            ValueError: there is no such field, or it cannot have that value.
        """
        own = {name: changes.pop(name) for name in _names(Scenario) & changes.keys()}
        result = replace(self, **own)
        of_faults = {name: changes.pop(name) for name in list(changes) if name.startswith("fault_")}
        of_regime = {name: changes.pop(name) for name in _names(Regime) & changes.keys()}
        of_profile = {name: changes.pop(name) for name in _names(Profile) & changes.keys()}
        bare = {name.removeprefix("fault_"): value for name, value in of_faults.items()}
        unknown = [*changes, *(f"fault_{name}" for name in bare.keys() - _names(Fault))]
        if unknown:
            raise ValueError(f"nothing of a scenario is called {', '.join(unknown)}")
        if of_regime:
            result = replace(result, regime=replace(result.traffic, **of_regime))
        if of_profile:
            result = replace(result, profile=replace(result.measured, **of_profile))
        if bare:
            result = replace(result, faults=tuple(replace(fault, **bare) for fault in result.faults))
        return result


def _names(kind: type) -> set[str]:
    return {field.name for field in fields(kind)}
