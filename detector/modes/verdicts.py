"""Which late verdicts count against the primary.

A verdict on a fallback's answer does not, a second one of the same name on the same request does
not, and while a scope is active neither does one on a call made before its state last changed.
Memory is bounded: the oldest calls and verdicts are forgotten first.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from topics.telemetry import PRIMARY, Evaluation, TelemetryRecord

CALLS = 4096


class VerdictJoin:
    """Calls that fallbacks answered, and verdicts already counted, of one route."""

    def __init__(self) -> None:
        self._by_fallback: dict[bytes, None] = {}
        self._seen: dict[bytes, None] = {}

    def remember(self, records: Sequence[TelemetryRecord]) -> None:
        """Take note of the calls that the primary did not answer."""
        for record in records:
            if record.served_by != PRIMARY and record.request_id:
                _add(self._by_fallback, _digest(record.request_id))

    def counts(self, evaluation: Evaluation, since: float | None) -> bool:
        """Whether a verdict tells how the primary is; `since` as in `Segment`."""
        if evaluation.failed is None and evaluation.score is None:
            return False
        made = evaluation.call_time if evaluation.call_time is not None else evaluation.event_time
        if since is not None and made < since:
            return False
        if not evaluation.request_id:
            return True
        if _digest(evaluation.request_id) in self._by_fallback:
            return False
        identity = _digest(f"{evaluation.name}\0{evaluation.request_id}")
        if identity in self._seen:
            return False
        _add(self._seen, identity)
        return True

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back."""
        return {"by_fallback": list(self._by_fallback), "seen": list(self._seen)}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self._by_fallback = dict.fromkeys(state["by_fallback"])
        self._seen = dict.fromkeys(state["seen"])


def _digest(name: str) -> bytes:
    """Eight bytes for a name of any length: a snapshot holds thousands of them."""
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def _add(known: dict[bytes, None], name: bytes) -> None:
    known[name] = None
    if len(known) > CALLS:
        del known[next(iter(known))]
