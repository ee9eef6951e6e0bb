"""Demo traffic for docker-compose.yml: two healthy routes, one of which falls ill every few minutes.

Synthetic, and meant to be seen: 200 calls a second per route, and for 40 s out of every 240 the upstream
of the route `chat` is slow, so that `detector tail` shows an activation. It publishes as a collector does and
obeys nobody: no call of its is a probe, so the way back to the primary is not to be seen here.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

from aiokafka import AIOKafkaProducer

from topics.codec import encode
from topics.names import topics
from topics.telemetry import TelemetryRecord

CALLS_PER_S = 200
PERIOD_S, ILL_FROM_S, ILL_FOR_S = 240.0, 120.0, 40.0


def is_ill(elapsed_s: float) -> bool:
    """Whether `chat`'s upstream is slow, so many seconds after the start."""
    return ILL_FROM_S <= elapsed_s % PERIOD_S < ILL_FROM_S + ILL_FOR_S


def calls(draw: random.Random, now: float, elapsed_s: float) -> Iterator[TelemetryRecord]:
    """One second of calls of both routes, evenly spaced and ending at `now` (Unix seconds)."""
    for route, tokens in (("chat", 180.0), ("code", 60.0)):
        for index in range(CALLS_PER_S):
            upstream = draw.lognormvariate(-4.0, 0.3)
            if route == "chat" and is_ill(elapsed_s):
                upstream += 0.25
            yield TelemetryRecord(
                event_time=now - 1 + (index + 1) / CALLS_PER_S,
                route=route,
                deployment=f"{route}-{index % 2}",
                latency_s=upstream + draw.lognormvariate(-3.0, 0.2),
                upstream_s=upstream,
                input_tokens=round(draw.lognormvariate(5.5, 0.6)),
                output_tokens=round(tokens * draw.lognormvariate(0.0, 0.5)),
            )


async def send(bootstrap: str, prefix: str, alive: Path | None) -> None:
    """Sends until it is stopped, one batch a second, and touches `alive` when a batch is acknowledged."""
    draw = random.Random(7)
    telemetry = topics(prefix).telemetry.name
    start = time.monotonic()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5) as producer:
        while True:
            now, elapsed_s = time.time(), time.monotonic() - start
            acknowledged = [
                await producer.send(telemetry, encode(call), key=call.route.encode())
                for call in calls(draw, now, elapsed_s)
            ]
            await asyncio.gather(*acknowledged)
            if alive is not None:
                alive.touch()  # noqa: ASYNC240 - an empty file, once a second
            await asyncio.sleep(max(0.0, 1.0 - (time.time() - now)))


def main() -> None:
    """Reads the command line and sends."""
    parser = argparse.ArgumentParser(description="Sends demo telemetry to Kafka until it is stopped.")
    parser.add_argument("--bootstrap", default="localhost:9092", help="host:port of the broker")
    parser.add_argument("--topic-prefix", default="", help="as the detector's")
    parser.add_argument(
        "--alive", type=Path, help="a file to touch with every acknowledged second of traffic"
    )
    arguments = parser.parse_args()
    asyncio.run(send(arguments.bootstrap, arguments.topic_prefix, arguments.alive))


if __name__ == "__main__":
    main()
