"""The process behind `detector otlp`: reads batches, has them normalised, commits what is acknowledged."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaException

from detector.service import garbage
from detector.service.http import HttpServer
from detector.service.logs import logger
from detector.service.otlp.clock import WaitClock
from detector.service.otlp.counts import Counts
from detector.service.otlp.decode import Encoding
from detector.service.otlp.normalise import LOGS, MAX_AGE_S, SENT, SPANS, Normaliser, new_join
from detector.service.otlp.progress import Place, Progress
from detector.service.otlp.reader import Reader
from detector.service.otlp.surroundings import CannotStartError, Surroundings
from detector.service.outbox import Outbox
from detector.service.refused import Refused
from detector.service.settings import Settings
from detector.service.stopping import stop_on_signals
from topics.names import topics

_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0)
# Beyond that nothing more is read: a dead letter may be a megabyte.
_UNDER_WAY, _UNDER_WAY_BYTES = 20_000, 64 * 2**20
_LINGER_MS = 5
_STUCK_S = 10.0
_SETTLE_S = 1.0  # for what is under way when partitions go to another member of the group
_LAST_S = 1.5  # for what is under way when told to stop

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a collector writes: topics of spans and logs, one of which may be empty, and their encoding.

    Attributes:
        max_age_s: spans that ended longer ago are not made into telemetry.
    """

    spans: str
    logs: str
    encoding: Encoding
    max_age_s: float = MAX_AGE_S

    def by_topic(self) -> dict[str, str]:
        """Topic to signal, of those that are read."""
        return {topic: signal for topic, signal in ((self.spans, SPANS), (self.logs, LOGS)) if topic}


