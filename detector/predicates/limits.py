"""The limits of one stream of histograms: thresholds, tolerance, and what it is compared with."""

import math
from dataclasses import dataclass

from detector.contract.model import ReferenceMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a stream is held to.

    Attributes:
        threshold_nats: divergence that matters.
        tolerance_nats: d0, true divergence that is no news.
        alpha: error probability of one window at one evaluation.
        design_effect: phi >= 1.
        least: fewest records of a window that is judged.
        mode: what windows are compared with; see the contract's `reference`.
        calibrated: thresholds by window, nats; None where there is no calibration.
        reference: calibrated counts by bin.
        known_until: event time of the last record among them, Unix seconds; infinite where nobody knows.
        strata: of how many parts a histogram consists, each compared by itself; see `GivenYardstick`.
    """

    threshold_nats: float
    tolerance_nats: float
    alpha: float
    design_effect: float
    least: float
    mode: ReferenceMode = "trailing"
    calibrated: tuple[float, ...] | None = None
    reference: tuple[int, ...] | None = None
    known_until: float = math.inf
    strata: int = 1
