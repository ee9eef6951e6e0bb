"""A background task that ends is heard of."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from detector.service import carrier, controlfeed, outbox, shell
from detector.service.controlfeed import ControlFeed
from detector.service.outbox import Outbox
from detector.service.shell import Shell


class Broken:
    """A client that fails in a way that waiting cannot mend."""

    def __init__(self, **_: Any) -> None:
        pass

    async def start(self) -> None:
        raise LookupError("not the broker's fault")

    async def stop(self) -> None:
        pass


async def test_a_feed_that_dies_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker would hold its partitions on, deaf to whoever claims them."""
    monkeypatch.setattr(controlfeed, "AIOKafkaConsumer", Broken)
    ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    ControlFeed({}, "control", "overrides", object()).start(ended.set_result)  # type: ignore[arg-type]

    assert isinstance((await asyncio.wait_for(ended, 10)).exception(), LookupError)


async def test_an_outbox_that_dies_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions would pile up in it."""

    def broken(_: Any) -> None:
        raise LookupError("not the broker's fault")

    monkeypatch.setattr(carrier, "Producer", broken)
    ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    Outbox({}, name="o").start(ended.set_result)

    assert isinstance((await asyncio.wait_for(ended, 10)).exception(), LookupError)


def test_an_outbox_knows_for_how_long_it_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time counts from the last acknowledgement, or from the first message that waits."""
    now = 1000.0
    monkeypatch.setattr(outbox.time, "monotonic", lambda: now)
    box = Outbox({}, name="o")
    assert box.stuck_s == 0
    box.send("t", b"k", b"v", [], lane=1)
    now += 5
    box.send("t", b"k", b"v", [], lane=2)
    assert box.stuck_s == 5
    box.drop(1)
    now += 3
    assert box.stuck_s == 3
    box.drop(2)
    assert box.stuck_s == 0


def test_what_was_dropped_is_not_sent_again() -> None:
    """A producer that fails leaves what was under way to the next one, but for lanes that were dropped."""
    box, told = Outbox({}, name="o"), []
    for lane in (1, 2, 1):
        box.send("t", b"%d" % lane, b"v", [], lane=lane, on_ack=lambda lane=lane: told.append(lane))
    box._flying.extend(box._waiting)
    box._waiting.clear()
    box.drop(1)
    assert box.acked_through == 0
    box._take_back()

    assert [item.key for item in box._waiting] == [b"2"]
    assert (box.acked_through, box.pending(1), box.pending(2)) == (1, 0, 1)
    assert told == []


async def test_a_beat_gives_way_to_records_before_each_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so do the ticks themselves; the time for all of it is one."""
    monkeypatch.setattr(shell, "_BEAT_S", 0.0)
    seen: list[Any] = []

    async def lull(end: float) -> None:
        seen.append(("lull", end))

    async def tick(_: Any, __: float, given: Any) -> None:
        seen.append("tick")
        await given()
        if seen.count("tick") == 2:
            raise LookupError

    worker = SimpleNamespace(partition=0, tick=tick)
    subject: Any = SimpleNamespace(
        consumer=SimpleNamespace(lull=lull),
        workers={0: worker, 1: worker},
        seen=lambda *_: (None, None),
        _notice_stall=lambda: None,
        _upkeep=SimpleNamespace(in_saved_time=lambda _: None),
        _covers={},
    )
    with pytest.raises(LookupError):
        await Shell._beat(subject)

    assert [each if isinstance(each, str) else each[0] for each in seen] == ["lull", "tick", "lull"] * 2
    assert len({each[1] for each in seen if each != "tick"}) == 1
