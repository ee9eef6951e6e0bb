"""A gateway's calls: everybody is answered who can be, in time, and what is told of it is true."""

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.contract import example_text, load_contract
from detector.gateway import Decision, GatewayClient, shim
from detector.gateway.shim import TIMEOUT, Call, Shim
from topics.telemetry import PRIMARY, TelemetryRecord

NAMES = ("secondary", "cache", "rule")  # as the example's matrix has them for any mode
ACTIVE = Decision(state="active", fallbacks=NAMES, primary_share=0.05)
PROBE = Decision(state="active", fallbacks=NAMES, primary_share=0.05, probe=True)


def _contract(p99_ms: float = 60_000.0, primary_p99_ms: float = 30_000.0) -> Any:
    """The example, by default with more time than any test takes."""
    contract = load_contract(example_text())
    slo = replace(contract.routes[0].slo, p99_ms=p99_ms, primary_p99_ms=primary_p99_ms)
    quick = {name: replace(each, p99_ms=1.0) for name, each in contract.fallbacks.items()}
    return replace(contract, fallbacks=quick, routes=(replace(contract.routes[0], slo=slo),))


def _patient(name: str) -> Any:
    """A primary that is given up on at once, and a fallback that may take a minute."""
    patient = replace(HURRIED.fallbacks[name], p99_ms=60_000.0)
    return replace(HURRIED, fallbacks=HURRIED.fallbacks | {name: patient})


EASY = _contract()
HURRIED = _contract(2.0, 1.0)


class RefusedError(Exception):
    """The caller's own fault."""


class Bench:
    """A shim with everything around it in memory: `acts` says what each does, `told` what was reported."""

    def __init__(self, decision: Decision, contract: Any = EASY, **options: Any) -> None:
        self.acts: dict[str, Callable[[], Awaitable[str]]] = {}
        self.asked: list[str] = []
        self.told: list[TelemetryRecord] = []
        self.decision, self.of_deployment = decision, Decision()
        options = {
            "patience": 1e9,
            "fallbacks": {name: self._by(name) for name in NAMES},
            "describe": lambda answer: {"output_tokens": len(answer)},
            "error_of": lambda error: "" if isinstance(error, RefusedError) else type(error).__name__,
            "report": self.told.append,
        } | options
        self.shim: Shim[str] = Shim(
            cast(GatewayClient, self),
            contract,
            primary=lambda call, deployment: self._answer(f"primary {deployment}".strip()),
            **options,
        )

    def decide(self, route: str, input_class: str, deployment: str = "") -> Decision:
        return self.of_deployment if deployment else self.decision

    def _by(self, name: str) -> Callable[[Call], Awaitable[str]]:
        return lambda call: self._answer(name)

    async def _answer(self, who: str) -> str:
        self.asked.append(who)
        act = self.acts.get(who)
        return who if act is None else await act()

    async def call(self, **fields: Any) -> tuple[str, str]:
        served = await self.shim.call(Call(route="chat", **fields))
        return served.answer, served.served_by

    def timeouts(self) -> int:
        return Counter(self.seen())[(PRIMARY, True, TIMEOUT)]

    def seen(self) -> list[tuple[str, bool, str]]:
        return [(each.served_by, each.probe, each.error) for each in self.told]


async def _fails() -> str:
    raise OSError("down")


async def _refuses() -> str:
    raise RefusedError


async def _hangs() -> str:
    await asyncio.Event().wait()
    return "never"


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - there is no event for what a test waits for
            await asyncio.sleep(0.005)


async def test_while_all_is_well_the_primary_answers() -> None:
    bench = Bench(Decision())

    answer = await bench.call(tenant="t", template="p", request_id="r", input_class="high_risk")

    assert answer == ("primary", "primary")
    (told,) = bench.told
    assert (told.route, told.tenant, told.template, told.request_id) == ("chat", "t", "p", "r")
    assert (told.input_class, told.output_tokens, told.error, told.probe) == ("high_risk", 7, "", False)
    assert told.latency_s is not None


async def test_an_active_scope_goes_to_its_best_fallback_and_leaves_the_primary_alone() -> None:
    bench = Bench(ACTIVE)

    assert await bench.call() == ("secondary", "secondary")
    assert bench.asked == ["secondary"]
    assert bench.seen() == [("secondary", False, "")]


async def test_names_that_this_gateway_has_not_are_left_out() -> None:
    bench = Bench(Decision(state="active", fallbacks=("new", "rule")))

    assert await bench.call() == ("rule", "rule")


async def test_where_it_has_none_of_them_the_primary_is_probed() -> None:
    """An impaired answer is better than none."""
    bench = Bench(Decision(state="active", fallbacks=("new",)))

    assert await bench.call() == ("primary", "primary")
    assert bench.seen() == [("primary", True, "")]


