"""The client that a gateway embeds: follows the control topic and answers every call from memory.

    async with GatewayClient("kafka:9092", "gateway-7") as client:
        decision = client.decide("chat", input_class="high_risk")

One task reads, one acknowledges; neither is ever waited for by `decide`. While brokers are away the view
stands until its leases lapse, and then calls go to the primary.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from detector.gateway.decision import Decider, Decision
from detector.gateway.fold import Change
from detector.gateway.transport import KafkaTransport, RestartedError, Transport, TransportError
from detector.gateway.view import ControlView
from topics.codec import encode
from topics.control import Ack, ControlRecord
from topics.types import LONGEST_NAME, MOST_HOLD_S

logger = logging.getLogger("detector.gateway")
_DIGESTS_TOLD = 16

BEHIND_S = 30.0
_READ_S = 0.5
_LOOK_EVERY_S = 2.0
_BACKOFF_S = (0.1, 5.0)
_ACKS_KEPT = 10_000
_TURN = 500  # messages applied before other tasks get their turn

OnChange = Callable[[ControlRecord | None, ControlRecord | None], None]


@dataclass(slots=True)
class ClientCounts:
    """Totals since the start.

    Attributes:
        messages: read, those read again included.
        rereads: times that all was read again.
        acks_dropped: acknowledgements that found the queue full, or failed.
        digest_mismatches: records taken that another contract than `contract_digest` was behind.
    """

    messages: int = 0
    rereads: int = 0
    acks_dropped: int = 0
    digest_mismatches: int = 0


class GatewayClient:
    """Obeys the detector.

    Args:
        bootstrap: Kafka's `host:port`, comma-separated.
        gateway_id: names this gateway in acknowledgements, 1 to 200 characters that UTF-8 can write.
        topic_prefix: of the installation.
        client_options: passed to aiokafka's clients: security, time-outs, `fetch_max_wait_ms`.
        catch_up_timeout_s: how long `start` waits for the end of the topic; then calls go to the
            primary until it is reached.
        acks: whether to acknowledge changes of state.
        on_change: called with the record held before and the one held now (None: none). Not to block.
        known_fallbacks: the names that this gateway has; others in records are left out and counted.
        contract_digest: of the contract that this gateway was set up with; other digests are counted.
        hold_max_s: the most that scopes that say `hold` outlive their lease, whatever their records say.
        transport: replaces Kafka, for tests.

    Raises:
        ValueError: a `gateway_id` that no acknowledgement can carry.
        TypeError: an option that no client knows.
    """

    def __init__(
        self,
        bootstrap: str,
        gateway_id: str,
        *,
        topic_prefix: str = "",
        client_options: Mapping[str, Any] | None = None,
        catch_up_timeout_s: float = 5.0,
        acks: bool = True,
        on_change: OnChange | None = None,
        known_fallbacks: frozenset[str] | None = None,
        contract_digest: str | None = None,
        hold_max_s: float = MOST_HOLD_S,
        transport: Transport | None = None,
    ) -> None:
        _see_that_it_names(gateway_id)
        self.view = ControlView(hold_max_s=hold_max_s)
        self.counts = ClientCounts()
        self.connected = False
        self._gateway_id = gateway_id
        self._transport = transport or KafkaTransport(
            bootstrap, topic_prefix=topic_prefix, options=client_options
        )
        self._decider = Decider(self.view, gateway_id, known_fallbacks)
        self._catch_up_timeout_s = catch_up_timeout_s
        self._acks_wanted = acks
        self._on_change = on_change
        self._contract_digest = contract_digest
        self._strange_digests: set[str] = set()  # those told of
        self._caught_up = asyncio.Event()
        self._acks: deque[Ack] = deque()
        self._ack_waiting = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._position = 0
        self._target = 0
        self._behind_since: tuple[float, int] | None = None
        self._reached_at = time.monotonic()
        self._delay = _BACKOFF_S[0]

    @property
    def caught_up(self) -> bool:
        """Whether the end of the topic has been reached once: before, every call goes to the primary."""
        return self._caught_up.is_set()

    @property
    def unknown_fallbacks(self) -> int:
        """How often a record named a fallback that this gateway does not have."""
        return self._decider.counts.unknown_fallbacks

    async def start(self) -> None:
        """Begin to follow; returns when caught up, or after `catch_up_timeout_s` with the gate open.

        Raises:
            RuntimeError: it follows already; after `stop` it may be started again.
        """
        if self._tasks:
            raise RuntimeError("this client is started already")
        self._tasks = [asyncio.create_task(self._follow_for_ever(), name="detector-gateway-reader")]
        if self._acks_wanted:
            self._tasks.append(asyncio.create_task(self._acknowledge(), name="detector-gateway-acks"))
        try:
            await asyncio.wait_for(self._caught_up.wait(), self._catch_up_timeout_s)
        except TimeoutError:
            logger.warning("control topic not caught up with after %.1f s: primary", self._catch_up_timeout_s)
        except BaseException:
            await self.stop()  # whose start was cancelled has nothing to stop
            raise

    async def stop(self) -> None:
        """End both tasks and close the connections, within seconds whatever the brokers do."""
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            self._tasks = []
            self.connected = False
            await self._transport.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def decide(self, route: str, input_class: str = "default", deployment: str = "") -> Decision:
        """Say what one call is to do, from memory. Every call counts towards the share of probes."""
        return self._decider.decide(route, input_class, deployment, time.monotonic())

    async def _follow_for_ever(self) -> None:
        while True:
            try:
                await self._transport.connect()
                self.connected = True
                await self._begin_again("connected")
                await self._follow()
            except TransportError as error:
                logger.warning("control topic out of reach, again in %.1f s: %r", self._delay, error)
            except Exception:
                # A gateway must not lose its reader to a fault of ours: connect and read all again.
                logger.exception("reading the control topic failed, again in %.1f s", self._delay)
            self.connected = False
            try:
                await self._transport.disconnect()
            except Exception:
                logger.exception("the connection was not closed as it should be")
            await self._back_off()

    async def _back_off(self) -> None:
        delay, self._delay = self._delay, min(2 * self._delay, _BACKOFF_S[1])
        await asyncio.sleep(delay)

    async def _begin_again(self, why: str) -> None:
        """Read all from the beginning; the present view stands until the end asked for now is reached."""
        if self._caught_up.is_set():
            logger.info("reading the control topic again: %s", why)
            self.counts.rereads += 1
        self.view.begin_reread()
        await self._transport.rewind()
        self._position, self._behind_since = 0, None
        self._target = await self._transport.end()
        self._reached_at = time.monotonic()

    async def _follow(self) -> None:
        looked_at = time.monotonic()
        while True:
            if self.view.rereading and self._position >= self._target:
                self._reach_end()
            try:
                fetched = await self._transport.read(_READ_S)
            except RestartedError:
                await self._back_off()
                await self._begin_again("made anew")
                continue
            if not self.view.rereading:
                # Not sooner: who may connect and not read, or meets a corrupt record, would never wait.
                self._delay = _BACKOFF_S[0]
            now = time.monotonic()
            # Before anything is applied: a process that slept reads on as if nothing had happened.
            if now - self._reached_at > BEHIND_S:
                await self._begin_again("cut off")
                await asyncio.sleep(0)
                continue
            for start in range(0, len(fetched.messages), _TURN):
                self._apply(fetched.messages[start : start + _TURN])
                await asyncio.sleep(0)
            self._position = fetched.position
            if fetched.messages:
                self._reached_at = time.monotonic()
            if now - looked_at >= _LOOK_EVERY_S:
                looked_at = now
                await self._look()

    async def _look(self) -> None:
        """Compare the position with the end of the topic."""
        try:
            end = await self._transport.end()
        except TransportError as error:
            if self.connected:
                logger.warning("broker out of reach, the view stands until its leases lapse: %r", error)
            self.connected = False
            return
        now = time.monotonic()
        if not self.connected:
            logger.info("broker reached again")
        self.connected = True
        self._reached_at, cut_off = now, now - self._reached_at > BEHIND_S
        if end < self._position:
            await self._begin_again("made anew")
        elif cut_off:
            await self._begin_again("cut off")
        elif self._behind_since is None or self._position >= self._behind_since[1]:
            self._behind_since = (now, end) if self._position < end else None
        elif now - self._behind_since[0] > BEHIND_S:
            await self._begin_again("behind")

    def _apply(self, messages: Any) -> None:
        rereading = self.view.rereading
        now, wall = time.monotonic(), time.time()
        apply = self.view.apply
        for message in messages:
            age = wall - message.timestamp / 1000 if rereading else 0.0
            change = apply(
                message.key, message.value, message.headers, now=now, age_s=age, offset=message.offset
            )
            if change is not None:
                self._changed(change, wall)
        self.counts.messages += len(messages)

    def _reach_end(self) -> None:
        wall = time.time()
        for change in self.view.finish_reread():
            self._changed(change, wall)
        self._decider.heard = True
        self._caught_up.set()

    def _changed(self, change: Change, received_at: float) -> None:
        before, after = change
        if after is not None and self._contract_digest and after.contract not in ("", self._contract_digest):
            self.counts.digest_mismatches += 1
            if after.contract not in self._strange_digests and len(self._strange_digests) < _DIGESTS_TOLD:
                self._strange_digests.add(after.contract)
                logger.warning(
                    "the detector's contract is %s, this gateway's is %s: budgets may differ, read it anew",
                    after.contract,
                    self._contract_digest,
                )
        if self._on_change is not None:
            try:
                self._on_change(before, after)
            except Exception:
                logger.exception("on_change failed")
        was = before.state if before is not None else "inactive"
        if self._acks_wanted and after is not None and after.state != was:
            self._queue_ack(after, received_at)

    def _queue_ack(self, record: ControlRecord, received_at: float) -> None:
        if len(self._acks) >= _ACKS_KEPT:
            self._acks.popleft()
            self.counts.acks_dropped += 1
        self._acks.append(
            Ack(
                gateway=self._gateway_id,
                scope=record.scope,
                epoch=record.epoch,
                revision=record.revision,
                event_id=record.event_id,
                received_at=received_at,
                applied_at=time.time(),
            )
        )
        self._ack_waiting.set()

    async def _acknowledge(self) -> None:
        key = self._gateway_id.encode()
        while True:
            await self._ack_waiting.wait()
            self._ack_waiting.clear()
            while self._acks:
                ack = self._acks.popleft()
                try:
                    await self._transport.acknowledge(key, encode(ack))
                except Exception as error:
                    # Nor may a fault of ours end acknowledging; only that one is worth its traceback.
                    ours = not isinstance(error, TransportError)
                    self.counts.acks_dropped += 1
                    logger.warning("change of %s not acknowledged: %r", ack.scope, error, exc_info=ours)
                    await asyncio.sleep(_BACKOFF_S[0])


def _see_that_it_names(gateway_id: str) -> None:
    try:
        gateway_id.encode()
    except UnicodeEncodeError:
        written = False
    else:
        written = 1 <= len(gateway_id) <= LONGEST_NAME
    if not written:
        raise ValueError(
            f"gateway_id: expected 1 to {LONGEST_NAME} characters of UTF-8 text, got {gateway_id!r}"
        )
