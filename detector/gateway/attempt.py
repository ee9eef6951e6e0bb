"""One attempt at answering a call, in a task of its own, which can be left alone, or ended for a reason."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class End(Enum):
    """Why an attempt was ended from outside."""

    CALLER = "the caller has gone"
    TIME = "it took too long"
    OURS = "too many go on, or the gateway stops: it tells nothing of who was asked"


class CancelledItselfError(Exception):
    """Who was asked raised CancelledError though nobody had cancelled it: a client that lost a connection."""


# Told when it ends, by itself or from outside: it, an error (None: it answered), why it was ended.
Told = Callable[["Attempt[Any]", Exception | None, End | None], None]


class Attempt(Generic[T]):
    """Begins at once.

    Args:
        ask: what answers.
        told: called once, when it has ended.

    Attributes:
        task: the attempt; its own errors are never those of a cancellation that nobody asked for.
        began: when, monotonic seconds.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], told: Told) -> None:
        self.began = time.monotonic()
        self._told = told
        self._ended: End | None = None
        self.task: asyncio.Task[T] = asyncio.create_task(self._run(ask))
        self.task.add_done_callback(_look_at)

    @property
    def took_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        return self.error is None and self.task.done() and not self.task.cancelled()

    @property
    def error(self) -> BaseException | None:
        """What it failed by, if it has."""
        return self.task.exception() if self.task.done() and not self.task.cancelled() else None

    def end(self, why: End) -> None:
        """Cancel it, unless it is done."""
        if not self.task.done():
            self._ended = self._ended or why
            self.task.cancel()

    async def _run(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            answer = await ask()
        except asyncio.CancelledError:
            if self._ended is None:
                error = CancelledItselfError("cancelled by nobody who waited for it")
                self._told(self, error, None)
                raise error from None
            self._told(self, None, self._ended)
            raise
        except Exception as error:
            # What a client raises when it is cancelled is no failure of who was asked.
            self._told(self, error, self._ended)
            raise
        self.answer = answer
        self._told(self, None, None)
        return answer


def _look_at(task: asyncio.Task[Any]) -> None:
    """Nobody may be waiting any more: an error that was told is not to be said again."""
    if not task.cancelled():
        task.exception()


async def first_answer(attempt: Attempt[T], other: Attempt[T] | None, until: float) -> None:
    """Wait until an attempt is done, or another one has an answer, `until` (monotonic seconds) at most."""
    while not attempt.task.done() and not (other is not None and other.answered):
        left_s = until - time.monotonic()
        if left_s <= 0:
            return
        both = [each.task for each in (attempt, other) if each is not None and not each.task.done()]
        await asyncio.wait(both, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
