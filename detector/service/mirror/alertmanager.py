"""What is active as alerts of an Alertmanager: for the people on call, not for gateways.

Alerts are sent again while they last and each says when it ends, so they end too when nobody sends them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientSession, ClientTimeout

from detector.service.mirror.metrics import WRITTEN
from detector.service.mirror.picture import Picture
from topics.control import ControlRecord

_TIMEOUT_S = 5.0
_OUTLASTS_S = 60.0  # one or two sendings that are missed end no alert
_OLDEST_S = 30 * 86_400.0
_SAID_CHARACTERS = 200
_NAME = "LLMFallbackActive"
_Labels = tuple[tuple[str, str], ...]


class NotTakenError(Exception):
    """The Alertmanager has answered something else than that it takes the alerts."""


class AlertmanagerMirror:
    """Keeps the alerts of one Alertmanager.

    Args:
        url: its address, `http://alertmanager:9093`, with `USER:PASSWORD@` where it asks for that.

    Raises:
        ValueError: a URL that is none; it is not said again, as it may have a password.
    """

    period_s, least_s = 15.0, 1.0

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            if not known or parts.query or parts.fragment:
                raise ValueError
        except ValueError:
            raise ValueError("expected http://HOST:PORT, or https://") from None
        self.name = f"alertmanager {parts.netloc.rpartition('@')[2]}"
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._session: ClientSession | None = None
        self._sent: dict[_Labels, tuple[dict[str, Any], float]] = {}  # what fires, and when that was said
        self._over: dict[_Labels, tuple[dict[str, Any], float]] = {}  # what does no more, and since when

    async def write(self, picture: Picture, changed: frozenset[str] | None) -> Mapping[str, int]:
        """See `Target`; sent is what is new, what was not said for a period, and what has ended of late."""
        at = picture.at
        records = (picture.held[scope] for scope in sorted(picture.left_s))
        firing = {_labels(record): _alert(record, at) for record in records}
        for labels, (alert, _) in self._sent.items():
            if labels not in firing:
                self._over[labels] = (alert, at)
        # One whose clock is behind takes an end for one to come, and keeps the later one that it knows.
        self._over = {
            labels: (alert, since)
            for labels, (alert, since) in self._over.items()
            if labels not in firing and at - since <= _OUTLASTS_S
        }
        due = {
            labels: alert
            for labels, alert in firing.items()
            if changed is None
            or (before := self._sent.get(labels)) is None
            or before[0] != alert
            or at - before[1] >= self.period_s - self.least_s
        }
        # Before it is known to have come: what came although no answer did has to be ended too.
        self._sent = {labels: self._sent.get(labels, (alert, 0.0)) for labels, alert in firing.items()}
        alerts = [alert | {"endsAt": _stamp(at + _OUTLASTS_S)} for alert in due.values()]
        alerts += [alert | {"endsAt": _stamp(since)} for alert, since in self._over.values()]
        if alerts:
            await self._post(alerts)
        self._sent |= {labels: (alert, at) for labels, alert in due.items()}
        return {WRITTEN: len(alerts)}

    async def _post(self, alerts: list[dict[str, Any]]) -> None:
        if self._session is None:
            self._session = ClientSession(timeout=ClientTimeout(_TIMEOUT_S))
        # Whoever leads elsewhere, to a page to log in, say, takes no alerts.
        async with self._session.post(self._url, json=alerts, allow_redirects=False) as answer:
            if answer.status != 200:
                said = (await answer.text(errors="replace"))[:_SAID_CHARACTERS]
                raise NotTakenError(f"{answer.status} {answer.reason}: {said}")

    async def close(self) -> None:
        """Leave the alerts: they end by themselves."""
        if self._session is not None:
            await self._session.close()


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


def _alert(record: ControlRecord, at: float) -> dict[str, Any]:
    evidence = record.evidence
    fallbacks = "; ".join(f"{name}: {', '.join(names)}" for name, names in sorted(record.fallbacks.items()))
    where = f"{evidence.topic} partition {evidence.partition} offset {evidence.offset}"
    annotations = {
        "summary": f"{record.scope}: {record.mode or 'an order'}",
        "description": record.reason,
        "fallbacks": fallbacks,
        "muted": ", ".join(record.muted),
        "evidence": where if evidence.topic else "",
        "event_id": record.event_id,
    }
    # An alert that starts after its end is refused, and what lies too far off is no time at all.
    times = (evidence.event_time, record.issued_at)
    starts = next((time for time in times if time is not None and at - _OLDEST_S < time <= at), at)
    return {
        "labels": dict(_labels(record)),
        "annotations": {name: value for name, value in annotations.items() if value},
        "startsAt": _stamp(starts),
    }


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
