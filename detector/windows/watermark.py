"""Event-time watermark of one route: how far its time has certainly come.

With lateness `l`, the watermark is the greatest event time seen less `l`; panes that end at or
before it are closed. An event time is believed only up to `FUTURE_S` past its arrival: one
producer with a fast clock must not close everybody's windows.
"""

import math

FUTURE_S = 5.0


class Watermark:
    """Watermark in Unix seconds; starts unset and never goes back.

    >>> w = Watermark(2.0)
    >>> w.advance(100.0), w.value
    (True, 98.0)
    >>> w.advance(99.0)
    False
    """

    __slots__ = ("lateness_s", "value")

    def __init__(self, lateness_s: float) -> None:
        self.lateness_s = lateness_s
        self.value = -math.inf

    def advance(self, event_time: float) -> bool:
        """Take note of an event time or a tick; return whether the watermark moved."""
        candidate = event_time - self.lateness_s
        if candidate <= self.value:
            return False
        self.value = candidate
        return True
