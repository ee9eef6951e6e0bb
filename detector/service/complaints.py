"""What keeps a process from being ready, told in its log."""

from collections.abc import Mapping, Sequence
from math import inf

from detector.service.logs import logger

_COMPLAIN_EVERY_S = 30.0


class Complaints:
    """Says in the log, now and then, what keeps a process from being ready: nobody may be asking `/readyz`.

    Args:
        hints: what to do about the first thing that is missing, by its name.
    """

    def __init__(self, hints: Mapping[str, str]) -> None:
        self._hints = hints
        self._since = self._told_at = -inf
        self._log = logger(part="health")

    def look(self, missing: Sequence[str], now: float) -> None:
        """Take note of what is missing at `now`, monotonic seconds."""
        if not missing:
            self._since = self._told_at = -inf
            return
        if self._since == -inf:
            self._since = self._told_at = now
        if now - self._told_at >= _COMPLAIN_EVERY_S:
            self._told_at = now
            hint = self._hints.get(missing[0], "")
            self._log.warning(
                "not_ready",
                missing=list(missing[:8]),
                for_s=round(now - self._since),
                **({"hint": hint} if hint else {}),
            )
