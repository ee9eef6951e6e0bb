"""What one stream of histograms is held to."""

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
        known_until: when they were last so, Unix seconds.
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
