"""How much burstier a stream of bad calls is than independent ones, learnt while it is healthy.

Bad calls are counted in blocks of at least 200 judged calls. Over blocks of n_i calls, x_i of them bad,
with p = sum x_i / sum n_i,

    phi = sum (x_i - p n_i)^2 / (p (1 - p) sum n_i) * B / (B - 1)

is the design effect: 1 for independent calls. Only sums of whole numbers are kept, so that the estimate
depends on the blocks alone. It is believed where it stands out from the noise of estimating it, and is
rounded up to a quarter of an octave.

A block is learnt from only once the test that is to be tempered has let go of everything up to its end:
what may be the beginning of a fault never weakens the evidence of that fault.

Source: L. Kish (1965), Survey Sampling (design effect); here of blocks in time.
"""

import math
from collections.abc import Sequence
from typing import Any

BLOCK = 200
FEWEST_BLOCKS = 5
LEAST = 1.2  # less than this is no dependence worth the delay
MOST = 32.0
MARGIN = 100.0  # times the run length wanted, where there is dependence and nothing better is known
_NOISES = 2.0  # of 100 independent streams of 12,000 calls 9 are ever held to be dependent, 2 at a given time
_STEPS = 4  # an octave has so many values
_PENDING = 64  # blocks; a test that holds on to more has not learnt from the oldest ones
_MEMORY = 1000  # blocks, after which each counts half


class DesignEffect:
    """Estimate of one stream.

    >>> effect = DesignEffect()
    >>> for block in range(1, 21):
    ...     effect.add(200 * block, 20 * block if block % 2 else 20 * (block - 1), clear=200 * block)
    >>> effect.value > 10
    True
    """

    __slots__ = ("_begin", "_pending", "_sums")

    def __init__(self) -> None:
        self._sums = [0, 0, 0, 0, 0, 0]  # blocks, n, x, x^2, n x, n^2
        self._pending: list[tuple[int, int, int]] = []  # end, n, x of blocks that may belong to a fault
        self._begin = (0, 0)  # judged and bad calls before the open block

    def due(self, judged: int) -> bool:
        """Whether `add` could learn anything."""
        return bool(self._pending) or judged - self._begin[0] >= BLOCK

    def add(self, judged: int, bad: int, clear: int) -> bool:
        """The stream has come to `judged` calls, `bad` of them bad, since `restart`.

        Args:
            judged: calls.
            bad: bad ones.
            clear: calls up to which the test has let go.

        Returns:
            Whether a block was learnt from.
        """
        n = judged - self._begin[0]
        if n >= BLOCK:
            self._pending.append((judged, n, bad - self._begin[1]))
            self._begin = (judged, bad)
            if len(self._pending) > _PENDING:
                del self._pending[0]
        learnt = 0
        for end, n, x in self._pending:
            if end > clear:
                break
            learnt += 1
            self._learn(n, x)
        if learnt:
            del self._pending[:learnt]
        return learnt > 0

    def _learn(self, n: int, x: int) -> None:
        if self._sums[0] >= _MEMORY:
            self._sums = [each // 2 for each in self._sums]
        self._sums = [
            each + more for each, more in zip(self._sums, (1, n, x, x * x, n * x, n * n), strict=True)
        ]

    def restart(self) -> None:
        """The test starts afresh: what it had not let go of is not learnt from."""
        self._pending = []
        self._begin = (0, 0)

    @property
    def value(self) -> float:
        """The design effect, 1 or 1.2 .. 32."""
        blocks, n, x, squares, products, sizes = self._sums
        if blocks < FEWEST_BLOCKS or not 0 < x < n:
            return 1.0
        p = x / n
        spread = squares - 2 * p * products + p * p * sizes
        found = spread / (p * (1 - p) * n) * blocks / (blocks - 1)
        # Relative standard error of the variance of `blocks` Poisson counts with mean x / blocks.
        noise = math.sqrt((2 + blocks / x) / blocks)
        if found < max(LEAST, 1 + _NOISES * noise):
            return 1.0
        steps = math.ceil(math.log2(found) * _STEPS)
        return min(MOST, math.pow(2.0, steps / _STEPS))

    def state(self) -> list[Any]:
        """Plain values that `load` takes back."""
        return [self._sums, self._pending, self._begin]

    def load(self, state: Sequence[Any]) -> None:
        """Take over what `state` returned."""
        sums, pending, begin = state
        self._sums = list(sums)
        self._pending = [(end, n, x) for end, n, x in pending]
        self._begin = (begin[0], begin[1])
