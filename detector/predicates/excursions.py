"""Excursions of a stream from its reference that ended by themselves: what comes again and again is no news.

Traffic with a cycle longer than what was learnt from returns to the same place each time. Of the
excursions of the last day the second farthest is what the stream usually does; a single one, which may
have been a fault, teaches nothing.
"""

from collections import deque
from typing import Any

MEMORY_S = 26 * 3600  # a day, and what its rhythm varies
KEPT = 64
REMEMBERED = 2  # so many have to have come as far


class Excursions:
    """Of one stream.

    Attributes:
        usual: nats by window: as far as at least two excursions of the last day went; 0 if there were none.
    """

    __slots__ = ("_ended", "_peaks", "usual")

    def __init__(self, windows: int) -> None:
        self.usual = [0.0] * windows
        self._peaks = [0.0] * windows
        self._ended: deque[tuple[int, list[float]]] = deque(maxlen=KEPT)

    def begin(self) -> None:
        """The stream has left."""
        self._peaks = [0.0] * len(self.usual)

    def note(self, strayed: list[float], judged: list[int]) -> None:
        """While it is away: how far each window strays, nats, of those that are judged."""
        for i in judged:
            if strayed[i] > self._peaks[i]:
                self._peaks[i] = strayed[i]

    def end(self, second: int) -> None:
        """It has come back by itself."""
        self._ended.append((second, self._peaks))
        while self._ended[0][0] < second - MEMORY_S:
            self._ended.popleft()
        self.usual = [
            sorted(peaks)[-REMEMBERED] if len(peaks) >= REMEMBERED else 0.0
            for peaks in zip(*(peaks for _, peaks in self._ended), strict=True)
        ]

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back."""
        return {"peaks": self._peaks, "ended": list(self._ended), "usual": self.usual}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self._peaks, self.usual = list(state["peaks"]), list(state["usual"])
        self._ended = deque(((second, list(peaks)) for second, peaks in state["ended"]), maxlen=KEPT)
