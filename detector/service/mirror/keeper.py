"""Keeps targets like the control topic: what changes at once, what is in force in time, all now and then.

Each target has a task of its own, so that one which is slow or away delays no other.
"""

import asyncio
import contextlib
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from detector.gateway.client import GatewayClient
from detector.service.logs import logger
from detector.service.mirror.metrics import REFUSED, MirrorMetrics
from detector.service.mirror.picture import Picture, Target
from topics.control import ControlRecord

WHOLE_S = 30.0
_GATED_S = 0.1
_MOST_S = 10.0  # for one write; a target that hangs must not stand as written
_BACKOFF_S = (0.1, 2.0)
_SAID_AGAIN_S, _SAID_CHARACTERS = 60.0, 500


@dataclass(slots=True)
class _Kept:
    """One target, and what it lacks. `whole_at`, `renew_at`: when all of it, or what is in force, is due."""

    target: Target
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    changed: set[str] = field(default_factory=set)
    whole_at: float = 0.0
    renew_at: float = 0.0
    not_before: float = 0.0
    written_at: float | None = None
    delay: float = _BACKOFF_S[0]
    said_at: float = float("-inf")


class Keeper:
    """Writes to targets what a client of the control topic holds, once it is at the end of the topic.

    `changed` is to be the client's `on_change`.
    """

    def __init__(self, targets: Collection[Target], metrics: MirrorMetrics) -> None:
        self._kept = [_Kept(target) for target in targets]
        self._metrics = metrics

    def changed(self, before: ControlRecord | None, after: ControlRecord | None) -> None:
        """A scope has changed: it is written before anything else."""
        about = after or before
        if about is not None:
            for kept in self._kept:
                kept.changed.add(about.scope)
                kept.waiting.set()

    def behind(self, now: float, most_s: float) -> list[str]:
        """The targets that were written last more than `most_s` seconds before `now`, the monotonic clock."""
        return [
            kept.target.name
            for kept in self._kept
            if kept.written_at is None or now - kept.written_at > most_s + kept.target.period_s
        ]

    async def run(self, client: GatewayClient) -> None:
        """Keep all targets, for ever; the client is to be started by somebody else."""
        try:
            async with asyncio.TaskGroup() as group:
                for kept in self._kept:
                    group.create_task(self._keep(kept, client), name=f"mirror-{kept.target.name}")
        finally:
            for kept in self._kept:
                await kept.target.close()

    async def _keep(self, kept: _Kept, client: GatewayClient) -> None:
        while True:
            if not client.caught_up or client.view.rereading:
                await asyncio.sleep(_GATED_S)
                continue
            now = time.monotonic()
            if now < kept.not_before:
                await asyncio.sleep(kept.not_before - now)
                continue
            due = min(kept.whole_at, kept.renew_at) - now
            if due > 0 and not kept.changed:
                kept.waiting.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(kept.waiting.wait(), due)
                continue
            await self._write(kept, client)

    async def _write(self, kept: _Kept, client: GatewayClient) -> None:
        """One write of what is due."""
        now = time.monotonic()
        picture = Picture.of(client.view, now=now, at=time.time())
        whole, renewing = now >= kept.whole_at, now >= kept.renew_at
        changed, kept.changed = kept.changed, set()
        scopes = None if whole else frozenset(changed.union(picture.left_s if renewing else ()))
        target = kept.target
        kept.not_before = now + target.least_s
        try:
            async with asyncio.timeout(_MOST_S):
                outcomes = await target.write(picture, scopes)
        except Exception as error:
            # Whatever it was, the others go on, and here all is written once it works again.
            kept.whole_at = kept.renew_at = 0.0
            self._metrics.failures.labels(target.name).inc()
            # A library's own representation may leave out what happened, as redis-py's does.
            told = f"{type(error).__name__}: {error}"[:_SAID_CHARACTERS]
            if _may_be_said(kept, now):
                logger().warning("mirror_not_written", target=target.name, error=told)
            await asyncio.sleep(kept.delay)
            kept.delay = min(2 * kept.delay, _BACKOFF_S[1])
            return
        for outcome, count in outcomes.items():
            self._metrics.scopes.labels(target.name, outcome).inc(count)
        if whole:
            kept.whole_at = now + WHOLE_S
        if whole or renewing:
            kept.renew_at = now + target.period_s
        kept.delay = _BACKOFF_S[0]
        if refused := outcomes.get(REFUSED, 0):
            # Another mirror may be ahead for a moment; for longer nobody can be: what is there is wrong.
            if _may_be_said(kept, now):
                logger().warning("mirror_refused", target=target.name, scopes=refused)
            return
        if kept.said_at > float("-inf"):
            kept.said_at = float("-inf")
            logger().info("mirror_written_again", target=target.name)
        kept.written_at = now
        self._metrics.written.labels(target.name).set(picture.at)


def _may_be_said(kept: _Kept, now: float) -> bool:
    """A fault that lasts is told of once a minute."""
    if now - kept.said_at < _SAID_AGAIN_S:
        return False
    kept.said_at = now
    return True
