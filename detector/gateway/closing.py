"""How aiokafka's clients are ended: all is given back, and within seconds, whatever state brokers are in.

Where no broker answers, aiokafka's own `stop` lets out the CancelledError of a task of its own before it has
closed the connections.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

logger = logging.getLogger("detector.gateway")

_STEP_S = 2.0  # for each step: one that hangs is given up


async def close_consumer(consumer: AIOKafkaConsumer) -> None:
    """End a consumer, started or not. Raises nothing but the caller's own cancellation, after all is done."""
    await _take(consumer.stop, consumer._client.close)


async def close_producer(producer: AIOKafkaProducer) -> None:
    """End a producer, started or not. Raises nothing but the caller's own cancellation, after all is done."""

    async def drop() -> None:
        # What is left is given up first: `stop` would wait for it, as long as a request may take.
        producer._message_accumulator.fail_all(KafkaConnectionError("closed before it was sent"))
        await producer.client.close()

    await _take(producer.flush, drop, producer.stop)


async def _take(*steps: Callable[[], Awaitable[Any]]) -> None:
    """Take every step, whatever came of the one before."""
    task = asyncio.current_task()
    assert task is not None  # a coroutine that runs is somebody's
    cancelled_before = task.cancelling()
    for step in steps:
        try:
            async with asyncio.timeout(_STEP_S):
                await step()
        except asyncio.CancelledError:
            pass  # aiokafka's, or the caller's, which is heard when all is given back
        except Exception as error:
            logger.warning("a connection was not closed as it should be: %r", error)
    if task.cancelling() > cancelled_before:
        raise asyncio.CancelledError
