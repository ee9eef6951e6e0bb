"""What an Alertmanager is sent: an alert for each active scope, again while it lasts, and its end."""

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from aiohttp import ClientError

from detector.gateway.view import ControlView
from detector.service.mirror import alertmanager as alertmanager_module
from detector.service.mirror.alertmanager import AlertmanagerMirror, NotTakenError
from detector.service.mirror.picture import Picture
from tests.unit.gateway.builders import NOW, Message, owner_message, scope_message


class _Alertmanager:
    """Keeps what is posted to it; answers with `status`."""

    def __init__(self) -> None:
        self.posts: list[list[dict[str, Any]]] = []
        self.status = 200
        self.authorization: str | None = None
        self.mirrors: list[AlertmanagerMirror] = []
        kept = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()

            def do_POST(self) -> None:
                assert self.path == "/am/api/v2/alerts"
                assert self.headers["Content-Type"] == "application/json"
                kept.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                kept.authorization = self.headers["Authorization"]
                self.send_response(kept.status)
                self.send_header("Location", "/login")
                self.end_headers()
                self.wfile.write(b"no such label")

            def log_message(self, *_: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/am/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def mirror(self, url: str = "") -> AlertmanagerMirror:
        self.mirrors.append(AlertmanagerMirror(url or self.url))
        return self.mirrors[-1]

    def ends(self) -> list[dict[str, float]]:
        """Of each post, when each scope's alert ends, as seconds after NOW."""
        return [
            {each["labels"]["scope"]: _time(each["endsAt"]) - NOW for each in post} for post in self.posts
        ]


@pytest.fixture
async def alertmanager() -> AsyncIterator[_Alertmanager]:
    made = _Alertmanager()
    yield made
    for mirror in made.mirrors:
        await mirror.close()
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
    await alertmanager.mirror().write(_picture(owner_message(), ACTIVE), None)

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


async def test_a_scope_that_is_over_or_lapsed_ends_its_alert_and_says_so_for_a_minute(
    alertmanager: _Alertmanager,
) -> None:
    """An Alertmanager whose clock is behind takes the first end for one to come, and keeps a later one."""
    mirror = alertmanager.mirror()
    messages = (owner_message(lease_s=15.0), ACTIVE, scope_message("embed"))
    ended = scope_message("embed", revision=2, state="inactive")
    await mirror.write(_picture(*messages), None)
    await mirror.write(_picture(*messages, ended, at=NOW + 5), frozenset({"embed"}))
    for seconds in (16.0, 30.0, 70.0, 100.0):
        await mirror.write(_picture(*messages, ended, at=NOW + seconds, later_s=seconds), frozenset())

    over = {"chat@eu-1": 16, "embed": 5}
    assert alertmanager.ends() == [
        {"chat@eu-1": 60, "embed": 60},
        {"embed": 5},
        over,
        over,
        {"chat@eu-1": 16},
    ]


async def test_an_alert_is_sent_when_something_is_new_and_when_its_time_has_come(
    alertmanager: _Alertmanager,
) -> None:
    """One scope that flaps does not send those of all others each time."""
    mirror, others = alertmanager.mirror(), (owner_message(lease_s=600.0), scope_message("embed"))
    await mirror.write(_picture(*others), None)
    await mirror.write(_picture(*others, ACTIVE, at=NOW + 1), frozenset({"chat@eu-1"}))
    await mirror.write(_picture(*others, ACTIVE, at=NOW + 2), frozenset({"chat@eu-1"}))
    await mirror.write(_picture(*others, ACTIVE, at=NOW + 15), frozenset())
    await mirror.write(_picture(*others, ACTIVE, at=NOW + 16), None)

    assert alertmanager.ends() == [
        {"embed": 60},
        {"chat@eu-1": 61},
        {"embed": 75, "chat@eu-1": 75},
        {"embed": 76, "chat@eu-1": 76},
    ]


async def test_another_reason_is_sent_at_once(alertmanager: _Alertmanager) -> None:
    mirror = alertmanager.mirror()
    await mirror.write(_picture(owner_message(), scope_message(reason="a")), None)
    revised = scope_message(reason="b", revision=2)
    await mirror.write(_picture(owner_message(), revised, at=NOW + 1), frozenset({"chat"}))

    assert [each["annotations"]["description"] for post in alertmanager.posts for each in post] == ["a", "b"]


async def test_an_order_has_no_evidence_and_names_no_mode(alertmanager: _Alertmanager) -> None:
    forced = scope_message(source="operator", reason="ticket 7")
    await alertmanager.mirror().write(_picture(owner_message(), forced), None)

    ((alert,),) = alertmanager.posts
    assert alert["labels"].keys() == {"alertname", "severity", "scope", "route", "source"}
    assert alert["annotations"] == {
        "summary": "chat: an order",
        "description": "ticket 7",
        "fallbacks": "*: rule",
    }


async def test_one_that_fires_again_is_not_over(alertmanager: _Alertmanager) -> None:
    mirror, now = alertmanager.mirror(), (owner_message(lease_s=600.0), scope_message("embed"))
    await mirror.write(_picture(*now), None)
    await mirror.write(_picture(owner_message(), at=NOW + 1), None)
    await mirror.write(_picture(*now, at=NOW + 2), None)

    assert alertmanager.ends() == [{"embed": 60}, {"embed": 1}, {"embed": 62}]


@pytest.mark.parametrize("event_time", [None, 1e18, -1e15, 0.0, NOW + 100, -1.0])
async def test_a_time_that_is_none_gives_way_to_when_it_was_said(
    alertmanager: _Alertmanager, event_time: float | None
) -> None:
    """One such record must not keep the other alerts back, which a batch with an error may."""
    odd = scope_message("embed", evidence={"event_time": event_time}, issued_at=NOW - 1)
    await alertmanager.mirror().write(_picture(owner_message(), ACTIVE, odd), None)

    (post,) = alertmanager.posts
    assert {each["labels"]["scope"]: _time(each["startsAt"]) - NOW for each in post} == {
        "chat@eu-1": -2.5,
        "embed": -1,
    }


@pytest.mark.parametrize("status", [302, 400, 503])
async def test_what_is_not_taken_is_told_with_what_was_said(alertmanager: _Alertmanager, status: int) -> None:
    """To be sent elsewhere is not to be taken."""
    alertmanager.status = status
    with pytest.raises(NotTakenError, match=rf"{status} .*: no such label"):
        await alertmanager.mirror().write(_picture(owner_message(), ACTIVE), None)


async def test_who_has_a_password_sends_it(alertmanager: _Alertmanager) -> None:
    mirror = alertmanager.mirror(alertmanager.url.replace("://", "://me:s3cret@"))
    await mirror.write(_picture(owner_message(), ACTIVE), None)

    assert alertmanager.authorization == "Basic " + b64encode(b"me:s3cret").decode()
    assert "s3cret" not in mirror.name


async def test_who_answers_a_byte_at_a_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole request has its time, not each piece of it, and nothing is left behind that waits."""
    monkeypatch.setattr(alertmanager_module, "_TIMEOUT_S", 0.3)

    ended = asyncio.Event()

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        ended.set()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        mirror = AlertmanagerMirror(f"http://127.0.0.1:{port}")
        with pytest.raises((TimeoutError, ClientError)):
            await mirror.write(_picture(owner_message(), ACTIVE), None)
        await mirror.close()
        await asyncio.wait_for(ended.wait(), 20)  # the connection was given back


async def test_another_mode_is_another_alert_and_ends_the_one_before(alertmanager: _Alertmanager) -> None:
    """People are called by it: the alert that says the wrong cause must not stay."""
    mirror = alertmanager.mirror()
    await mirror.write(_picture(owner_message(), scope_message(mode="latency_spike")), None)
    revised = scope_message(mode="hardware_throttling", revision=2)
    await mirror.write(_picture(owner_message(), revised, at=NOW + 3), frozenset({"chat"}))

    told = {each["labels"]["mode"]: _time(each["endsAt"]) - NOW for each in alertmanager.posts[1]}
    assert told == {"hardware_throttling": 63, "latency_spike": 3}


async def test_an_end_that_was_not_taken_is_sent_again(alertmanager: _Alertmanager) -> None:
    mirror = alertmanager.mirror()
    alertmanager.status = 503
    with pytest.raises(NotTakenError):
        await mirror.write(_picture(owner_message(), ACTIVE), None)
    with pytest.raises(NotTakenError):
        await mirror.write(_picture(owner_message(), at=NOW + 1), None)
    alertmanager.status = 200
    await mirror.write(_picture(owner_message(), at=NOW + 2), None)

    ((alert,),) = alertmanager.posts[2:]
    assert (alert["labels"]["scope"], _time(alert["endsAt"])) == ("chat@eu-1", NOW + 1)


async def test_nothing_is_sent_while_all_is_well(alertmanager: _Alertmanager) -> None:
    await alertmanager.mirror().write(_picture(owner_message()), None)

    assert alertmanager.posts == []


@pytest.mark.parametrize(
    "url",
    [
        "s3cret@alertmanager:9093",
        "ftp://a",
        "http://",
        "http://:9093",
        "http://a:s3cret",
        "http://a/?s3cret",
        "",
    ],
)
def test_what_is_no_url_is_told_at_once_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="expected http") as told:
        AlertmanagerMirror(url)
    assert "s3cret" not in str(told.value)
