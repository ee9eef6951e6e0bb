"""What goes wrong, and what only looks like it: kinds of events, and when they act."""

from dataclasses import dataclass, field

import numpy as np

from detector.lab.simulator.calls import Bools, Floats, Ints

ANYWHERE = -1


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of event.

    Attributes:
        mode: the failure mode that a detector ought to name; None for a healthy transient.
        size: default size.
        unit: what the size says.
        deployment: the one that it strikes by default; -1: the whole route.
        everywhere: it strikes all routes by default.
    """

    mode: str | None
    size: float
    unit: str
    deployment: int = ANYWHERE
    everywhere: bool = False


KINDS = {
    "input_drift": Kind("input_drift", 0.3, "divergence of log input lengths, nats"),
    "token_drift": Kind("token_drift", 0.3, "divergence of log output lengths given the input, nats"),
    "parameter_corruption": Kind("parameter_corruption", 0.3, "share of answers damaged, 0..1", deployment=0),
    "inference_overload": Kind("inference_overload", 1.5, "offered load over capacity, above 1"),
    "external_api_latency": Kind("external_api_latency", 5.0, "factor on the external API's time"),
    "hardware_throttling": Kind("hardware_throttling", 0.5, "share of the clock lost, 0..0.9", deployment=0),
    "hallucination_spike": Kind("hallucination_spike", 0.2, "share of answers made up, 0..1"),
    "latency_spike": Kind("latency_spike", 0.5, "median seconds on top, in the network"),
    "error_spike": Kind("error_spike", 0.2, "share of calls that fail, 0..1"),
    "telemetry_silence": Kind("telemetry_silence", 1.0, "share of records that never arrive, 0..1"),
    "brown_out": Kind("inference_overload", 0.75, "share of the slots lost, 0..1"),
    "mid_stream_stall": Kind("latency_spike", 1.0, "seconds that three streams in ten stand still"),
    "telemetry_gap": Kind("telemetry_silence", 1.0, "share of records that never arrive", everywhere=True),
    "clock_skew": Kind(None, 30.0, "seconds that a deployment's clock is ahead", deployment=0),
    "batch_stall": Kind(None, 0.5, "seconds that an engine stands still, every ten", deployment=0),
    "tenant_arrives": Kind(None, 0.3, "share of the calls that come from the new tenant, 0..0.9"),
    "tenant_leaves": Kind(None, 1.0, "share of the largest tenant's calls that stay away, 0..1"),
    "flash_crowd": Kind(None, 1.6, "factor on the rate; within the capacity"),
    "cache_change": Kind(None, 1.0, "share of the prefix cache's hits lost, 0..1"),
    "scale_up": Kind(None, 1.5, "factor on the slots"),
    "scale_down": Kind(None, 0.75, "factor on the slots"),
}
# These act through the queue, which is full for a while after they are over.
LINGERING = frozenset({"inference_overload", "brown_out"})
# These strike what reaches the gateway or leaves it, so calls that a fallback answers are struck too.
OUTSIDE = frozenset({"input_drift", "telemetry_silence", "telemetry_gap"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One event of a scenario. Times are seconds from the start.

    Attributes:
        kind: a key of KINDS.
        size: None for the kind's default.
        route: name; "" for the first route, "*" for all of them; None for the kind's default.
        deployment: index of the one that is struck; -1 for the whole route, None for the kind's default.
        every_s: if given, it comes and goes: at the beginning of each such period it acts.
        for_s: for how long it acts then; None for half of the period.
    """

    kind: str
    start_s: float
    duration_s: float
    size: float | None = None
    route: str | None = None
    deployment: int | None = None
    every_s: float | None = None
    for_s: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}; one of {', '.join(KINDS)}")
        if self.duration_s <= 0 or self.start_s < 0 or (self.every_s is not None and self.every_s <= 0):
            raise ValueError("a fault needs start_s >= 0, duration_s > 0 and every_s > 0")
        if self.for_s is not None and not 0 < self.for_s < (self.every_s or 0.0):
            raise ValueError("a fault needs 0 < for_s < every_s")

    def strikes(self) -> list[tuple[float, float]]:
        """The intervals in which it acts, seconds from the start of the scenario."""
        end = self.start_s + self.duration_s
        if self.every_s is None:
            return [(self.start_s, end)]
        starts = np.arange(self.start_s, end, self.every_s)
        acts_s = self.every_s / 2 if self.for_s is None else self.for_s
        return [(float(start), min(float(start) + acts_s, end)) for start in starts]


@dataclass(slots=True, kw_only=True)
class Incident:
    """What was really wrong, for one scope and one stretch of time; Unix seconds.

    Attributes:
        scope: `route`, or `route@deployment` where only one is at fault.
        mode: failure mode; the kind of event for a healthy transient.
        kind: kind of event.
        start: when it began to act.
        end: when it ceased to, or the event time of the last call that it harmed, if that is later.
        affected: calls that it had a hand in, as far as the stream has been read.
    """

    scope: str
    mode: str
    kind: str
    start: float
    end: float
    affected: int = 0


@dataclass(slots=True)
class Active:
    """A fault on one route, in Unix seconds; `bit` marks the calls that it had a hand in."""

    kind: str
    size: float
    deployment: int
    bit: np.uint64
    incidents: list[Incident]
    lingers: bool = False
    _starts: Floats = field(init=False)
    _ends: Floats = field(init=False)

    def __post_init__(self) -> None:
        self._starts = np.array([each.start for each in self.incidents])
        self._ends = np.array([each.end for each in self.incidents])

    def during(self, start: float, end: float) -> bool:
        """Whether it acts at some time in [start, end)."""
        return bool(((self._starts < end) & (self._ends > start)).any())

    def acts_at(self, time: float) -> bool:
        """Whether it acts at one time."""
        return bool(((self._starts <= time) & (time < self._ends)).any())

    def share_of(self, start: float, end: float) -> float:
        """Share of [start, end) in which it acts, 0..1."""
        overlap = np.minimum(self._ends, end) - np.maximum(self._starts, start)
        return float(np.maximum(overlap, 0.0).sum() / (end - start))

    def began(self, time: float) -> float:
        """When the last strike began that was not after `time`, else the first one."""
        index = int(np.searchsorted(self._starts, time, side="right")) - 1
        return float(self._starts[max(index, 0)])

    def reaches(self, deployment: Ints) -> Bools:
        """Whether calls on these deployments can suffer from it."""
        return (
            np.full(len(deployment), True) if self.deployment == ANYWHERE else deployment == self.deployment
        )

    def at(self, times: Floats) -> Bools:
        """Whether it acts, at each of the times."""
        index = np.searchsorted(self._starts, times, side="right") - 1
        return (index >= 0) & (times < self._ends[index])

    def hits(self, times: Floats, deployment: Ints) -> Bools:
        """Whether it strikes calls of these times and deployments."""
        struck = self.at(times)
        return struck if self.deployment == ANYWHERE else struck & (deployment == self.deployment)