@pytest.mark.parametrize("act", [_fails, _hangs])
async def test_where_one_fallback_fails_or_takes_too_long_the_next_one_answers(
    act: Callable[[], Awaitable[str]],
) -> None:
    bench = Bench(ACTIVE, HURRIED)
    bench.acts["secondary"] = act

    assert await bench.call() == ("cache", "cache")
    assert [name for name, _, error in bench.seen() if error] == ["secondary"]


async def test_a_fallback_may_take_what_is_left_of_the_calls_time() -> None:
    """Its own p99 is only the least that it has."""
    bench = Bench(ACTIVE)

    async def takes_longer() -> str:
        await asyncio.sleep(0.02)
        return "well"

    bench.acts["secondary"] = takes_longer

    assert await bench.call() == ("well", "secondary")


async def test_a_probe_that_fails_costs_no_answer() -> None:
    bench = Bench(PROBE)
    bench.acts["primary"] = _fails

    assert await bench.call() == ("secondary", "secondary")
    assert bench.seen() == [("primary", True, "OSError"), ("secondary", False, "")]


async def test_a_slow_probe_is_given_up_on_and_tells_how_long_it_took() -> None:
    """The caller has its answer while the probe goes on."""
    bench, slow = Bench(PROBE, HURRIED), asyncio.Event()

    async def late() -> str:
        await slow.wait()
        return "late"

    bench.acts["primary"] = late
    assert await bench.call() == ("secondary", "secondary")
    assert bench.seen() == [("secondary", False, "")]
    slow.set()
    await _until(lambda: len(bench.told) == 2)

    assert bench.seen()[1] == ("primary", True, "")
    assert (bench.told[1].latency_s or 0) >= 0.001


async def test_a_slow_call_is_waited_for_while_all_is_well_unless_told_otherwise() -> None:
    """Of a healthy primary one in a hundred is slow."""
    for give_up, wanted in ((False, "late"), (True, "secondary")):
        bench, slow = Bench(Decision(), HURRIED, give_up=give_up), asyncio.Event()

        async def late(slow: asyncio.Event = slow) -> str:
            await slow.wait()
            return "late"

        bench.acts["primary"] = late
        asyncio.get_running_loop().call_later(0.05, slow.set)
        assert (await bench.call())[0] == wanted
        await bench.shim.close()


async def test_a_call_that_fails_while_all_is_well_is_answered_by_the_contracts_fallbacks() -> None:
    bench = Bench(Decision())
    bench.acts["primary"] = _fails

    assert await bench.call() == ("secondary", "secondary")
    assert bench.seen() == [("primary", False, "OSError"), ("secondary", False, "")]


@pytest.mark.parametrize("decision", [Decision(), PROBE])
async def test_the_callers_own_fault_is_raised_and_not_reported(decision: Decision) -> None:
    bench = Bench(decision)
    bench.acts["primary"] = _refuses

    with pytest.raises(RefusedError):
        await bench.call()
    assert (bench.asked, bench.told) == (["primary"], [])


async def test_where_nobody_can_answer_the_primarys_failure_is_raised() -> None:
    bench = Bench(PROBE)
    bench.acts = dict.fromkeys(NAMES, _refuses) | {"primary": _fails}

    with pytest.raises(OSError, match="down"):
        await bench.call()
    assert [name for name, _, _ in bench.seen()] == ["primary", *NAMES]


async def test_a_late_answer_is_better_than_none() -> None:
    """The probe was given up on, and then no fallback could answer."""
    bench, slow = Bench(PROBE, HURRIED), asyncio.Event()

    async def late() -> str:
        await slow.wait()
        return "late"

    async def fails_and_frees() -> str:
        asyncio.get_running_loop().call_later(0.02, slow.set)
        raise OSError

    bench.acts = dict.fromkeys(NAMES, _fails) | {"primary": late, "rule": fails_and_frees}

    assert await bench.call() == ("late", "primary")


async def test_deployments_that_are_well_take_turns_and_a_probe_has_its_own() -> None:
    bench = Bench(Decision(avoid=("b",)))
    for _ in range(4):
        await bench.call(deployments=("a", "b", "c"))
    bench.decision = Decision(probe=True, probe_deployment="b")
    await bench.call(deployments=("a", "b", "c"))

    assert Counter(bench.asked[:4]) == {"primary a": 2, "primary c": 2}
    assert bench.asked[4] == "primary b"
    assert [(each.deployment, each.probe) for each in bench.told][4] == ("b", True)


