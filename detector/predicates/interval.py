"""Interval of a rate from counted calls."""

import math

Z95 = 1.96  # two-sided 95 %


def wilson(bad: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a proportion, 0..1.

    Args:
        bad: bad calls among `n`; both may be divided by a design effect first.
        n: calls, > 0.
        z: normal quantile of half the error probability.

    >>> low, high = wilson(5, 50)
    >>> round(low, 3), round(high, 3)
    (0.043, 0.214)

    Source: E. B. Wilson (1927), J. American Statistical Association 22(158).
    """
    rate = bad / n
    middle = rate + z * z / (2 * n)
    reach = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)
