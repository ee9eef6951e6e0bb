"""A route's pane clock: which second is the oldest open one, and when it closes.

The clock is ahead of event time by a phase, a fraction of a second fixed by the route's name, and behind it
by the lateness that records are granted. Boundaries are whole seconds of the clock.
"""

import math

from detector.windows.watermark import Watermark
from topics.partitioner import murmur2

_PHASES = 1024


class PaneClock:
    """Starts with the first record.

    Attributes:
        phase: what the clock is ahead of event time, seconds in [0, 1).
        closes_at: the earliest event time, Unix seconds, that closes the oldest open pane, to the last bit;
            inf before the start.
    """

    __slots__ = ("_boundary", "_lateness_s", "closes_at", "phase", "watermark")

    def __init__(self, phase: float, lateness_s: float) -> None:
        self.phase = phase
        self.watermark = Watermark(lateness_s)
        self.closes_at = math.inf
        self._lateness_s = lateness_s
        self._boundary: int | None = None

    @property
    def started(self) -> bool:
        """Whether there was a record."""
        return self._boundary is not None

    @property
    def boundary(self) -> int:
        """The second whose pane closes next.

        Raises:
            RuntimeError: the clock has not started.
        """
        if self._boundary is None:
            raise RuntimeError("there was no record yet")
        return self._boundary

    @property
    def begins(self) -> float:
        """Event time at which the oldest open pane begins, Unix seconds."""
        return self.boundary - self.phase

    def move(self, boundary: int) -> None:
        """All panes before `boundary` are closed; also starts the clock."""
        self._boundary = boundary
        at = self.said_at(boundary + 1)
        # What a division into floats leaves open is a matter of some steps.
        while self.pane(at) > boundary:
            at = math.nextafter(at, -math.inf)
        while self.pane(at) <= boundary:
            at = math.nextafter(at, math.inf)
        self.closes_at = at

    def pane(self, time: float) -> int:
        """The pane that is the oldest open one when the newest event time is `time`."""
        return math.floor((time - self._lateness_s) + self.phase)

    def said_at(self, boundary: int) -> float:
        """Event time at which it is known what `boundary` brings, Unix seconds."""
        return boundary - self.phase + self._lateness_s

    def advance(self, time: float) -> int:
        """Time comes to `time`; returns the boundary up to which panes may close."""
        self.watermark.advance(time)
        return math.floor(self.watermark.value + self.phase)


def clock_of(route: str, lateness_s: float) -> PaneClock:
    """The clock of a route; its name sets the phase."""
    return PaneClock(murmur2(route.encode()) % _PHASES / _PHASES, lateness_s)