@pytest.mark.parametrize("deployments", [(), ("c",)])
async def test_a_probe_that_this_call_cannot_make_is_none(deployments: tuple[str, ...]) -> None:
    """The deployment is another gateway's, or another tenant's."""
    bench = Bench(Decision(avoid=("a",), probe=True, probe_deployment="b"))

    await bench.call(deployments=deployments)

    assert bench.asked == [" ".join(["primary", *deployments])]
    assert bench.seen() == [("primary", False, "")]


@pytest.mark.parametrize("act", [_fails, _hangs])
async def test_a_probe_of_a_deployment_that_fails_is_answered_by_a_sibling(
    act: Callable[[], Awaitable[str]],
) -> None:
    """Which is better than a fallback."""
    bench = Bench(Decision(avoid=("a",), probe=True, probe_deployment="b"), HURRIED)
    bench.acts["primary b"] = act

    assert await bench.call(deployments=("a", "b", "c")) == ("primary c", "primary")
    assert bench.asked == ["primary b", "primary c"]
    assert ("primary", False, "") in bench.seen()
    await bench.shim.close()


async def test_where_all_deployments_are_to_be_kept_off_their_own_scope_says_what_to_do() -> None:
    bench = Bench(Decision(avoid=("a", "b")))
    bench.of_deployment = Decision(state="active", fallbacks=("rule",))
    assert await bench.call(deployments=("a",)) == ("rule", "rule")

    bench.of_deployment = Decision(avoid=("a", "b"))
    assert (await bench.call(deployments=("a",)))[1] == "primary"
    assert bench.seen() == [("rule", False, ""), ("primary", True, "")]


async def test_calls_that_nobody_waits_for_are_few() -> None:
    """One too many is ended at once, and tells nothing of a primary that may be well."""
    bench = Bench(PROBE, HURRIED, most_abandoned=2)
    bench.acts["primary"] = _hangs
    before = asyncio.all_tasks()
    for _ in range(4):
        await bench.call()
    await _until(lambda: len(asyncio.all_tasks() - before) == 2)

    await bench.shim.close()
    assert asyncio.all_tasks() == before
    assert bench.timeouts() == 0


async def test_calls_that_nobody_waits_for_end() -> None:
    """A primary that hangs is known to after a few times what it usually takes."""
    bench = Bench(PROBE, HURRIED, patience=3.0)
    bench.acts["primary"] = _hangs
    await bench.call()
    await _until(lambda: len(bench.told) == 2)

    assert bench.seen()[1] == ("primary", True, TIMEOUT)


async def test_closing_does_not_wait_for_who_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shim, "_CLOSE_S", 0.01)
    bench, free = Bench(PROBE, HURRIED), asyncio.Event()

    async def goes_on() -> str:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    bench.acts["primary"] = goes_on
    await bench.call()
    async with asyncio.timeout(10):
        await bench.shim.close()

    assert len(bench.told) == 1, "the primary goes on, though it was told to end"
    free.set()


async def test_a_call_that_outlives_the_shim_leaves_nothing_behind() -> None:
    """It was in its fallback when the gateway stopped."""
    free = asyncio.Event()
    bench = Bench(PROBE, _patient("secondary"))

    async def answers_late() -> str:
        await free.wait()
        return "secondary"

    bench.acts = {"primary": _hangs, "secondary": answers_late}
    before = asyncio.all_tasks()
    call = asyncio.create_task(bench.call())
    await _until(lambda: "secondary" in bench.asked)
    await bench.shim.close()
    free.set()

    assert await call == ("secondary", "secondary")
    await _until(lambda: asyncio.all_tasks() == before)


async def test_an_error_that_nobody_waits_for_is_told_and_not_said_again() -> None:
    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
    bench, free = Bench(PROBE, HURRIED), asyncio.Event()

    async def fails_late() -> str:
        await free.wait()
        raise OSError

    bench.acts["primary"] = fails_late
    await bench.call()
    free.set()
    await _until(lambda: len(bench.told) == 2)
    await asyncio.sleep(0)
    gc.collect()

    assert bench.seen()[1] == ("primary", True, "OSError")
    assert said == []


@pytest.mark.parametrize("decision", [PROBE, ACTIVE])
async def test_a_client_that_cancels_itself_has_failed(decision: Decision) -> None:
    """It lost a connection; nobody had cancelled it, and the caller is not to be told so."""
    bench = Bench(decision)

    async def cancels_itself() -> str:
        raise asyncio.CancelledError

    bench.acts = dict.fromkeys(("primary", "secondary"), cancels_itself)

    assert await bench.call() == ("cache", "cache")
    assert {error for _, _, error in bench.seen()} == {"CancelledItselfError", ""}


