"""Makes the calls of a gateway in Python: to the primary or a fallback, in the contract's time, and reported.

    shim = Shim(client, contract, primary=ask, fallbacks={"rule": say_sorry}, report=sender.report)
    served = await shim.call(Call(route="chat", request=body, input_class="high_risk"))

A probe has `primary_p99_ms`, as a caller must not pay for it; then a fallback answers, and the probe goes on
alone for a while, so that its telemetry tells how long it really took. For whole answers: of a stream it
would time the beginning alone. Needs the extra `gateway`, for the contract.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

from detector.contract import Contract
from detector.gateway.attempt import Attempt, End, first_answer
from detector.gateway.client import GatewayClient
from detector.gateway.decision import Decision
from topics.telemetry import PRIMARY, TelemetryRecord

logger = logging.getLogger("detector.gateway")

T = TypeVar("T")
TIMEOUT = "timeout"  # `error` of a call that was ended for want of time
_TOLD = ("route", "input_class", "tenant", "template", "request_id")
_CLOSE_S = 2.0
_ROUTES_KEPT = 10_000


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
        patience: how many times `primary_p99_ms` a call that was given up on may take in all. Then it is
            ended and reported as a timeout, for a primary that hangs is to be known soon.
        most_abandoned: how many may go on so; the next ones are ended and not reported.

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
        patience: float = 3.0,
        most_abandoned: int = 1000,
    ) -> None:
        if unknown := fallbacks.keys() - contract.fallbacks.keys():
            names = ", ".join(contract.fallbacks)
            raise ValueError(
                f"fallbacks: expected the contract's ({names}), got {', '.join(sorted(unknown))}"
            )
        self._client, self._contract = client, contract
        self._primary, self._fallbacks = primary, fallbacks
        self._report, self._describe, self._kind = report, describe, error_of
        self._give_up, self._patience, self._most_abandoned = give_up, patience, most_abandoned
        self._abandoned: set[Attempt[T]] = set()
        self._turns: Counter[str] = Counter()
        self._closing = self._complained = False

    async def call(self, call: Call) -> Served[T]:
        """Have a call answered.

        Raises:
            Exception: what the primary raised, where nobody else can answer or it is the caller's own fault;
                of a call that was not to go there, what the last fallback raised, or TimeoutError.
        """
        decision = self._client.decide(call.route, call.input_class)
        if call.deployments and not decision.probe and {*call.deployments} <= {*decision.avoid}:
            # There is no sibling to go to: the deployment's own scope says what else can be done.
            decision = self._client.decide(call.route, call.input_class, call.deployments[0])
        chain = [name for name in decision.fallbacks if name in self._fallbacks]
        deadline = time.monotonic() + self._contract.route_rule(call.route).slo.p99_ms / 1000
        if not decision.use_primary and chain:
            return await self._fall_back(call, decision, chain, None, deadline)
        return await self._at_the_primary(call, decision, chain, deadline)

    async def close(self) -> None:
        """End the calls that were given up on and still go on; within two seconds, whatever they do."""
        self._closing = True
        left = [attempt.task for attempt in self._abandoned]
        for attempt in list(self._abandoned):
            attempt.end(End.OURS)
        if left:
            await asyncio.wait(left, timeout=_CLOSE_S)

    async def _at_the_primary(
        self, call: Call, decision: Decision, chain: list[str], deadline: float
    ) -> Served[T]:
        usual_s = self._contract.route_rule(call.route).slo.primary_p99_ms / 1000
        deployment, well = self._place(call, decision)
        probe = decision.state == "active" or not well
        siblings = (
            probe and decision.state != "active" and {*call.deployments} - {*decision.avoid, deployment}
        )
        spare = bool(siblings or chain or self._at_will(call))
        ask = partial(self._primary, call, deployment)
        asked = self._begin(call, ask, usual_s, PRIMARY, deployment, probe)
        hurried = spare and (probe or self._give_up)
        try:
            await asyncio.wait({asked.task}, timeout=usual_s if hurried else None)
        except asyncio.CancelledError:
            asked.end(End.CALLER)
            raise
        if asked.task.done() and not self._can_be_mended(asked):
            return Served(asked.task.result(), PRIMARY, decision)
        try:
            if siblings:  # of the deployment that was tried: they are better than a fallback
                avoid = (*decision.avoid, deployment)
                usual = replace(decision, probe=False, probe_deployment="", avoid=avoid)
                return await self._at_the_primary(call, usual, chain, deadline)
            return await self._fall_back(call, decision, chain or self._at_will(call), asked, deadline)
        finally:
            self._leave(asked, self._patience * usual_s)

    async def _fall_back(
        self, call: Call, decision: Decision, chain: list[str], asked: Attempt[T] | None, deadline: float
    ) -> Served[T]:
        last: BaseException | None = None
        p99s = [self._contract.fallbacks[name].p99_ms / 1000 for name in chain]
        for number, name in enumerate(chain):
            # Late as it may be: each has the time that the contract gives it, and leaves theirs to the rest.
            until = max(deadline - sum(p99s[number + 1 :]), time.monotonic() + p99s[number])
            attempt = self._begin(call, partial(self._fallbacks[name], call), 0.0, name)
            try:
                await first_answer(attempt, asked, until)
            except asyncio.CancelledError:
                attempt.end(End.OURS)  # a caller who leaves tells nothing of a fallback
                raise
            if attempt.answered:
                return Served(attempt.task.result(), name, decision)
            if asked is not None and asked.answered:
                attempt.end(End.OURS)
                return Served(asked.task.result(), PRIMARY, decision)
            last = attempt.error or TimeoutError(f"{name} did not answer in time")
            attempt.end(End.TIME)
        if asked is not None:  # its answer, late or not; its failure says more than a fallback's
            await asyncio.wait({asked.task})
            return Served(asked.task.result(), PRIMARY, decision)
        assert last is not None  # who goes straight to the fallbacks has one
        raise last

    def _begin(
        self,
        call: Call,
        ask: Callable[[], Awaitable[T]],
        usual_s: float,
        served_by: str,
        deployment: str = "",
        probe: bool = False,
    ) -> Attempt[T]:
        about = {"served_by": served_by, "deployment": deployment, "probe": probe}

        def told(attempt: Attempt[T], error: Exception | None, ended: End | None) -> None:
            if ended is None and error is None:
                self._tell(call, attempt, about, attempt.answer)
            elif ended is None and error is not None:
                said = self._error_of(error)
                if said or served_by != PRIMARY:
                    self._tell(call, attempt, about | {"error": said or kind_of(error)})
            # A caller who left before the primary's usual time tells nothing of it.
            elif ended is End.TIME or (ended is End.CALLER and attempt.took_s >= usual_s):
                self._tell(call, attempt, about | {"error": TIMEOUT})

        return Attempt(ask, told)

    def _can_be_mended(self, asked: Attempt[T]) -> bool:
        return isinstance(asked.error, Exception) and bool(self._error_of(asked.error))

    def _error_of(self, error: Exception) -> str:
        try:
            return self._kind(error)
        except Exception as wrong:
            self._complain("error_of failed", wrong)
            return kind_of(error)

    def _at_will(self, call: Call) -> list[str]:
        """Who answers a call that fails, or takes too long, where the detector names nobody."""
        by_class = self._contract.fallbacks_at_will(call.route)
        names = by_class.get(call.input_class, by_class.get("*", []))
        return [name for name in names if name in self._fallbacks]

    def _place(self, call: Call, decision: Decision) -> tuple[str, bool]:
        """A deployment, and whether it is one that is well; these take turns."""
        if decision.probe_deployment in call.deployments:
            return decision.probe_deployment, False
        off = {*decision.avoid, decision.probe_deployment}
        well = [name for name in call.deployments if name not in off] or list(call.deployments)
        if not well:
            return "", True
        if len(self._turns) >= _ROUTES_KEPT:
            self._turns.clear()
        self._turns[call.route] += 1
        chosen = well[self._turns[call.route] % len(well)]
        return chosen, chosen not in off

    def _leave(self, asked: Attempt[T], most_s: float) -> None:
        """Let a call to the primary that nobody waits for go on until it has taken so long."""
        if asked.task.done():
            return
        if self._closing or len(self._abandoned) >= self._most_abandoned:
            asked.end(End.OURS)
            return
        self._abandoned.add(asked)
        left_s = max(0.0, most_s - asked.took_s)
        timer = asyncio.get_running_loop().call_later(left_s, asked.end, End.TIME)

        def ended(_: asyncio.Task[T]) -> None:
            timer.cancel()
            self._abandoned.discard(asked)

        asked.task.add_done_callback(ended)

    def _tell(
        self, call: Call, attempt: Attempt[T], about: Mapping[str, Any], answer: T | None = None
    ) -> None:
        told = {name: getattr(call, name) for name in _TOLD}
        told |= {"event_time": time.time(), "latency_s": attempt.took_s, **about}
        try:
            more = self._describe(answer) if answer is not None else {}
            record = TelemetryRecord(**told | {k: v for k, v in more.items() if v is not None})
        except Exception as wrong:
            self._complain("an answer is reported without what `describe` says of it", wrong)
            record = TelemetryRecord(**told)
        try:
            self._report(record)
        except Exception as wrong:
            self._complain("a call is not reported", wrong)

    def _complain(self, what: str, error: Exception) -> None:
        """Say it once, with its traceback: it would be the same at every call."""
        if not self._complained:
            self._complained = True
            logger.error("%s; told once", what, exc_info=error)
