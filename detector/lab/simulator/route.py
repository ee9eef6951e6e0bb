"""One route: arrivals, gateway, external API, engines, and the calls as they end."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from detector.lab.simulator.answers import Asking
from detector.lab.simulator.arrivals import Arrivals, Source
from detector.lab.simulator.calls import Calls, Floats, Ints, joined
from detector.lab.simulator.diversion import Diversion, Gateway
from detector.lab.simulator.engine import CROWDING, DECODE_S, PREFILL_S, Autoscaler, Deployment, stretch
from detector.lab.simulator.faults import ANYWHERE, LINGERING, OUTSIDE, Active
from detector.lab.simulator.population import Population
from detector.lab.simulator.profiles import Profile
from detector.lab.simulator.regimes import Regime

WAITS_S = 0.05  # a call that waits longer than this suffers from an overload
POWER_CAP, THERMAL = 0x4, 0x20  # NVML: software power cap, software thermal slowdown
_CLOCK, _CLOCK_SPREAD = 0.985, 0.014
_CAPPED_SHARE = 0.02
_STALL_EVERY_S = 10.0


class Route:
    """Simulates one route in blocks; whatever it draws comes from generators of its own.

    Args:
        name: of the route.
        regime, profile: traffic and what is measured of it.
        calls_per_s: mean over the day.
        deployments: their names; calls are spread evenly over them.
        start: Unix seconds.
        faults: what happens on this route.
        seed: of all that it draws.
    """

    def __init__(
        self,
        name: str,
        regime: Regime,
        profile: Profile,
        *,
        calls_per_s: float,
        deployments: list[str],
        start: float,
        faults: Sequence[Active],
        seed: np.random.SeedSequence,
    ) -> None:
        self.name = name
        rngs = [np.random.default_rng(each) for each in seed.spawn(8)]
        self._call_rng, self._crowd_rng, self._golden_rng, self._engine_rng = rngs[3:7]
        self._regime, self._profile = regime, profile
        self._faults = list(faults)
        self._outside = np.uint64(0)
        for fault in faults:
            if fault.kind in OUTSIDE:
                self._outside |= fault.bit
        self.population = Population(regime, rngs[0])
        self._source = Source(regime, self.population, calls_per_s, start, rngs[1], rngs[2])
        self.gateway = Gateway(name, deployments, rngs[7])
        weights = self._source.weights(start)
        self._asking = Asking(regime, self.population, profile, len(deployments), weights, rngs[0])
        self._full_s = self._service_s()
        load = self._source.calls_per_s(start) * self._full_s / len(deployments)
        # The square root: small deployments need relatively more room for the same waiting.
        self._slots = round(load / regime.utilisation + 2.0 * math.sqrt(load) + 2.0)
        self._autoscaler = Autoscaler()
        self._engines = [Deployment(self._slots) for _ in deployments]
        self._speed = rngs[6].standard_normal(len(deployments)) * regime.speed_sd
        self._on_the_way = joined([])
        self._pending = joined([])
        self._serial = 0
        self._start = start

    @property
    def capacity(self) -> float:
        """Calls per second that all slots together can carry, batches full."""
        return self._slots * self._autoscaler.factor * len(self._engines) / self._full_s

    def block(self, start: float, end: float, diversions: Mapping[str, Diversion]) -> Calls:
        """Advance to `end`: all calls that ended in [start, end), in that order."""
        faults = [fault for fault in self._faults if fault.during(start, end) or fault.lingers]
        self._resize(start, faults)
        self._stand_still(start, end, faults)
        new = self._arriving(start, end, faults, diversions)
        served = self._serve(joined([self._on_the_way, new[new["fallback"] == 0]]), start, end, faults)
        everything = joined([self._pending, new[new["fallback"] > 0], served])
        over = everything["done"] < end
        self._pending = everything[~over]
        # Where capacity is the fault, there is none to be had: the quota is used up.
        if not any(fault.kind in LINGERING for fault in faults):
            busy = sum(engine.busy(end) for engine in self._engines) / len(self._engines)
            self._autoscaler.see(busy, end - start)
        ended = everything[over]
        return ended[np.argsort(ended["done"], kind="stable")]

    def _arriving(
        self, start: float, end: float, faults: Sequence[Active], diversions: Mapping[str, Diversion]
    ) -> Calls:
        usual = self._source.take(start, end, partial(self._tenants, start=start, faults=faults))
        parts = [self._made(usual, faults, self._call_rng, diversions)]
        extra = self._crowding(start, end, faults)
        if extra > 0:
            crowd = self._source.crowd(start, end, extra, self._crowd_rng)
            parts.append(self._made(crowd, faults, self._crowd_rng, diversions))
        if self._profile.golden_every_s:
            parts.append(self._golden(start, end, faults, diversions))
        calls = joined(parts)
        calls["serial"] = np.arange(self._serial, self._serial + len(calls))
        self._serial += len(calls)
        return calls

    def _made(
        self,
        arrivals: Arrivals,
        faults: Sequence[Active],
        rng: np.random.Generator,
        diversions: Mapping[str, Diversion],
    ) -> Calls:
        send = partial(self.gateway.send, diversions=diversions)
        calls = self._asking.make(arrivals.time, arrivals.asked, faults, rng, send)
        self.gateway.answer(calls, self._outside)
        return calls

    def _golden(
        self, start: float, end: float, faults: Sequence[Active], diversions: Mapping[str, Diversion]
    ) -> Calls:
        every = self._profile.golden_every_s
        count = len(self._engines)
        times: list[float] = []
        where: list[int] = []
        for index in range(count):
            offset = self._start + every * (index + 1) / (count + 1)
            first = np.ceil((start - offset) / every)
            due = offset + every * np.arange(first, np.ceil((end - offset) / every))
            times += due.tolist()
            where += [index] * len(due)
        if not times:
            return joined([])
        at: Floats = np.array(times, dtype=float)
        to: Ints = np.array(where, dtype=np.int64)
        calls = self._asking.golden(at, to, faults, self._golden_rng)
        self.gateway.mark_golden(calls, diversions)
        return calls

    def _serve(self, calls: Calls, start: float, end: float, faults: Sequence[Active]) -> Calls:
        """Take those to the engines that are ready before `end`."""
        now = calls["ready"] < end
        self._on_the_way = calls[~now]
        calls = calls[now]
        calls = calls[np.argsort(calls["ready"], kind="stable")]
        self._run_hot(calls, end - start, faults)
        for index, engine in enumerate(self._engines):
            rows = np.flatnonzero(calls["deployment"] == index)
            if len(rows):
                mine = calls[rows]
                engine.serve(mine)
                calls[rows] = mine
        self._blame_waiting(calls, start, faults)
        return calls

    def _run_hot(self, calls: Calls, length_s: float, faults: Sequence[Active]) -> None:
        """Clocks, throttle bits, and the slow drift of each deployment's speed."""
        regime, rng = self._regime, self._engine_rng
        keep = np.exp(-length_s / regime.speed_tau_s)
        noise = rng.standard_normal(len(self._speed))
        self._speed = keep * self._speed + regime.speed_sd * np.sqrt(1 - keep**2) * noise
        calls["jitter"] *= np.exp(self._speed[calls["deployment"]])
        calls["clock"] = np.minimum(1.0, _CLOCK + _CLOCK_SPREAD * (calls["lot"] - 0.5))
        calls["throttle"] = np.where(calls["lot"] < _CAPPED_SHARE, POWER_CAP, 0)
        for fault in faults:
            if fault.kind == "hardware_throttling":
                struck = fault.hits(calls["ready"], calls["deployment"])
                calls["clock"][struck] *= 1.0 - fault.size
                calls["throttle"][struck] |= THERMAL
                calls["affected"][struck] |= fault.bit

    def _blame_waiting(self, calls: Calls, start: float, faults: Sequence[Active]) -> None:
        for fault in faults:
            if fault.kind not in LINGERING:
                continue
            waits = (calls["queue"] > WAITS_S) & fault.reaches(calls["deployment"])
            since = waits & (calls["ready"] >= fault.began(start))
            calls["affected"][since] |= fault.bit
            # The queue that it leaves behind is part of it.
            fault.lingers = bool(since.any())

    def _resize(self, start: float, faults: Sequence[Active]) -> None:
        sizes = [self._slots * self._autoscaler.factor] * len(self._engines)
        for fault in faults:
            if not fault.acts_at(start):
                continue
            factor = {"brown_out": 1.0 - fault.size, "scale_up": fault.size, "scale_down": fault.size}
            for index in self._struck(fault):
                sizes[index] *= factor.get(fault.kind, 1.0)
        for engine, size in zip(self._engines, sizes, strict=True):
            engine.resize(round(size))

    def _stand_still(self, start: float, end: float, faults: Sequence[Active]) -> None:
        """Engines that hold everything for a moment, by themselves or because the scenario says so."""
        rng, regime = self._engine_rng, self._regime
        by_itself = rng.random(len(self._engines)) < regime.stalls_per_hour * (end - start) / 3600.0
        lengths = rng.exponential(regime.stall_s, len(self._engines)) * by_itself
        for fault in faults:
            if fault.kind == "batch_stall" and fault.acts_at(start):
                due = int((start - self._start) // _STALL_EVERY_S) != int(
                    (end - self._start) // _STALL_EVERY_S
                )
                lengths[self._struck(fault)] += fault.size * due
        for index in np.flatnonzero(lengths):
            self._engines[index].stall(start, float(lengths[index]))
            rows = np.flatnonzero((self._pending["deployment"] == index) & (self._pending["error"] == 0))
            mine = self._pending[rows]
            stretch(mine, start, float(lengths[index]))
            self._pending[rows] = mine

    def _crowding(self, start: float, end: float, faults: Sequence[Active]) -> float:
        """Calls per second that come on top."""
        extra = 0.0
        for fault in faults:
            share = fault.share_of(start, end)
            usual = self._source.calls_per_s(start)
            if fault.kind == "flash_crowd":
                extra += share * usual * (fault.size - 1.0)
            elif fault.kind == "inference_overload":
                extra += share * max(0.0, fault.size * self.capacity - usual)
        return extra

    def _tenants(self, weights: Floats, start: float, faults: Sequence[Active]) -> Floats:
        """Rates of the tenants once those have come and gone whom the scenario sends."""
        for fault in faults:
            if fault.kind == "tenant_leaves" and fault.acts_at(start):
                weights = weights.copy()
                weights[0] *= 1.0 - fault.size
            elif fault.kind == "tenant_arrives" and fault.acts_at(start):
                weights = weights.copy()
                weights[-1] += weights.sum() * fault.size / (1.0 - fault.size)
        return weights

    def _struck(self, fault: Active) -> list[int]:
        return list(range(len(self._engines))) if fault.deployment == ANYWHERE else [fault.deployment]

    def _service_s(self) -> float:
        inputs, outputs = self._asking.typical()
        return PREFILL_S * inputs + DECODE_S * outputs * (1.0 + CROWDING)