async def test_what_a_client_raises_when_its_caller_leaves_is_not_the_primarys_failure() -> None:
    bench = Bench(Decision())

    async def tidies_up() -> str:
        try:
            return await _hangs()
        except asyncio.CancelledError:
            raise OSError("closed") from None

    bench.acts["primary"] = tidies_up
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await bench.call()
    await _until(lambda: asyncio.all_tasks() == before)

    assert bench.told == []


async def test_a_fallback_that_hangs_leaves_those_behind_it_their_time() -> None:
    """It may take what the call has, less what the contract gives to those behind: here all of it."""
    slow = {name: replace(each, p99_ms=30_000.0) for name, each in EASY.fallbacks.items()}
    contract = replace(EASY, fallbacks=slow | {"secondary": EASY.fallbacks["secondary"]})
    bench = Bench(ACTIVE, contract)
    bench.acts["secondary"] = _hangs

    async with asyncio.timeout(10):
        assert await bench.call() == ("cache", "cache")


async def test_a_primary_that_answers_while_a_fallback_is_asked_has_answered() -> None:
    late = asyncio.Event()

    async def answers_late() -> str:
        await late.wait()
        return "late"

    async def frees() -> str:
        late.set()
        return await _hangs()

    bench = Bench(PROBE, _patient("secondary"))
    bench.acts = {"primary": answers_late, "secondary": frees}

    async with asyncio.timeout(10):
        assert await bench.call() == ("late", "primary")
    assert bench.seen() == [("primary", True, "")]


@pytest.mark.parametrize(
    ("contract", "told"), [(EASY, []), (HURRIED, [("primary", False, TIMEOUT)])], ids=["early", "late"]
)
async def test_a_caller_who_leaves_early_tells_nothing_of_the_primary(
    contract: Any, told: list[tuple[str, bool, str]]
) -> None:
    """One who leaves after the time that the primary should have taken does."""
    bench = Bench(Decision(), contract)
    bench.acts["primary"] = _hangs
    tasks = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await bench.call()
    await _until(lambda: asyncio.all_tasks() == tasks)

    assert bench.seen() == told


async def test_what_describe_gets_wrong_costs_neither_the_answer_nor_the_record() -> None:
    for wrong in ({"no_such_field": 1}, 7, {"finish_reason": None}):
        bench = Bench(Decision(), describe=lambda answer, wrong=wrong: wrong)

        assert await bench.call() == ("primary", "primary")
        assert bench.seen() == [("primary", False, "")]
        assert bench.told[0].finish_reason == ""


async def test_what_cannot_be_reported_costs_no_answer() -> None:
    def fails(record: TelemetryRecord) -> None:
        raise OSError

    assert await Bench(Decision(), report=fails).call() == ("primary", "primary")


async def test_an_error_of_that_fails_itself_costs_no_answer() -> None:
    def fails(error: Exception) -> str:
        raise KeyError

    bench = Bench(PROBE, error_of=fails)
    bench.acts["primary"] = _fails

    assert await bench.call() == ("secondary", "secondary")
    assert bench.seen()[0] == ("primary", True, "OSError")


def test_a_fallback_that_the_contract_does_not_name_is_refused() -> None:
    """It would never be asked."""
    with pytest.raises(ValueError, match=r"expected the contract's \(rule, cache, secondary\), got rules"):
        Bench(Decision(), fallbacks={"rules": _fails})


_ACT = st.sampled_from([None, _fails, _refuses])


@given(
    decision=st.sampled_from([Decision(), ACTIVE, PROBE, Decision(probe=True, probe_deployment="a")]),
    acts=st.fixed_dictionaries(dict.fromkeys(NAMES, _ACT)),
    first=_ACT,
)
async def test_whoever_can_answer_does_and_each_attempt_is_told_once(
    decision: Decision, acts: dict[str, Any], first: Any
) -> None:
    bench = Bench(decision)
    primary = "primary a" if decision.probe_deployment else "primary"
    bench.acts = {name: act for name, act in (acts | {primary: first}).items() if act is not None}
    well = [name for name in NAMES if acts[name] is None]

    try:
        answer, by = await bench.call(deployments=("a",) if decision.probe_deployment else ())
    except (OSError, RefusedError):
        answer = by = None

    tried = [name.split()[0] for name in bench.asked]
    refused = decision.use_primary and first is _refuses
    expected = "primary" if decision.use_primary and first is None else (well[0] if well else None)
    assert by == (None if refused else expected)
    assert answer == (primary if by == "primary" else by)
    assert len(set(tried)) == len(tried)
    assert [name for name, _, _ in bench.seen()] == [
        name for name in tried if name != "primary" or not refused
    ]
    assert [name for name, _, error in bench.seen() if not error] == ([by] if by else [])
