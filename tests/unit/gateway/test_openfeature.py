"""Flags that tell whether a fallback is to answer, asked as OpenFeature's own client asks them."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from detector.gateway import GatewayClient
from detector.gateway.adapters.openfeature import DetectorProvider
from tests.unit.gateway.builders import MemoryTransport, owner_message, scope_message

ALIVE = owner_message(lease_s=1e9)  # a lease that no test outlives


@pytest.fixture
async def flags(request: pytest.FixtureRequest) -> AsyncIterator[OpenFeatureClient]:
    """OpenFeature over a control topic in memory, whose messages the test's parameter has."""
    transport = MemoryTransport(*request.param)
    async with GatewayClient("", "gw-1", transport=transport, acks=False) as client:
        api.set_provider(DetectorProvider(client))
        yield api.get_client()
    api.clear_providers()


_ACTIVE = scope_message(
    fallbacks={"*": ["rule"], "high_risk": ["cache", "rule"]},
    mode="slow",
    reason="why",
    event_id="e1",
    primary_share=0.0,
)
active = pytest.mark.parametrize("flags", [[ALIVE, _ACTIVE]], indirect=True)
quiet = pytest.mark.parametrize("flags", [[ALIVE]], indirect=True)


@active
async def test_an_active_scope_is_a_flag_that_is_on(flags: OpenFeatureClient) -> None:
    found = flags.get_boolean_details("llm.fallback.chat", False)

    assert (found.value, found.variant, found.reason) == (True, "fallback", Reason.TARGETING_MATCH)
    assert found.flag_metadata == {"mode": "slow", "reason": "why", "scope": "chat", "event_id": "e1"}


@active
async def test_who_is_to_answer_follows_the_input_class(flags: OpenFeatureClient) -> None:
    risky = EvaluationContext(attributes={"input_class": "high_risk"})

    assert flags.get_string_value("llm.fallback.chat", "primary") == "rule"
    assert flags.get_string_value("llm.fallback.chat", "primary", risky) == "cache"
    assert flags.get_object_value("llm.fallback.chat", {}, risky)["fallbacks"] == ["cache", "rule"]  # type: ignore[call-overload,index]


@active
async def test_other_routes_are_off(flags: OpenFeatureClient) -> None:
    found = flags.get_string_details("llm.fallback.mail", "x")

    assert (found.value, found.variant, found.reason) == ("primary", "primary", Reason.STATIC)


@pytest.mark.parametrize("flags", [[ALIVE, scope_message(primary_share=0.25)]], indirect=True)
async def test_each_time_that_it_is_asked_counts_towards_the_probes(flags: OpenFeatureClient) -> None:
    seen = Counter(flags.get_boolean_details("llm.fallback.chat", False).variant for _ in range(400))

    assert abs(seen["probe"] - 100) <= 1
    assert seen["fallback"] == 400 - seen["probe"]


@pytest.mark.parametrize(
    "flags", [[ALIVE, scope_message(deployment="eu-1", primary_share=0.0)]], indirect=True
)
async def test_a_deployment_to_keep_off_is_told(flags: OpenFeatureClient) -> None:
    """The route keeps its primary; the deployment's own flag is on."""
    sick = EvaluationContext(attributes={"deployment": "eu-1"})

    assert not flags.get_boolean_value("llm.fallback.chat", True)
    assert flags.get_object_value("llm.fallback.chat", {})["avoid"] == ["eu-1"]  # type: ignore[call-overload,index]
    assert flags.get_boolean_value("llm.fallback.chat", False, sick)
    assert flags.get_string_value("llm.fallback.chat", "x", sick) == "rule"


@pytest.mark.parametrize(
    "flags", [[ALIVE, scope_message(deployment="eu-1", primary_share=0.0, fallbacks={})]], indirect=True
)
async def test_of_a_deployment_without_fallbacks_the_siblings_answer(flags: OpenFeatureClient) -> None:
    sick = EvaluationContext(attributes={"deployment": "eu-1"})

    assert flags.get_string_value("llm.fallback.chat", "x", sick) == "primary"


@pytest.mark.parametrize("flags", [[owner_message(lease_s=0.0), scope_message()]], indirect=True)
async def test_a_detector_that_is_not_heard_any_more_is_told(flags: OpenFeatureClient) -> None:
    found = flags.get_boolean_details("llm.fallback.chat", True)

    assert (found.value, found.reason) == (False, Reason.STALE)


@quiet
@pytest.mark.parametrize("key", ["llm.fallback.", "new-checkout", ""])
async def test_other_flags_are_not_found(flags: OpenFeatureClient, key: str) -> None:
    found = flags.get_boolean_details(key, True)

    assert (found.value, found.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)


@quiet
async def test_no_flag_is_a_number(flags: OpenFeatureClient) -> None:
    assert flags.get_integer_details("llm.fallback.chat", 3).error_code == ErrorCode.TYPE_MISMATCH
    assert flags.get_float_details("llm.fallback.chat", 3.0).error_code == ErrorCode.TYPE_MISMATCH


def test_before_anything_is_known_the_callers_default_stands() -> None:
    """No client has been started."""
    client: Any = GatewayClient("", "gw-1", transport=MemoryTransport())
    api.set_provider(DetectorProvider(client), "unheard")

    found = api.get_client("unheard").get_boolean_details("llm.fallback.chat", False)

    assert (found.value, found.error_code) == (False, ErrorCode.PROVIDER_NOT_READY)
    api.clear_providers()