class OtlpService:
    """One process, from its start to its end."""

    def __init__(self, settings: Settings, inputs: Inputs) -> None:
        """Nothing is contacted before `run`."""
        self.settings, self.inputs = settings, inputs
        self.stopped = asyncio.Event()
        self._declared = topics(settings.topic_prefix)
        self._counts = Counts()
        self._outbox = Outbox(
            settings.librdkafka_options(),
            name="otlp",
            linger_ms=_LINGER_MS,
            limit=_UNDER_WAY,
            limit_bytes=_UNDER_WAY_BYTES,
        )
        self._join = new_join()
        self._reader: Reader | None = None
        self._failures = 0  # of reading, since something was read
        self._failed: BaseException | None = None
        self._clock = WaitClock()
        self._around = Surroundings(settings, self._declared, inputs.by_topic())
        self._http = HttpServer(ready=self._readiness, metrics=self._metrics, reload=_nothing_to_reload)
        self._log = logger(part="otlp")

    async def run(self) -> None:
        """Work until `stopped` is set; a broker or a topic that is away is waited for.

        Raises:
            CannotStartError: the broker refuses us, or the address of health and metrics is none of this
                machine's.
        """
        host, port = self.settings.http_host, self.settings.http_port
        try:
            await self._http.start(host, port)
        except OSError as error:
            raise CannotStartError(f"http_host, http_port: cannot listen on {host}:{port}: {error}") from None
        try:
            letter_bytes = await self._until_stopped(self._around.wait())
            if letter_bytes is None:
                return
            refused = Refused(
                self._outbox,
                deadletter=self._declared.deadletter.name,
                inputs={signal: topic for topic, signal in self.inputs.by_topic().items()},
                max_bytes=letter_bytes,
            )
            normaliser = Normaliser(
                self._outbox,
                refused,
                declared=self._declared,
                encoding=self.inputs.encoding,
                counts=self._counts,
                join=self._join,
                max_age_s=self.inputs.max_age_s,
            )
            self._outbox.start(self._ended)
            watching = asyncio.create_task(self._around.watch(), name="watch")
            watching.add_done_callback(self._ended)
            while not self.stopped.is_set():
                try:
                    await self._read(normaliser)
                except KafkaException as error:
                    wait_s = _BACK_OFF_S[min(self._failures, len(_BACK_OFF_S) - 1)]
                    self._failures += 1
                    self._log.error("reading_failed", error=str(error), retry_in_s=wait_s)
                    await self._until_stopped(asyncio.sleep(wait_s))
            if self._failed is not None:
                raise self._failed
        finally:
            await self._http.stop()

    async def _read(self, normaliser: Normaliser) -> None:
        """One consumer's life; raises what ended it, returns when stopped."""
        settings, progress = self.settings, Progress()

        async def settle() -> dict[Place, int]:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._outbox.acked(self._outbox.last), _SETTLE_S)
            return progress.covered(self._outbox.acked_through)

        self._reader = reader = Reader(
            settings.librdkafka_options(),
            group=f"{settings.group_id}-otlp",
            inputs=self.inputs.by_topic(),
            settle=settle,
            session_s=settings.session_timeout_s,
            beat_s=settings.heartbeat_s,
        )
        garbage.begin()
        commit_at = 0.0
        self._clock.begin(time.monotonic())
        try:
            while not self.stopped.is_set():
                revoked, messages = await reader.fetch()
                if messages:
                    self._failures = 0
                progress.drop(revoked)
                normaliser.forget(revoked)
                for raw in messages:
                    if raw.signal == SENT:
                        normaliser.recall(raw, now=time.time())
                    else:
                        taken = progress.take((raw.topic, raw.partition), raw.offset)
                        normaliser.take(raw, taken, clock_s=self._clock.seconds, now=time.time())
                    await self._room()
                    if self.stopped.is_set():
                        break
                now = time.monotonic()
                unread = any(topic == self.inputs.spans for topic, _ in reader.behind)
                self._clock.look(now, current=not unread and not self._around.away)
                normaliser.expire(clock_s=self._clock.seconds, now=time.time())
                if now >= commit_at:
                    commit_at = now + settings.commit_interval_s
                    reader.commit(progress.covered(self._outbox.acked_through))
                if not messages:
                    garbage.in_a_spare_moment()
        finally:
            self._reader = None
            normaliser.forget(reader.assigned)  # whoever reads them next reads their verdicts again
            if self.stopped.is_set():
                await self._outbox.stop(_LAST_S)
            await reader.close(progress.covered(self._outbox.acked_through))

    async def _room(self) -> None:
        """Let others have their turn, and wait while too much is under way, or until stopped."""
        await asyncio.sleep(0)
        if self._outbox.crowded:
            since = time.monotonic()
            await self._until_stopped(self._outbox.room())
            self._clock.stood(time.monotonic() - since)

    async def _until_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of `work`, or None when told to stop before there is one."""
        task, stopping = asyncio.create_task(work), asyncio.create_task(self.stopped.wait())
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not task.done():
            task.cancel()
            return None
        return task.result()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """By an error of ours; whoever started the process starts it again."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed = error
            self.stopped.set()

    def _readiness(self) -> dict[str, Any]:
        missing = self._around.missing()
        if not missing and (self._reader is None or not self._reader.assigned):
            missing += self._around.unread() or ["assignment"]
        if self._outbox.stuck_s > _STUCK_S:
            missing.append("outbox otlp")
        return {"ready": not missing, "missing": missing}

    def _metrics(self) -> bytes:
        self._counts.calls.set(self._join.calls)
        self._counts.waiting.set(self._join.waiting)
        self._counts.outbox.labels("otlp").set(self._outbox.under_way)
        self._counts.refused.set("otlp", self._outbox.refused)
        self._counts.lag.clear()
        for (topic, partition), batches in (self._reader.lags() if self._reader else {}).items():
            self._counts.lag.labels(topic, str(partition)).set(batches)
        return self._counts.render()


def _nothing_to_reload() -> list[str]:
    return ["detector otlp has no contract to read again"]


def serve(settings: Settings, inputs: Inputs) -> int:
    """Run until SIGTERM or SIGINT, which end it within five seconds whatever state it is in.

    Returns:
        0 after a signal, 1 if it cannot go on or could not end in time.
    """
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    return asyncio.run(_serve_until_signal(settings, inputs))


async def _serve_until_signal(settings: Settings, inputs: Inputs) -> int:
    service = OtlpService(settings, inputs)
    log = logger(part="otlp")
    stop_on_signals(service.stopped, log)
    try:
        await service.run()
    except CannotStartError as error:
        log.error("cannot_start", reason=str(error))
        return 1
    log.info("stopped")
    return 0
