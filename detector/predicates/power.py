"""What a test can find: the smallest change that it shows with 99 % power."""

from collections.abc import Sequence
from functools import lru_cache
from math import exp, log, sqrt

from detector.predicates.kl import noncentral_chi2_quantile
from detector.predicates.limits import Limits
from detector.predicates.shiryaev_roberts import alternatives
from detector.predicates.yardstick import Yardstick

_Z99 = 2.326
_SMALLEST_NATS, _GREATEST_NATS = 0.01, 10.0
_HALVINGS = 24
LEAST_APART, MOST_APART = 30.0, 300.0  # records
_APART = 2.5  # standard deviations: of windows that are as far as that one in a thousand looks healthy


@lru_cache(maxsize=4096)
def smallest_share(ceiling: float, run_length: float, design_effect: float, calls: float) -> float | None:
    """Smallest share of bad calls that is found in a time in which so many come on average; None: none is.

    The tempered evidence of n calls at rate p for an alternative q has mean n l / phi and variance n v / phi,
    l and v those of ln(f_q / f_p0) at one call; where n is a Poisson number, v is the mean square. An alarm
    needs ln(A J).
    """
    rates = alternatives(ceiling)
    need = log(run_length) + log(len(rates))
    per_call = [(log(q / ceiling), log((1 - q) / (1 - ceiling))) for q in rates]

    def found(p: float) -> bool:
        for up, down in per_call:
            mean = p * up + (1 - p) * down
            spread = p * (1 - p) * (up - down) ** 2 + mean**2
            if calls * mean / design_effect - _Z99 * sqrt(calls * spread / design_effect) >= need:
                return True
        return False

    if not found(1.0):
        return None
    low, high = log(ceiling), 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if found(exp(middle)) else (middle, high)
    return exp(high)


def smallest_divergence(
    freedom: int, scale: float, threshold_nats: float, tolerance_nats: float, alpha: float
) -> float | None:
    """Smallest divergence, nats, that a window shows once it is full of it; None: none is.

    G is non-central chi-square: mean v + l and variance 2 v + 4 l, l = 2 D / scale.

    Args:
        freedom: occupied bins less one.
        scale: design effect times (1 / n + 1 / n of the reference).
        threshold_nats: bias-corrected distance that is needed.
        tolerance_nats: true divergence that is no news, tested at `alpha`.
    """
    need = max(
        noncentral_chi2_quantile(freedom, 2 * tolerance_nats / scale, alpha),
        freedom + 2 * threshold_nats / scale,
    )

    def found(nats: float) -> bool:
        shown = 2 * nats / scale
        return freedom + shown - _Z99 * sqrt(2 * freedom + 4 * shown) >= need

    low, high = log(_SMALLEST_NATS), log(_GREATEST_NATS)
    if not found(exp(high)):
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if found(exp(middle)) else (middle, high)
    return exp(high)


def records_apart(nats: float, line: float, freedom: int) -> float:
    """Records of a window that tells a divergence of `nats` from what lies under `line`; for phi = 1.

    The corrected divergence of n records has variance (2 v + 8 n D) / (2 n)^2; two and a half deviations have
    to lie between D and the line. Never fewer than LEAST_APART, nor more than MOST_APART.
    """
    between = nats - line
    if between <= 0:
        return MOST_APART
    spread = _APART * _APART * nats
    found = (spread + sqrt(spread * spread + _APART * _APART * between * between * freedom / 2)) / between**2
    return min(max(found, LEAST_APART), MOST_APART)


def smallest_found(
    yardstick: Yardstick, limits: Limits, spans: Sequence[int], thresholds: Sequence[float], per_s: float
) -> float | None:
    """Smallest divergence, nats, that one of a stream's windows shows at `per_s` compared calls a second."""
    found = []
    for span, threshold in zip(spans, thresholds, strict=True):
        if per_s * span >= limits.least:
            scale = limits.design_effect * (1 / (per_s * span) + 1 / yardstick.n)
            found.append(
                smallest_divergence(yardstick.freedom, scale, threshold, limits.tolerance_nats, limits.alpha)
            )
    return min((each for each in found if each is not None), default=None)
