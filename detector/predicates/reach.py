"""What the windows of a stream can find at a rate of calls."""

from collections.abc import Sequence

from detector.predicates.limits import Limits
from detector.predicates.power import smallest_divergence
from detector.predicates.yardstick import Yardstick


def smallest_found(
    yardstick: Yardstick, limits: Limits, spans: Sequence[int], thresholds: Sequence[float], per_s: float
) -> float | None:
    """The smallest divergence, nats, that one of the windows shows at `per_s` compared calls a second."""
    found = []
    for span, threshold in zip(spans, thresholds, strict=True):
        if per_s * span >= limits.least:
            scale = limits.design_effect * (1 / (per_s * span) + 1 / yardstick.n)
            found.append(
                smallest_divergence(yardstick.freedom, scale, threshold, limits.tolerance_nats, limits.alpha)
            )
    return min((each for each in found if each is not None), default=None)
