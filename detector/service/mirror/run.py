"""What `detector mirror` does once it is told where: follow the control topic, keep targets like it."""

import asyncio
import contextlib
import os
import socket
import time
import uuid
from collections.abc import Sequence
from typing import Any

from detector.gateway.client import GatewayClient
from detector.service.complaints import Complaints
from detector.service.http import HttpServer
from detector.service.logs import logger
from detector.service.mirror.keeper import Keeper
from detector.service.mirror.metrics import MirrorMetrics
from detector.service.mirror.picture import Target
from detector.service.settings import Settings
from detector.service.stopping import stop_on_signals
from topics.names import topics

BEHIND_S = 10.0
_LOOK_S = 1.0
_NOT_READ = (
    "`detector state` with the same settings says why no broker answers; where it finds nothing the prefix "
    "is another one, or no `detector run` has made the topic yet"
)
_FOR_EVER_S = 1e7  # before the end of the topic there is nothing to do


def mirror_id() -> str:
    """Names this process."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


def serve(settings: Settings, targets: Sequence[Target], *, hold_max_s: float) -> int:
    """Keep the targets until SIGTERM or SIGINT.

    Args:
        settings: where to connect.
        targets: each of another name.
        hold_max_s: the most that scopes that say `hold` outlive their lease there.

    Returns:
        0 after a signal, 1 if no port could be had.
    """
    return asyncio.run(_serve(settings, targets, hold_max_s))


async def _serve(settings: Settings, targets: Sequence[Target], hold_max_s: float) -> int:
    metrics = MirrorMetrics([target.name for target in targets])
    keeper = Keeper(targets, metrics)
    client = GatewayClient(
        settings.bootstrap,
        "mirror",  # names nobody: it acknowledges nothing, as it obeys nothing
        topic_prefix=settings.topic_prefix,
        client_options=settings.client_options() | {"fetch_max_wait_ms": 50 if settings.embedded else 500},
        catch_up_timeout_s=_FOR_EVER_S,
        acks=False,
        on_change=keeper.changed,
        hold_max_s=hold_max_s,
    )

    end = f"end of {topics(settings.topic_prefix).control.name}"

    def missing() -> list[str]:
        if client.caught_up and not client.view.rereading:
            behind = [f"target {name}" for name in keeper.behind(time.monotonic(), BEHIND_S)]
        else:
            behind = [end]  # before that nothing is written, whatever the targets do
        return [*([] if client.connected else ["broker"]), *behind]

    def ready() -> dict[str, Any]:
        return {"ready": not (found := missing()), "missing": found}

    http = HttpServer(ready=ready, metrics=metrics.text, reload=lambda: ["a mirror has no contract to read"])
    stopped = asyncio.Event()
    stop_on_signals(stopped, logger())
    try:
        await http.start(settings.http_host, settings.http_port)
    except OSError as error:
        logger().error("cannot_start", reason=f"http_host, http_port: {error}")
        return 1
    logger().info("mirror_started", targets=[target.name for target in targets], brokers=settings.bootstrap)
    keeping = asyncio.create_task(_keep(keeper, client))
    complaints = Complaints(dict.fromkeys(["broker", end], _NOT_READ))
    try:
        while not (stopped.is_set() or keeping.done()):
            complaints.look(missing(), time.monotonic())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), _LOOK_S)
        logger().info("mirror_stopped")
        return 0
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
        await http.stop()


async def _keep(keeper: Keeper, client: GatewayClient) -> None:
    async with client:
        await keeper.run(client)
