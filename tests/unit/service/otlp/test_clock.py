"""The time that verdicts wait by stands while no call could be seen."""

import asyncio
from types import SimpleNamespace

import pytest

from detector.service.otlp import run as module
from detector.service.otlp.clock import WaitClock
from detector.service.otlp.run import Inputs, OtlpService
from detector.service.settings import Settings


def test_time_counts_only_while_what_comes_can_be_read() -> None:
    """Neither while spans lie unread, nor while there is no room, nor before reading begins."""
    clock = WaitClock()
    clock.begin(100.0)
    clock.look(101.0, current=True)
    clock.look(151.0, current=False)
    clock.stood(20.0)
    clock.stood(20.0)
    clock.look(193.0, current=True)
    clock.begin(500.0)
    clock.look(501.0, current=True)

    assert clock.seconds == 1.0 + 2.0 + 1.0


async def test_the_wait_for_room_is_no_wait_for_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the producer takes, verdicts are not given up for it."""
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now.s))
    service = OtlpService(Settings(), Inputs(spans="s", logs="l", encoding="otlp_proto"))
    for _ in range(module._UNDER_WAY + 1):
        service._outbox.send("t", b"k", b"v", [])
    service._clock.begin(now.s)
    waiting = asyncio.ensure_future(service._room())
    while len(asyncio.all_tasks()) < 3:  # noqa: ASYNC110 - until it waits
        await asyncio.sleep(0)

    now.s = 90.0
    service.stopped.set()
    await waiting
    now.s = 91.0
    service._clock.look(now.s, current=True)

    assert service._clock.seconds == 1.0
