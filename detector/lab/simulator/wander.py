"""How the tenants' shares of the traffic move while nothing is wrong."""

import numpy as np
from numpy.typing import NDArray

from detector.lab.simulator.regimes import Regime

GRID_S = 60.0
Floats = NDArray[np.float64]


class Wander:
    """Rates of all tenants over time: Zipf means, each with a drifting level, some of them coming and going.

    Args:
        regime: its parameters.
        start: Unix seconds of the first state, which is drawn from the stationary law.
        comes_and_goes: which tenants are away at times.
        rng: used for nothing else, so that the mix does not depend on what becomes of the calls.
    """

    def __init__(
        self, regime: Regime, start: float, comes_and_goes: NDArray[np.bool_], rng: np.random.Generator
    ) -> None:
        self._regime = regime
        self._rng = rng
        self._sd = regime.wander_sd * regime.wander_scale
        self._keep = float(np.exp(-GRID_S / regime.wander_tau_s))
        ranks = np.arange(1, regime.tenants + 1)
        self.means: Floats = ranks**-regime.zipf / (ranks**-regime.zipf).sum()
        self._bursty = comes_and_goes
        self._present_share = regime.burst_on_s / (regime.burst_on_s + regime.burst_off_s)
        self._on = ~comes_and_goes | (rng.random(regime.tenants) < self._present_share)
        self._level = rng.standard_normal(regime.tenants)
        self._from = start
        self._now = self._rates()
        self._next = self._advance()

    def at(self, time: float) -> Floats:
        """Rates at `time`, which may not go back by more than a minute; they sum to 1 in the long run."""
        while time >= self._from + GRID_S:
            self._from += GRID_S
            self._now, self._next = self._next, self._advance()
        along = (time - self._from) / GRID_S
        return self._now + (self._next - self._now) * along

    def _advance(self) -> Floats:
        regime, rng = self._regime, self._rng
        noise = rng.standard_normal(regime.tenants)
        self._level = self._keep * self._level + np.sqrt(1 - self._keep**2) * noise
        mean_stay = np.where(self._on, regime.burst_on_s, regime.burst_off_s)
        switches = self._bursty & (rng.random(regime.tenants) < 1 - np.exp(-GRID_S / mean_stay))
        self._on = self._on ^ switches
        return self._rates()

    def _rates(self) -> Floats:
        drift = np.exp(self._sd * self._level - self._sd**2 / 2)
        present = np.where(self._bursty, self._on / self._present_share, 1.0)
        return self.means * drift * present
