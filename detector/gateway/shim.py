"""Makes the calls of a gateway in Python: to the primary or a fallback, in the contract's time, and reported.

    shim = Shim(client, contract, primary=ask, fallbacks={"rule": say_sorry}, report=sender.report)
    served = await shim.call(Call(route="chat", request=body, input_class="high_risk"))

A probe has `primary_p99_ms`, as a caller must not pay for it; then a fallback answers, and the probe goes on
alone, so that its telemetry tells how long it really took. Needs the extra `gateway`, for the contract.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from detector.contract import Contract
from detector.gateway.client import GatewayClient
from detector.gateway.decision import Decision
from topics.telemetry import PRIMARY, TelemetryRecord

logger = logging.getLogger("detector.gateway")

T = TypeVar("T")
TIMEOUT = "timeout"  # `error` of a call that was ended for want of time
_TOLD = ("route", "input_class", "tenant", "template", "request_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a gateway's.

    Attributes:
        route: what the caller asks for; `input_class`: the risk class of its input.
        request: handed on to whoever answers.
        deployments: of the primary, where the gateway chooses one.
        tenant, template, request_id: for its telemetry.
    """

    route: str
    request: Any = None
    input_class: str = "default"
    deployments: tuple[str, ...] = ()
    tenant: str = ""
    template: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Served(Generic[T]):
    """An answer, who gave it (`primary`, or a fallback's name), and what had been decided."""

    answer: T
    served_by: str
    decision: Decision


def kind_of(error: Exception) -> str:
    """The `error` of a call that raised: its class, or `timeout`."""
    return TIMEOUT if isinstance(error, TimeoutError) else type(error).__name__


