"""A slow creep: healthy traffic becomes another, so slowly that no window is far from the hour before.

What is healthy now, the reference that windows are compared with, is itself compared with what was healthy
at first: the calibrated reference, or the first whole hour. That is worth a notice, never an activation.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from detector.predicates.given import yardstick_of
from detector.predicates.yardstick import Yardstick

HOUR_S = 3600


class Crept(NamedTuple):
    """How far it has come, nats, against how far a window may; `since`: from where."""

    nats: float
    threshold: float
    since: str


class Creep:
    """Of one stream; `calibrated`: its reference, None where there is none."""

    __slots__ = ("_calibrated", "_first")

    def __init__(self, calibrated: Yardstick | None) -> None:
        self._calibrated = calibrated
        self._first: Yardstick | None = None

    def learn(self, usual: Yardstick, span_s: int) -> None:
        """Take note of what is usual, `span_s` seconds of it."""
        if self._calibrated is None and self._first is None and span_s >= HOUR_S:
            self._first = usual

    def begin(self, usual: Yardstick | None) -> None:
        """What there is now is accepted: it is the first from here on; None: the next whole hour is."""
        self._calibrated, self._first = None, usual

    def crept(self, usual: Yardstick | None, threshold: float) -> Crept | None:
        """How far what is usual now has come, if that is beyond `threshold` nats."""
        first = self._calibrated or self._first
        if first is None or usual is None or usual is first:
            return None
        far = usual.far_from(first)
        since = "what was calibrated" if self._calibrated is not None else "the first hour"
        return Crept(far, threshold, since) if far > threshold else None

    def state(self) -> Any:
        """Plain values that `load` takes back."""
        first = None if self._first is None else self._first.counts.tolist()
        return [self._calibrated is not None, first]

    def load(self, state: Sequence[Any], strata: int) -> None:
        """Take over what `state` returned."""
        if not state[0]:
            self._calibrated = None
        if state[1] is not None:
            self._first = yardstick_of(np.array(state[1], dtype=np.int64), strata)
