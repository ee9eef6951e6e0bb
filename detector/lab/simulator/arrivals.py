"""When calls arrive: sessions begin at random, at a rate that follows the day, and have several turns."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detector.lab.simulator.calls import Floats, Ints
from detector.lab.simulator.population import Population, Questions
from detector.lab.simulator.regimes import Regime
from detector.lab.simulator.wander import Wander

_HISTORY = 6.0  # sessions that began so many mean lengths ago may still go on
_LEVEL_ELASTICITY = 0.5  # tenants share quotas: when one of them doubles, the total grows less
_LEVEL_BOUNDS = (0.6, 1.5)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Calls of one block in the order of arrival."""

    time: Floats
    asked: Questions


class Source:
    """Arrivals of one route.

    Args:
        regime: traffic.
        population: who calls.
        calls_per_s: mean over the day.
        start: Unix seconds of the first call.
        wander, rng: two generators of its own, so that mix and arrivals do not depend on what becomes of
        calls.
    """

    def __init__(
        self,
        regime: Regime,
        population: Population,
        calls_per_s: float,
        start: float,
        wander: np.random.Generator,
        rng: np.random.Generator,
    ) -> None:
        self._regime = regime
        self._population = population
        self._mean = calls_per_s
        self._rng = rng
        self._wander = Wander(regime, start, population.comes_and_goes, wander)
        self._later = _nobody()
        history = _HISTORY * regime.session_turns * regime.think_s if regime.session_turns > 1 else 0.0
        weights = self._wander.at(start)
        if history:
            rate = self._sessions_per_s(start, weights)
            self._later = _rows(self._sessions(start - history, start, rate, weights), start, np.inf)

    def take(self, start: float, end: float, adjusted: Callable[[Floats], Floats]) -> Arrivals:
        """All arrivals in [start, end); `adjusted` has the last word on the tenants' rates."""
        weights = self._wander.at(start)
        rate = self._sessions_per_s(start, weights)
        changed = adjusted(weights)
        fresh = self._sessions(start, end, rate * float(changed.sum() / weights.sum()), changed)
        everything = np.concatenate([self._later, fresh], axis=1)
        now = _rows(everything, start, end)
        self._later = _rows(everything, end, np.inf)
        return _arrivals(now[:, np.argsort(now[0], kind="stable")])

    def crowd(self, start: float, end: float, calls_per_s: float, rng: np.random.Generator) -> Arrivals:
        """Calls beside the usual ones: strangers of the same mix, one call each."""
        weights = self._wander.at(start)
        count = rng.poisson(calls_per_s * (end - start))
        time = np.sort(rng.uniform(start, end, count))
        tenant = _choice(weights, rng.random(count))
        topic = self._population.topics(tenant, rng.random(count))
        asked = Questions(tenant, topic, np.zeros(count, dtype=np.int64), rng.standard_normal(count))
        return Arrivals(time, asked)

    def weights(self, time: float) -> Floats:
        """Rates of the tenants relative to each other, as they are at `time`."""
        return self._wander.at(time)

    def calls_per_s(self, time: float) -> float:
        """The rate to expect at `time`, calls per second."""
        return self._sessions_per_s(time, self._wander.at(time)) * self._regime.session_turns

    def _sessions_per_s(self, time: float, weights: Floats) -> float:
        regime = self._regime
        angle = 2 * np.pi * (time - regime.day_peak_s) / 86_400.0
        day = 1.0 + regime.day_amplitude * np.cos(angle)
        level = float(np.clip(weights.sum() ** _LEVEL_ELASTICITY, *_LEVEL_BOUNDS))
        return float(self._mean * day * level / regime.session_turns)

    def _sessions(self, start: float, end: float, rate: float, weights: Floats) -> Floats:
        """Rows of time, tenant, topic, turn, session effect; turns of a session may lie beyond `end`."""
        regime, rng = self._regime, self._rng
        count = rng.poisson(rate * (end - start))
        begins = rng.uniform(start, end, count)
        tenant = _choice(weights, rng.random(count))
        topic = self._population.topics(tenant, rng.random(count))
        effect = rng.standard_normal(count)
        turns = rng.geometric(1.0 / regime.session_turns, count)
        session = np.repeat(np.arange(count), turns)
        first = np.cumsum(turns) - turns
        turn = np.arange(len(session)) - first[session]
        gaps = np.where(turn > 0, rng.exponential(regime.think_s, len(session)), 0.0)
        since = np.cumsum(gaps)
        since -= since[first[session]]
        return np.array(
            [begins[session] + since, tenant[session], topic[session], turn, effect[session]], dtype=float
        )


def _choice(weights: Floats, uniform: Floats) -> Ints:
    cdf = np.cumsum(weights)
    found: Ints = np.searchsorted(cdf, uniform * cdf[-1], side="right")
    return np.minimum(found, len(weights) - 1)


def _nobody() -> Floats:
    return np.zeros((5, 0))


def _rows(rows: Floats, start: float, end: float) -> Floats:
    kept: Floats = rows[:, (rows[0] >= start) & (rows[0] < end)]
    return kept


def _arrivals(rows: Floats) -> Arrivals:
    tenant, topic, turn = rows[1:4].astype(np.int64)
    return Arrivals(rows[0], Questions(tenant, topic, turn, rows[4]))
