"""What is active as alerts of an Alertmanager: for the people on call, not for gateways.

Alerts are sent again while they last and each says when it ends, so they end too when nobody sends them.
"""

import asyncio
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from detector.service.mirror.picture import Picture
from topics.control import ControlRecord

_TIMEOUT_S = 5.0
_OUTLASTS = 4  # periods: one or two that were missed end no alert
_NAME = "LLMFallbackActive"
_Labels = tuple[tuple[str, str], ...]


class AlertmanagerMirror:
    """Keeps the alerts of one Alertmanager.

    Args:
        url: its address, `http://alertmanager:9093`.

    Raises:
        ValueError: a URL that is none.
    """

    name = "alertmanager"
    period_s = 15.0

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"expected http://HOST:PORT, got {url!r}")
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._firing: dict[_Labels, dict[str, Any]] = {}

    async def write(self, picture: Picture, changed: frozenset[str] | None) -> Mapping[str, int]:
        """See `Target`; what is active is always sent whole, and an alert that is over once more."""
        ends = picture.at + _OUTLASTS * self.period_s
        records = (picture.held[scope] for scope in sorted(picture.left_s))
        firing = {_labels(record): _alert(record, ends) for record in records}
        over = [
            alert | {"endsAt": _stamp(picture.at)}
            for labels, alert in self._firing.items()
            if labels not in firing
        ]
        # Before it is known to have come: what came although no answer did has to be ended too.
        self._firing |= firing
        if alerts := [*firing.values(), *over]:
            await asyncio.to_thread(_post, self._url, msgspec.json.encode(alerts))
        self._firing = firing
        return {"written": len(alerts)}

    async def close(self) -> None:
        """Leave the alerts: they end by themselves."""


def _labels(record: ControlRecord) -> _Labels:
    """What tells alerts apart, and what people route them by; empty ones are none to Alertmanager."""
    named = {
        "alertname": _NAME,
        "severity": "ticket",
        "scope": record.scope,
        "route": record.route,
        "deployment": record.deployment,
        "mode": record.mode,
        "source": record.source,
    }
    return tuple((name, value) for name, value in named.items() if value)


def _alert(record: ControlRecord, ends: float) -> dict[str, Any]:
    evidence = record.evidence
    fallbacks = "; ".join(f"{name}: {', '.join(names)}" for name, names in sorted(record.fallbacks.items()))
    annotations = {
        "summary": f"{record.scope}: {record.mode or 'an order'}",
        "description": record.reason,
        "fallbacks": fallbacks,
        "muted": ", ".join(record.muted),
        "evidence": f"{evidence.topic} partition {evidence.partition} offset {evidence.offset}",
        "event_id": record.event_id,
    }
    return {
        "labels": dict(_labels(record)),
        "annotations": {name: value for name, value in annotations.items() if value},
        "startsAt": _stamp(evidence.event_time or record.issued_at),
        "endsAt": _stamp(ends),
    }


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _post(url: str, body: bytes) -> None:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        answer.read()
