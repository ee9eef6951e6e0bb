"""The hooks over a client and a sender in memory; LiteLLM's base class, which has no say, is an empty one.

That LiteLLM calls them as it is believed to is shown in its own proxy, by tests/integration/test_litellm.py.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from detector.gateway import Decision
from topics.telemetry import TelemetryRecord
from topics.types import LONGEST_NAME

GROUPS = {"chat", "rule", "a,b"}
ACTIVE = Decision(state="active", fallbacks=("rule",), scope="chat", mode="slow", event_id="e1")


class Memory:
    """Client and sender in one: what was asked, what is answered, what was reported."""

    def __init__(self) -> None:
        self.decision: Decision | Exception = Decision()
        self.asked: list[tuple[str, str]] = []
        self.told: list[TelemetryRecord] = []
        self.report = self.told.append

    async def start(self) -> None:
        """There is nothing to catch up with."""

    def decide(self, route: str, input_class: str) -> Decision:
        self.asked.append((route, input_class))
        if isinstance(self.decision, Exception):
            raise self.decision
        return self.decision


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The hooks, whether LiteLLM is installed or not."""
    base = ModuleType("litellm.integrations.custom_logger")
    base.CustomLogger = type("CustomLogger", (), {})  # type: ignore[attr-defined]
    for name, made in (
        ("litellm", ModuleType("litellm")),
        ("litellm.integrations", ModuleType("litellm.integrations")),
        (base.__name__, base),
    ):
        monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.delitem(sys.modules, "detector.gateway.adapters.litellm.hooks", raising=False)
    from detector.gateway.adapters.litellm import hooks

    yield hooks
    monkeypatch.delitem(sys.modules, "detector.gateway.adapters.litellm.hooks", raising=False)


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
async def handler(module: Any, memory: Memory) -> Any:
    return module.DetectorHandler(lambda: memory, lambda: memory, GROUPS)


async def _call(handler: Any, key: Any = None, call_type: str = "acompletion", **data: Any) -> dict[str, Any]:
    return await handler.async_pre_call_hook(key, None, {"model": "chat", **data}, call_type)


def _payload(**more: Any) -> dict[str, Any]:
    return {"model_group": "chat", "endTime": 1.8e9, "startTime": 1.8e9 - 1, "status": "success", **more}


async def test_a_call_goes_where_the_client_says_and_its_answer_says_so(handler: Any, memory: Memory) -> None:
    memory.decision = ACTIVE

    data = await _call(handler)
    headers = await handler.async_post_call_response_headers_hook(data, None, None, request_headers={})

    assert data["model"] == "rule"
    assert headers == {
        "x-detector-course": "fallback",
        "x-detector-scope": "chat",
        "x-detector-mode": "slow",
        "x-detector-event-id": "e1",
    }


@pytest.mark.parametrize(
    "forged", [{"course": "probe\r\nx-evil: 1"}, {"course": 7}, {"course": "fallback", "scope": ["x"]}, {}]
)
async def test_no_note_makes_a_header_that_is_none(handler: Any, forged: dict[str, Any]) -> None:
    """Where LiteLLM asks no hook before a call the note may be the caller's own."""
    data = {"metadata": {"detector": forged}}

    headers = await handler.async_post_call_response_headers_hook(data, None, None)

    assert all(value.isprintable() for value in (headers or {}).values())
    assert "x-detector-scope" not in (headers or {})


async def test_what_a_call_was_decided_to_do_is_what_is_reported(handler: Any, memory: Memory) -> None:
    memory.decision = ACTIVE
    data = await _call(handler)
    logged = {"standard_logging_object": _payload(model_group="rule"), "litellm_params": data}

    await handler.async_log_success_event(logged, None, None, None)

    assert [(each.route, each.served_by) for each in memory.told] == [("chat", "rule")]


@pytest.mark.parametrize("failing", [True, False])
async def test_a_note_that_the_caller_wrote_counts_for_nothing(
    handler: Any, memory: Memory, failing: bool
) -> None:
    """Nor where no decision could be had, and no note of ours stands over it."""
    memory.decision = ValueError("ours") if failing else Decision()
    forged = {
        "metadata": {"detector": {"route": "mail"}},
        "litellm_metadata": {"detector": {"route": "mail"}},
    }

    data = await _call(handler, **forged)
    logged = {"standard_logging_object": _payload(), "litellm_params": data}
    await handler.async_log_success_event(logged, None, None, None)

    assert data["model"] == "chat"
    assert [each.route for each in memory.told] == ["chat"]


