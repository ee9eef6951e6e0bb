"""The one Faust app and the life of the process around it: start, broker away, failure, stop."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.sensors.prometheus import FaustMetrics, PrometheusMonitor

from detector.contract import ContractError
from detector.contract.model import Contract
from detector.gateway.headernames import tolerate_header_names
from detector.service import garbage, topics_admin
from detector.service.complaints import Complaints
from detector.service.health import HINTS, look_for_topics, readiness, render_metrics
from detector.service.http import HttpServer
from detector.service.inputs import InputReader
from detector.service.logs import logger
from detector.service.reach import Reach
from detector.service.settings import Settings, SettingsError
from detector.service.shell import Shell
from detector.service.stopping import stop_on_signals
from detector.service.topics_admin import Cluster, TopicMismatchError
from detector.service.transport import BatchSchema, batch_transport
from topics.names import topics

_LEAVE_S = 2.0
_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0)
_WELL_AFTER_S = 60.0  # a failure after that is another one
_FETCH_WAIT_MS = 500
_EMBEDDED_FETCH_WAIT_MS = 2
_BATCHES_BUFFERED = 4
_SWITCH_S = 0.0005
_LOOK_S = 5.0


class ServiceFailedError(RuntimeError):
    """The service cannot go on, and trying again cannot help; the message says why."""


def make_app(settings: Settings, shell: Shell, data_dir: str) -> faust.App:
    """Build the Faust app: two agents, no tables, no web server, offsets from the shell."""
    app = faust.App(
        settings.group_id,
        **settings.faust_broker_options(),
        store="memory://",
        datadir=data_dir,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        processing_guarantee="at_least_once",
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=settings.commit_interval_s,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_s,
        broker_request_timeout=30.0,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        stream_buffer_maxsize=_BATCHES_BUFFERED,
        stream_publish_on_commit=False,
    )
    app.monitor = PrometheusMonitor(metrics=FaustMetrics.create(shell.metrics.registry, "faust"))
    wait_ms = _EMBEDDED_FETCH_WAIT_MS if settings.embedded else _FETCH_WAIT_MS
    reader = InputReader(settings.librdkafka_options(), group=settings.group_id, wait_ms=wait_ms)
    transport: Any = batch_transport(shell, reader)
    app.transport = transport(app.conf.broker_consumer, app)

    async def judge(stream: Any) -> None:
        async for event in stream.events():
            try:
                await shell.take(event.message)
            except Exception as error:
                # Faust would go on behind this batch; what was judged must start again instead.
                logger().error("judging_failed", exc_info=error)
                if shell.failed is not None:
                    shell.failed(error)
                await asyncio.Event().wait()
            shell.consumer.done(event.message)

    for topic in (shell.declared.telemetry, shell.declared.evaluations):
        channel = app.topic(topic.name, schema=BatchSchema())
        app.agent(channel, name=f"judge-{topic.name}", concurrency=1)(judge)

    async def handed_over(*_: Any, **__: Any) -> None:
        await shell.revoked()
        garbage.thoroughly()

    async def joined(*said: Any, **__: Any) -> None:
        _, assigned = said
        shell.joined(assigned)

    app.on_partitions_revoked.connect(handed_over)
    app.on_partitions_assigned.connect(joined)
    return app


class Service:
    """One process's service, from its start to its end."""

    def __init__(self, settings: Settings, contract: Contract, reread: Callable[[], Contract]) -> None:
        """Nothing is contacted before `run`; `reread`: the contract as it is now, for `reload`."""
        self.settings = settings
        self.contract = contract
        self._reread = reread
        self._reloading: asyncio.Task[None] | None = None
        self._refused = False  # the contract that was read last
        self._read_at = time.time()
        self.shell: Shell | None = None
        self.restarts = 0
        self.stopped = asyncio.Event()
        self._http = HttpServer(ready=self._readiness, metrics=self._metrics, reload=self.reload)
        self._log = logger(part="service")

    async def run(self) -> None:
        """Work until `stopped` is set; a broker that is away is waited for.

        Raises:
            ServiceFailedError: a topic contradicts its declaration, the broker refuses us, or the address of
                health and metrics is none of this machine's.
        """
        tolerate_header_names()
        host, port = self.settings.http_host, self.settings.http_port
        try:
            await self._http.start(host, port)
        except OSError as error:
            raise ServiceFailedError(
                f"http_host, http_port: cannot listen on {host}:{port}: {error}"
            ) from None
        attempt = 0
        try:
            while not self.stopped.is_set():
                try:
                    cluster = await self._until_stopped(self._cluster())
                except ServiceFailedError as error:
                    if self.shell is None:
                        raise
                    # It has worked: whoever is changing topics or rights has perhaps not finished.
                    self._log.error("cannot_go_on", reason=str(error), retry_in_s=_BACK_OFF_S[-1])
                    await self._until_stopped(asyncio.sleep(_BACK_OFF_S[-1]))
                    continue
                if cluster is None:
                    return
                began = time.monotonic()
                try:
                    await self._serve(cluster)
                except Exception as error:
                    if time.monotonic() - began > _WELL_AFTER_S:
                        attempt = 0
                    wait_s = _BACK_OFF_S[min(attempt, len(_BACK_OFF_S) - 1)]
                    attempt += 1
                    self.restarts += 1
                    self._log.error(
                        "service_failed", restarts=self.restarts, retry_in_s=wait_s, exc_info=error
                    )
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self.stopped.wait(), wait_s)
        finally:
            await self._http.stop()

    def reload(self) -> list[str]:
        """Read the contract again and judge by it; what is wrong with it, if so: the old one stays then.

        Asked for while one is taken over, it is done behind that.
        """
        wrong: list[str] = []
        try:
            contract = self._reread()
            self.settings.check_lease(contract.defaults.lease_s)
        except ContractError as error:
            wrong = [f"{at.file}:{at.line}:{at.column} {at.rule} {at.message}" for at in error.findings]
        except (OSError, SettingsError) as error:
            wrong = [str(error)]
        self._refused = bool(wrong)
        if wrong:
            self._log.error("reload_refused", reasons=wrong)
            return wrong
        self.contract = contract
        self._read_at = time.time()
        if (shell := self.shell) is not None and not shell.stopping:
            work = self._reload_behind(self._reloading, shell, contract)
            self._reloading = shell.spawn(work, "reload")
        return []

    async def _reload_behind(
        self, before: "asyncio.Task[None] | None", shell: Shell, contract: Contract
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        if contract is self.contract:  # else another one waits behind it
            await shell.reload(contract)

    async def _cluster(self) -> Cluster:
        """Reach the broker and see to the topics, however long it takes."""
        attempt, reach = 0, Reach(self.settings)
        while True:
            try:
                return await self._topics()
            except TopicMismatchError as error:
                raise ServiceFailedError(str(error)) from None
            except (KafkaError, OSError) as error:
                if topics_admin.is_fatal(error):
                    raise ServiceFailedError(f"the broker refuses: {error!r}") from None
                wait_s = _BACK_OFF_S[min(attempt, len(_BACK_OFF_S) - 1)]
                attempt += 1
                advice = topics_admin.advice(error) or await reach.news(error)
                self._log.warning(
                    "broker_unreachable",
                    bootstrap=self.settings.bootstrap,
                    error=repr(error),
                    retry_in_s=wait_s,
                    **({"advice": advice} if advice else {}),
                )
                await asyncio.sleep(wait_s)

    async def _topics(self) -> Cluster:
        """See to the topics once."""
        options, declared = self.settings.client_options(), topics(self.settings.topic_prefix)
        if self.settings.embedded:
            # It can neither make topics nor tell their settings; whoever started it has made them.
            count = await topics_admin.partition_count(options, declared.telemetry.name)
            return Cluster(count or self.settings.data_partitions, 1024 * 1024 - 512)
        if (reason := await topics_admin.refusal(options)) is not None:
            raise ServiceFailedError(reason)
        return await topics_admin.prepare(options, declared, data_partitions=self.settings.data_partitions)

    async def _serve(self, cluster: Cluster) -> None:
        """One life of shell and app; raises what ended it, returns when stopped."""
        owner_id = f"{socket.gethostname()[:100]}-{os.getpid()}-{secrets.token_hex(4)}"
        shell = self.shell = Shell(self.settings, self.contract, cluster, owner_id=owner_id)
        shell.metrics.restarts.inc(self.restarts)  # of the process, while all else begins at nothing
        failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def fail(error: BaseException) -> None:
            if not failure.done():
                failure.set_exception(error)

        shell.failed = fail
        with tempfile.TemporaryDirectory(prefix="detector-") as data_dir:
            app = make_app(self.settings, shell, data_dir)
            shell.attach(app.consumer)
            shell.start()
            starting = asyncio.create_task(app.start(), name="faust")
            starting.add_done_callback(
                lambda task: fail(error) if not task.cancelled() and (error := task.exception()) else None
            )
            crashed = asyncio.create_task(self._crash_of(app), name="faust-watch")
            complaining = asyncio.create_task(self._complain(shell), name="complain")
            stopping = asyncio.create_task(self._until_told())
            garbage.begin()
            try:
                await asyncio.wait([failure, crashed, stopping], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (stopping, crashed, complaining):
                    task.cancel()
                try:
                    if self.stopped.is_set():
                        await shell.revoked()
                finally:
                    # Threads of the app left running would hold the process until it is cut short.
                    await self._leave(app, starting)
                    await shell.stop()
            if failure.done():
                failure.result()
            if not self.stopped.is_set():
                raise RuntimeError("the Faust app ended by itself") from app._crash_reason

    async def _complain(self, shell: Shell) -> None:
        complaints = Complaints(HINTS)
        while True:
            await asyncio.sleep(_LOOK_S)
            await look_for_topics(shell)
            complaints.look(readiness(shell)["missing"], time.monotonic())

    async def _until_told(self) -> None:
        await self.stopped.wait()

    async def _crash_of(self, app: faust.App) -> None:
        await app._crashed.wait()

    async def _leave(self, app: faust.App, starting: "asyncio.Task[Any]") -> None:
        """Leave the group, so that others take over at once; a broker that is away is not waited for."""
        leaving = asyncio.create_task(app.stop())
        await asyncio.wait([leaving], timeout=_LEAVE_S)
        for task in (leaving, starting):
            if not task.done():
                task.cancel()

    async def _until_stopped(self, work: Any) -> Any:
        """The result of `work`, or None when the service is stopped before there is one."""
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self.stopped.wait())
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not task.done():
            task.cancel()
            return None
        return task.result()

    def _readiness(self) -> dict[str, Any]:
        if self.shell is None:
            return {"ready": False, "missing": ["broker"], "partitions": {}}
        return readiness(self.shell)

    def _metrics(self) -> bytes:
        if self.shell is None:
            return b""
        self.shell.metrics.reload_ok.set(not self._refused)
        self.shell.metrics.reloaded.set(self._read_at)
        return render_metrics(self.shell)


def serve(settings: Settings, contract: Contract, reread: Callable[[], Contract]) -> int:
    """Run until SIGTERM or SIGINT, which end it within five seconds whatever state it is in.

    SIGHUP and `POST /-/reload` have it read its contract again.

    Returns:
        0 after a signal, 1 if it cannot go on or could not hand over in time.
    """
    # Other threads, who tell of a first record or of the group, wait this long for the interpreter while the
    # loop judges. Its turns of a millisecond have to be longer: whoever lets go of it in between and takes it
    # again starts the other's wait anew. With turns of 0.3 ms records were found 15 ms late.
    sys.setswitchinterval(_SWITCH_S)
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    return asyncio.run(_serve_until_signal(settings, contract, reread))


async def _serve_until_signal(settings: Settings, contract: Contract, reread: Callable[[], Contract]) -> int:
    service = Service(settings, contract, reread)
    log = logger(part="service")
    stop_on_signals(service.stopped, log)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.reload)
    try:
        await service.run()
    except ServiceFailedError as error:
        log.error("cannot_start", reason=str(error))
        return 1
    log.info("stopped")
    return 0
