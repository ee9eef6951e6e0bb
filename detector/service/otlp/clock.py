"""The time that verdicts wait by: it goes only while the spans that come can be read as they come. Pure."""


class WaitClock:
    """Seconds in which a call that came would have been seen."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._looked_s = self._stood_s = 0.0

    def begin(self, now: float) -> None:
        """Reading begins, at this time of a monotonic clock."""
        self._looked_s, self._stood_s = now, 0.0

    def stood(self, seconds: float) -> None:
        """Nothing was read for so long, since there was no room for what would have been made of it."""
        self._stood_s += seconds

    def look(self, now: float, *, current: bool) -> None:
        """All that came was taken; `current`: no spans lie unread, and the broker that has them is there."""
        if current:
            self.seconds += max(0.0, now - self._looked_s - self._stood_s)
        self.begin(now)
