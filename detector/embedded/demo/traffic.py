"""One route's calls as its gateways would report them.

A call that a gateway sends to the primary carries what the slice recorded of the primary, faulty
while the fault lasts and good before and after; a probe does too. A call that is diverted carries
the question of the slice and the answer of a fallback. So the loop closes as it does in service:
what the detector says decides what it sees next.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from detector.embedded.demo.scenarios import Scenario
from detector.embedded.slices import Call, load_slice
from topics.telemetry import PRIMARY, TelemetryRecord

_HIGH_RISK_EVERY = 5
# What is known of a call before anybody answers it.
_QUESTION = ("input_tokens", "features")


@dataclass(slots=True)
class Tally:
    """What the gateways did with the calls of a route; times are seconds into the feed."""

    calls: int = 0
    diverted: int = 0
    probes: int = 0
    first_diverted_s: float | None = None
    last_diverted_s: float | None = None
    # Numbers of calls up to the last diverted one and before the first.
    calls_until: int = 0
    calls_before: int = 0
    by_fallback: dict[str, int] = field(default_factory=dict)

    @property
    def diverted_share(self) -> float:
        """Share of calls sent to a fallback between the first and the last one that was."""
        span = self.calls_until - self.calls_before
        return self.diverted / span if span else 0.0


class Traffic:
    """The calls of one scenario, in order; both parts of the slice start over when they end.

    Args:
        scenario: what to feed.
        fallback_s: name of each fallback -> seconds that it takes.
    """

    def __init__(self, scenario: Scenario, fallback_s: dict[str, float]) -> None:
        parts = load_slice(scenario.slice)
        self.scenario = scenario
        self.tally = Tally()
        self.first_fault_s: float | None = None
        self._healthy, self._fault = parts["healthy"], parts.get("fault", [])
        self._fallback_s = fallback_s
        self._next = {"healthy": 0, "fault": 0}
        self._draw = Random(scenario.name)

    def due(self, age_s: float) -> int:
        """Number of calls that have ended by now and were not asked for yet."""
        return int(age_s * self.scenario.calls_per_s) - self.tally.calls

    def input_class(self) -> str:
        """Class of the next call: every fifth is of high risk."""
        return "high_risk" if self.tally.calls % _HIGH_RISK_EVERY == 0 else "default"

    def call(self, age_s: float, now: float, served_by: str, *, probe: bool) -> TelemetryRecord:
        """The next call, ended at `now` (Unix seconds), as the gateway that decided on it reports it."""
        tally = self.tally
        input_class = self.input_class()
        recorded = self._recorded(age_s)
        common: dict[str, Any] = {
            "event_time": now,
            "route": self.scenario.route,
            "request_id": f"{self.scenario.route}-{tally.calls}",
            "input_class": input_class,
            "served_by": served_by,
            "probe": probe,
        }
        tally.calls += 1
        tally.probes += probe
        if served_by == PRIMARY:
            return TelemetryRecord(**common, **recorded)
        self._count_diverted(age_s, served_by)
        question = {name: recorded[name] for name in _QUESTION if name in recorded}
        return TelemetryRecord(**common, **question, latency_s=self._fallback_s.get(served_by))

    def _recorded(self, age_s: float) -> Call:
        if not self.scenario.faulty(age_s):
            return self._row("healthy", self._healthy)
        if self.first_fault_s is None:
            self.first_fault_s = age_s
        # Drawn, not counted out: every n-th call could fall in step with the gateway's probes.
        if self._draw.random() >= self.scenario.fault_share:
            return self._row("healthy", self._healthy)
        return self._row("fault", self._fault)

    def _row(self, part: str, rows: list[Call]) -> Call:
        index = self._next[part]
        self._next[part] = (index + 1) % len(rows)
        return rows[index]

    def _count_diverted(self, age_s: float, served_by: str) -> None:
        tally = self.tally
        if tally.first_diverted_s is None:
            tally.first_diverted_s = age_s
            tally.calls_before = tally.calls - 1
        tally.last_diverted_s = age_s
        tally.calls_until = tally.calls
        tally.diverted += 1
        tally.by_fallback[served_by] = tally.by_fallback.get(served_by, 0) + 1