async def test_what_litellm_refused_itself_is_not_the_primarys_failure(handler: Any, memory: Memory) -> None:
    """A key over its rate, a guardrail: LiteLLM logs them under a deployment that was never asked."""
    failed = _payload(status="failure", model_id="primary-1")

    for refused in (True, False):
        logged = {"standard_logging_object": failed, "litellm_no_upstream_llm_call": refused}
        await handler.async_log_failure_event(logged, None, None, None)

    assert len(memory.told) == 1


@pytest.mark.parametrize(
    ("data", "call_type"),
    [
        ({}, "pass_through_endpoint"),
        ({}, "acreate_batch"),
        ({"model": "chat,rule"}, "acompletion"),
        ({"model": "x" * (LONGEST_NAME + 1)}, "acompletion"),
        ({"model": ""}, "acompletion"),
        ({"model": None}, "acompletion"),
        ({"model": ["chat"]}, "acompletion"),
    ],
)
async def test_what_is_no_call_to_a_route_is_left_alone(
    handler: Any, memory: Memory, data: dict[str, Any], call_type: str
) -> None:
    """It takes no probe from the calls that can tell of the primary."""
    memory.decision = ACTIVE

    after = await _call(handler, call_type=call_type, **data)

    assert (after, memory.asked) == ({"model": "chat", **data}, [])


async def test_a_group_may_have_a_comma_in_its_name(handler: Any, memory: Memory) -> None:
    await _call(handler, model="a,b")

    assert memory.asked == [("a,b", "default")]


@pytest.mark.parametrize(
    ("key", "request_", "wanted"),
    [
        ({}, {}, "default"),
        ({}, {"metadata": {"input_class": "low"}}, "low"),
        ({"team_metadata": {"input_class": "team"}}, {"metadata": {"input_class": "low"}}, "team"),
        ({"metadata": {"input_class": "key"}, "team_metadata": {"input_class": "team"}}, {}, "key"),
        ({}, {"metadata": {"input_class": "x" * 10_000}}, "x" * LONGEST_NAME),
        ({}, {"metadata": {"input_class": 7}}, "default"),
        ({}, {"metadata": "text"}, "default"),
    ],
)
async def test_an_administrators_input_class_is_not_the_callers_to_choose(
    handler: Any, memory: Memory, key: dict[str, Any], request_: dict[str, Any], wanted: str
) -> None:
    await _call(handler, SimpleNamespace(**key), **request_)

    assert memory.asked == [("chat", wanted)]


@pytest.mark.parametrize("odd", [[{}], [{"model_info": {}}], [{"model_info": None}]])
async def test_deployments_that_have_no_name_are_left_as_they_are(handler: Any, odd: list[Any]) -> None:
    assert await handler.async_filter_deployments("chat", odd, None, {}) == odd


async def test_a_fallback_that_the_proxy_has_not_is_told_of_once(
    handler: Any, memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    memory.decision = Decision(state="active", fallbacks=("new", "rule"))
    for _ in range(3):
        await _call(handler)

    assert caplog.text.count("no model group 'chat/new' or 'new'") == 1


def test_without_a_broker_the_proxy_does_not_start(module: Any) -> None:
    with pytest.raises(ValueError, match="DETECTOR_BOOTSTRAP"):
        module.from_environment({})


def test_each_process_of_a_gateway_has_a_name_of_its_own(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(module, "GatewayClient", lambda bootstrap, name, **options: made.append(name))
    for given in ("", "eu", "x" * 500):
        environ = {"DETECTOR_BOOTSTRAP": "kafka:9092", "DETECTOR_GATEWAY_ID": given}
        module.from_environment(environ)._make_client()

    process = f"{module.socket.gethostname()}/{module.os.getpid()}"
    assert made[:2] == [process, f"eu/{process}"]
    assert len(made[2]) == LONGEST_NAME
    assert made[2].endswith(process)
