"""What the fetching thread has brought and the event loop has not taken yet.

The thread fetches on while the loop judges, so what the loop takes next is as fresh as the broker has it,
and all of it at once: the busier the loop, the larger what it takes. One thread puts, one takes.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from faust.types import TP

MOST = 20_000  # records; more are left to the client's own buffers, and then to the broker


class Chunk(NamedTuple):
    """Records of one partition, fetched after its `round`-th seek."""

    tp: TP
    round: int
    records: Sequence[Any]


class Stock:
    """Chunks in the order in which they came."""

    def __init__(self, most: int = MOST) -> None:
        """Made in the loop that takes."""
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._told = False
        self._chunks: deque[Chunk] = deque()
        self._most = most
        # Each is written by one side only.
        self._put = self._taken = 0
        self._room = threading.Event()

    def __len__(self) -> int:
        return self._put - self._taken

    @property
    def full(self) -> bool:
        """Whether `most` records lie here, or more."""
        return len(self) >= self._most

    # The thread that fetches.

    def room(self, timeout_s: float) -> bool:
        """Wait until less than `most` records lie here, for so long at most; whether that is so."""
        if not self.full:
            return True
        self._room.clear()
        if self.full:
            self._room.wait(timeout_s)
        return not self.full

    def put(self, found: Mapping[TP, Sequence[Any]], rounds: Mapping[TP, int]) -> None:
        """Add what a fetch brought; `rounds`: how often each partition was sought."""
        for tp, records in found.items():
            self._put += len(records)
            self._chunks.append(Chunk(tp, rounds.get(tp, 0), records))
        if not self._told:
            self._told = True
            self.wake_from_afar()

    def wake_from_afar(self) -> None:
        """As `wake`, from any thread."""
        with suppress(RuntimeError):  # the loop has ended: nobody takes any more
            self._loop.call_soon_threadsafe(self._arrived.set)

    # The loop that judges.

    def wake(self) -> None:
        """Let who waits for something look again."""
        self._arrived.set()

    async def arrived(self, timeout_s: float) -> None:
        """Wait until something has come, for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()

    def take(self) -> list[Chunk]:
        """Everything that is here."""
        self._told = False
        self._arrived.clear()
        found: list[Chunk] = []
        while self._chunks:
            found.append(self._chunks.popleft())
        taken = sum(len(chunk.records) for chunk in found)
        self._taken += taken
        self._room.set()
        return found
