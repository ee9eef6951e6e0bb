"""Who reads to an end gives up where the broker goes away before it."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from detector.service import inspect, snapshots, stall
from detector.service.settings import Settings


class Consumer:
    """Three messages are there by the ends that it was told; after the first one nothing comes any more."""

    def __init__(self, **_: Any) -> None:
        self._client = SimpleNamespace(close=self.stop)
        self._at = 0

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def assign(self, places: Any) -> None:
        self._places = places

    async def end_offsets(self, places: Any) -> dict[Any, int]:
        return dict.fromkeys(places, 3)

    async def seek_to_beginning(self, *places: Any) -> None: ...

    async def position(self, _: Any) -> int:
        return self._at

    async def getmany(self, *_: Any, **__: Any) -> dict[Any, list[Any]]:
        await asyncio.sleep(0)
        if self._at:
            return {}
        self._at = 1
        return {self._places[0]: [SimpleNamespace(key=b"k", value=b"v", headers=(), offset=0)]}


async def _whole() -> Any:
    return await inspect.read_whole(Settings(bootstrap="x:1"), "t")


async def _snapshots() -> Any:
    return await snapshots.SnapshotReader({}, "t").read([0])


@pytest.mark.parametrize("read", [_whole, _snapshots])
async def test_a_broker_that_goes_away_on_the_way_is_told(
    read: Callable[[], Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an error that commands report as no answer, and that a worker's restore tries again after."""
    monkeypatch.setattr(stall, "STALLED_S", 0.05)
    monkeypatch.setattr(inspect, "AIOKafkaConsumer", Consumer)
    monkeypatch.setattr(snapshots, "AIOKafkaConsumer", Consumer)
    async with asyncio.timeout(10):
        with pytest.raises(KafkaTimeoutError, match="t cannot be read on"):
            await read()


async def test_who_comes_further_has_the_whole_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic may take longer to read than a broker may be silent."""
    told: list[float] = []

    class Patience:
        async def __aenter__(self) -> "Patience":
            return self

        async def __aexit__(self, *_: object) -> None: ...

        def reschedule(self, when: float) -> None:
            told.append(when)

    loop = SimpleNamespace(time=lambda: 7.0)
    clock = SimpleNamespace(timeout=lambda _: Patience(), get_running_loop=lambda: loop)
    monkeypatch.setattr(stall, "asyncio", clock)
    async with stall.unless_stalled("t") as come_further:
        come_further()

    assert told == [7.0 + stall.STALLED_S]
