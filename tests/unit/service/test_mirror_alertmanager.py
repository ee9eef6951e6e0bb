"""What an Alertmanager is sent: an alert for each active scope, again while it lasts, and its end."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.error import HTTPError

import pytest

from detector.gateway.view import ControlView
from detector.service.mirror.alertmanager import AlertmanagerMirror
from detector.service.mirror.picture import Picture
from tests.unit.gateway.builders import NOW, Message, owner_message, scope_message


class _Alertmanager:
    """Keeps what is posted to it; answers with `status`."""

    def __init__(self) -> None:
        self.posts: list[list[dict[str, Any]]] = []
        self.status = 200
        kept = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/am/api/v2/alerts"
                assert self.headers["Content-Type"] == "application/json"
                kept.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(kept.status)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/am/"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()


@pytest.fixture
def alertmanager() -> Iterator[_Alertmanager]:
    made = _Alertmanager()
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join()


def _picture(*messages: Message, at: float = NOW, later_s: float = 0.0) -> Picture:
    view = ControlView()
    for message in messages:
        view.apply(message.key, message.value, message.headers, now=0.0)
    return Picture.of(view, now=later_s, at=at)


def _time(text: str) -> float:
    """Of RFC 3339, which needs an offset."""
    found = datetime.fromisoformat(text)
    assert found.tzinfo == UTC
    return found.timestamp()


ACTIVE = scope_message(
    deployment="eu-1",
    mode="error_spike",
    reason="more calls fail than may",
    fallbacks={"*": ["rule"], "high_risk": ["cache", "rule"]},
    event_id="e1",
    evidence={"topic": "llm.telemetry", "partition": 3, "offset": 7, "event_time": NOW - 2.5},
)


async def test_an_alert_says_what_and_why_and_when_it_ends_unless_it_is_sent_again(
    alertmanager: _Alertmanager,
) -> None:
    await AlertmanagerMirror(alertmanager.url).write(_picture(owner_message(), ACTIVE), None)

    ((alert,),) = alertmanager.posts
    assert alert["labels"] == {
        "alertname": "LLMFallbackActive",
        "severity": "ticket",
        "scope": "chat@eu-1",
        "route": "chat",
        "deployment": "eu-1",
        "mode": "error_spike",
        "source": "detector",
    }
    assert alert["annotations"] == {
        "summary": "chat@eu-1: error_spike",
        "description": "more calls fail than may",
        "fallbacks": "*: rule; high_risk: cache, rule",
        "evidence": "llm.telemetry partition 3 offset 7",
        "event_id": "e1",
    }
    assert _time(alert["startsAt"]) == NOW - 2.5
    assert _time(alert["endsAt"]) == NOW + 60


async def test_a_scope_that_is_over_or_lapsed_ends_its_alert_once(alertmanager: _Alertmanager) -> None:
    mirror = AlertmanagerMirror(alertmanager.url)
    messages = (owner_message(lease_s=15.0), ACTIVE, scope_message("embed"))
    await mirror.write(_picture(*messages), None)
    ended = scope_message("embed", revision=2, state="inactive")
    await mirror.write(_picture(*messages, ended, at=NOW + 5), frozenset({"embed"}))
    await mirror.write(_picture(*messages, ended, at=NOW + 16, later_s=16.0), None)
    await mirror.write(_picture(*messages, ended, at=NOW + 30, later_s=30.0), None)

    told = [
        [(each["labels"]["scope"], _time(each["endsAt"]) - NOW) for each in post]
        for post in alertmanager.posts
    ]
    assert told == [
        [("chat@eu-1", 60), ("embed", 60)],
        [("chat@eu-1", 65), ("embed", 5)],
        [("chat@eu-1", 16)],
    ]


async def test_another_mode_is_another_alert_and_ends_the_one_before(alertmanager: _Alertmanager) -> None:
    """People are called by it: the alert that says the wrong cause must not stay."""
    mirror = AlertmanagerMirror(alertmanager.url)
    await mirror.write(_picture(owner_message(), scope_message(mode="latency_spike")), None)
    revised = scope_message(mode="hardware_throttling", revision=2)
    await mirror.write(_picture(owner_message(), revised, at=NOW + 3), frozenset({"chat"}))

    told = {each["labels"]["mode"]: _time(each["endsAt"]) - NOW for each in alertmanager.posts[1]}
    assert told == {"hardware_throttling": 63, "latency_spike": 3}


async def test_an_end_that_was_not_taken_is_sent_again(alertmanager: _Alertmanager) -> None:
    mirror = AlertmanagerMirror(alertmanager.url)
    alertmanager.status = 503
    with pytest.raises(HTTPError):
        await mirror.write(_picture(owner_message(), ACTIVE), None)
    with pytest.raises(HTTPError):
        await mirror.write(_picture(owner_message(), at=NOW + 1), None)
    alertmanager.status = 200
    await mirror.write(_picture(owner_message(), at=NOW + 2), None)

    ((alert,),) = alertmanager.posts[2:]
    assert (alert["labels"]["scope"], _time(alert["endsAt"])) == ("chat@eu-1", NOW + 2)


async def test_nothing_is_sent_while_all_is_well(alertmanager: _Alertmanager) -> None:
    await AlertmanagerMirror(alertmanager.url).write(_picture(owner_message()), None)

    assert alertmanager.posts == []


@pytest.mark.parametrize("url", ["alertmanager:9093", "ftp://a", "http://", ""])
def test_what_is_no_url_is_told_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="expected http"):
        AlertmanagerMirror(url)