class Shim(Generic[T]):
    """Calls the primary, or where the detector says so a fallback.

    Args:
        client: says where a call goes.
        contract: the detector's: budgets, and fallbacks for a call that fails while all is well.
        primary: asks the primary: a call and the deployment to use ("": the gateway has no choice).
        fallbacks: by the contract's names, what answers instead; names that it does not have are left out.
        report: takes telemetry, such as `TelemetrySender.report`.
        describe: further fields of the telemetry record of an answer, such as tokens; see TelemetryRecord.
        error_of: the `error` of an exception. "": the caller's own fault: raised, by no fallback mended,
            and not reported.
        give_up: whether a primary that takes longer than `primary_p99_ms` is given up on while all is well,
            too. Of a healthy one that is one call in a hundred.
        abandoned_s: how long a call that was given up on may go on, seconds; `most_abandoned`: how many may.

    Raises:
        ValueError: a fallback that the contract does not name.
    """

    def __init__(
        self,
        client: GatewayClient,
        contract: Contract,
        *,
        primary: Callable[[Call, str], Awaitable[T]],
        fallbacks: Mapping[str, Callable[[Call], Awaitable[T]]],
        report: Callable[[TelemetryRecord], None] = lambda record: None,
        describe: Callable[[T], Mapping[str, Any]] = lambda answer: {},
        error_of: Callable[[Exception], str] = kind_of,
        give_up: bool = False,
        abandoned_s: float = 30.0,
        most_abandoned: int = 100,
    ) -> None:
        if unknown := fallbacks.keys() - contract.fallbacks.keys():
            names = ", ".join(contract.fallbacks)
            raise ValueError(
                f"fallbacks: expected the contract's ({names}), got {', '.join(sorted(unknown))}"
            )
        self._client, self._contract = client, contract
        self._primary, self._fallbacks = primary, fallbacks
        self._report, self._describe, self._error_of = report, describe, error_of
        self._give_up, self._abandoned_s, self._most_abandoned = give_up, abandoned_s, most_abandoned
        self._abandoned: set[asyncio.Task[T]] = set()
        self._turns: Counter[str] = Counter()

    async def call(self, call: Call) -> Served[T]:
        """Have a call answered.

        Raises:
            Exception: what the primary raised, where nobody else can answer or it is the caller's own fault;
                of a call that was not to go there, what the last fallback raised.
        """
        decision = self._client.decide(call.route, call.input_class)
        slo = self._contract.route_rule(call.route).slo
        began = time.monotonic()
        chain = [name for name in decision.fallbacks if name in self._fallbacks]
        if not decision.use_primary and chain:
            return await self._fall_back(call, decision, chain, None, began + slo.p99_ms / 1000)
        probe = decision.probe or decision.state == "active"
        hurried = (probe or self._give_up) and bool(chain or self._at_will(call))
        asked = asyncio.create_task(self._ask(call, decision, probe, slo.primary_p99_ms / 1000))
        try:
            await asyncio.wait({asked}, timeout=slo.primary_p99_ms / 1000 if hurried else None)
        except asyncio.CancelledError:
            asked.cancel()  # the caller has gone
            raise
        if asked.done() and not self._may_be_mended(asked):
            return Served(asked.result(), PRIMARY, decision)
        try:
            chain = chain or self._at_will(call)
            return await self._fall_back(call, decision, chain, asked, began + slo.p99_ms / 1000)
        finally:
            self._abandon(asked)

    async def close(self) -> None:
        """End the calls that were given up on and still go on."""
        left = list(self._abandoned)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _fall_back(
        self, call: Call, decision: Decision, chain: list[str], asked: asyncio.Task[T] | None, deadline: float
    ) -> Served[T]:
        last: Exception | None = None
        for name in chain:
            # Late as it may be: each has the time that the contract gives it.
            left_s = max(deadline - time.monotonic(), self._contract.fallbacks[name].p99_ms / 1000)
            began = time.monotonic()
            try:
                async with asyncio.timeout(left_s):
                    answer = await self._fallbacks[name](call)
            except Exception as error:
                said = self._error_of(error) or kind_of(error)
                self._tell(call, began, {"served_by": name, "error": said})
                last = error
            else:
                self._tell(call, began, {"served_by": name}, answer)
                return Served(answer, name, decision)
        if asked is not None:  # its answer, late or not; its failure says more than a fallback's
            return Served(await asyncio.shield(asked), PRIMARY, decision)
        assert last is not None  # who goes straight to the fallbacks has one
        raise last

    async def _ask(self, call: Call, decision: Decision, probe: bool, usual_s: float) -> T:
        deployment = decision.probe_deployment or self._next(call, decision.avoid)
        about = {"served_by": PRIMARY, "deployment": deployment, "probe": probe}
        began = time.monotonic()
        try:
            answer = await self._primary(call, deployment)
        except asyncio.CancelledError:
            if time.monotonic() - began >= usual_s:  # a caller who left sooner tells nothing of the primary
                self._tell(call, began, about | {"error": TIMEOUT})
            raise
        except Exception as error:
            if said := self._error_of(error):
                self._tell(call, began, about | {"error": said})
            raise
        self._tell(call, began, about, answer)
        return answer

    def _may_be_mended(self, asked: asyncio.Task[T]) -> bool:
        error = None if asked.cancelled() else asked.exception()
        return isinstance(error, Exception) and bool(self._error_of(error))

    def _at_will(self, call: Call) -> list[str]:
        """Who answers a call that fails, or takes too long, where the detector names nobody."""
        by_class = self._contract.fallbacks_at_will(call.route)
        names = by_class.get(call.input_class, by_class.get("*", []))
        return [name for name in names if name in self._fallbacks]

    def _next(self, call: Call, avoid: tuple[str, ...]) -> str:
        """A deployment that is well, each in its turn; where none is, any."""
        well = [name for name in call.deployments if name not in avoid] or list(call.deployments)
        if not well:
            return ""
        self._turns[call.route] += 1
        return well[self._turns[call.route] % len(well)]

    def _abandon(self, asked: asyncio.Task[T]) -> None:
        """Let a call to the primary that nobody waits for go on for a while."""
        if asked.done():
            if not asked.cancelled():
                asked.exception()  # it has been looked at
            return
        if len(self._abandoned) >= self._most_abandoned:
            asked.cancel()
            return
        self._abandoned.add(asked)
        end = asyncio.get_running_loop().call_later(self._abandoned_s, asked.cancel)

        def ended(task: asyncio.Task[T]) -> None:
            self._abandoned.discard(task)
            end.cancel()
            if not task.cancelled():
                task.exception()

        asked.add_done_callback(ended)

    def _tell(self, call: Call, began: float, about: Mapping[str, Any], answer: T | None = None) -> None:
        try:
            told: dict[str, Any] = {name: getattr(call, name) for name in _TOLD}
            told |= {"event_time": time.time(), "latency_s": time.monotonic() - began, **about}
            if answer is not None:
                told |= self._describe(answer)
            self._report(TelemetryRecord(**told))
        except Exception:
            logger.exception("a call is not reported")
