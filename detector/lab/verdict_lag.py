"""How long late verdicts took to come."""

from collections.abc import Iterable
from math import ceil

from detector.modes.verdicts import HORIZON_S
from topics.telemetry import Evaluation, TelemetryRecord


class VerdictLag:
    """Seconds from calls to their verdicts: those that tell the time of the call, and those that name it.

    Verdicts that came too late to be judged do not count.
    """

    def __init__(self, verdicts: Iterable[Evaluation]) -> None:
        self._lags: list[float] = []
        self._made: dict[tuple[str, str], float] = {}
        for each in verdicts:
            if each.call_time is not None:
                self._add(each.event_time - each.call_time)
            elif each.request_id:
                self._made[each.route, each.request_id] = each.event_time

    def see(self, record: TelemetryRecord) -> None:
        """Look whether a verdict is on this call."""
        made = self._made.get((record.route, record.request_id))
        if made is not None:
            self._add(made - record.event_time)

    def _add(self, lag_s: float) -> None:
        if 0 <= lag_s <= HORIZON_S:
            self._lags.append(lag_s)

    def p95_s(self) -> float:
        """What 95 % of them took at most; 0 without any."""
        lags = sorted(self._lags)
        return lags[ceil(0.95 * len(lags)) - 1] if lags else 0.0
