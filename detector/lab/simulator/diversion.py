"""Calls that a gateway does not send to the primary: who answers them, and how fast."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from detector.lab.simulator.calls import NONE, Bools, Calls
from topics.scope import scope_of

# Median seconds of the fallbacks by name, and the share of their answers that are made up; others are as
# OTHER.
FALLBACKS = {"rule": (0.008, 0.0), "cache": (0.015, 0.002), "secondary": (0.025, 0.015)}
OTHER = (0.03, 0.01)


@dataclass(frozen=True, slots=True)
class Diversion:
    """What gateways do with a scope that is active.

    Attributes:
        primary_share: share of its calls that still go to the primary, as probes, 0..1.
        fallback: name of who answers the rest; for a deployment's scope its siblings do, if there are any.
    """

    primary_share: float = 0.05
    fallback: str = "rule"

    def __post_init__(self) -> None:
        if not 0 <= self.primary_share <= 1 or not self.fallback or self.fallback == "primary":
            raise ValueError("a diversion needs 0 <= primary_share <= 1 and the name of a fallback")


class Gateway:
    """Sends the calls of one route where the active scopes say.

    Every call costs the same lots whether anything is diverted or not, so its fate changes no other call's.

    Attributes:
        fallbacks: names, by the index that a call carries; index 0 is the primary.
    """

    def __init__(self, route: str, deployments: list[str], rng: np.random.Generator) -> None:
        self._route = scope_of(route)
        self._scopes = [scope_of(route, name) for name in deployments]
        self._rng = rng
        self.fallbacks = ["primary"]

    def send(self, calls: Calls, diversions: Mapping[str, Diversion]) -> None:
        """Mark probes, move calls off avoided deployments, and give the rest to fallbacks."""
        chance = self._rng.random((2, len(calls)))
        if self._route in diversions:
            diversion = diversions[self._route]
            stays = chance[0] < diversion.primary_share
            calls["probe"] = stays
            self._give(calls, ~stays, diversion.fallback)
            return
        avoided = [index for index, scope in enumerate(self._scopes) if scope in diversions]
        siblings = np.array([index for index in range(len(self._scopes)) if index not in avoided])
        first = calls["deployment"].copy()
        for index in avoided:
            diversion = diversions[self._scopes[index]]
            stays = chance[0] < diversion.primary_share
            calls["probe"] |= (first == index) & stays
            leaves = (first == index) & ~stays
            if len(siblings):
                to = siblings[(chance[1][leaves] * len(siblings)).astype(np.int64)]
                calls["deployment"][leaves] = to
            else:
                self._give(calls, leaves, diversion.fallback)

    def mark_golden(self, calls: Calls, diversions: Mapping[str, Diversion]) -> None:
        """Golden prompts always reach their deployment; while a scope is active they are probes of it."""
        for index, scope in enumerate(self._scopes):
            if self._route in diversions or scope in diversions:
                calls["probe"][calls["deployment"] == index] = True

    def answer(self, calls: Calls, outside: np.uint64) -> None:
        """Let the fallbacks answer; of all faults only the bits of `outside` can have struck such calls."""
        normal, chance = self._rng.standard_normal(len(calls)), self._rng.random(len(calls))
        for index, name in enumerate(self.fallbacks[1:], start=1):
            which = calls["fallback"] == index
            median, share = FALLBACKS.get(name, OTHER)
            some = calls[which]
            some["affected"] &= outside
            made_up = chance[which] < share
            took = median * np.exp(0.3 * normal[which])
            some["made_up"] = made_up
            some["verdict"] = np.where(some["verdict"] == NONE, NONE, made_up)
            some["error"] = 0
            some["refused"] = False
            some["limited"] = False
            some["clock_offset"] = 0.0
            for field in ("upstream", "logprob"):
                some[field] = np.nan
            some["ready"] = some["start"] = some["arrival"]
            some["ttft"] = took
            some["done"] = some["arrival"] + took
            calls[which] = some

    def _give(self, calls: Calls, which: Bools, name: str) -> None:
        if name not in self.fallbacks:
            self.fallbacks.append(name)
        calls["fallback"][which] = self.fallbacks.index(name)
        calls["deployment"][which] = NONE
