"""How long a reader goes on that reads to an end, where the broker goes away before it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiokafka.errors import KafkaTimeoutError

STALLED_S = 30.0


@asynccontextmanager
async def unless_stalled(topic: str) -> AsyncIterator[Callable[[], None]]:
    """Yields what is to be called whenever reading has come further.

    Raises:
        KafkaTimeoutError: it has not for `STALLED_S` seconds.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(STALLED_S) as patience:
            yield lambda: patience.reschedule(loop.time() + STALLED_S)
    except TimeoutError:
        if not patience.expired():
            raise
        raise KafkaTimeoutError(f"{topic} cannot be read on: nothing came for {STALLED_S:g} s") from None
