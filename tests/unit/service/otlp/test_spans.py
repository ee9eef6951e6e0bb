"""What is read of a span, by which names, and which spans are calls."""

from typing import Any

import pytest

from detector.service.otlp.attributes import LeftOut
from detector.service.otlp.decode import decode_spans
from detector.service.otlp.model import Span
from detector.service.otlp.spans import is_call, record_of, value_of
from tests.builders import T0
from tests.otlp_builders import CHAT, span, span_id, trace_id, traces
from topics.errors import DecodeError
from topics.telemetry import TelemetryRecord, decode_telemetry


def decoded(
    attributes: dict[str, Any] | None = None, *, resource: dict[str, Any] | None = None, **more: Any
) -> Span:
    (found,) = decode_spans(
        traces(span(attributes, **more), resource=resource).SerializeToString(), "otlp_proto"
    )
    return found


def mapped(attributes: dict[str, Any], **more: Any) -> TelemetryRecord:
    """The record of a span with these attributes beside those of any chat."""
    found = decoded(CHAT | attributes, **more)
    assert is_call(found.attributes)
    record = record_of(found)
    assert record is not None
    return decode_telemetry(value_of(record))


ROWS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("v1.41.1 model", {"gen_ai.response.model": "m-2026"}, {"model": "m-2026"}),
    ("litellm model", {"gen_ai.response.model": "chat", "litellm.provider.model": "a/b"}, {"model": "a/b"}),
    ("openinference model", {"llm.response.model_name": "m"}, {"model": "m"}),
    ("v1.41.1 provider", {"gen_ai.provider.name": "openai"}, {"provider": "openai"}),
    ("older provider", {"gen_ai.system": "openai"}, {"provider": "openai"}),
    (
        "new before old",
        {"gen_ai.provider.name": "aws.bedrock", "gen_ai.system": "b"},
        {"provider": "aws.bedrock"},
    ),
    ("openinference provider", {"llm.provider": "azure", "llm.system": "openai"}, {"provider": "azure"}),
    ("openinference system", {"llm.system": "openai"}, {"provider": "openai"}),
    ("v1.41.1 tokens", {"gen_ai.usage.input_tokens": 7}, {"input_tokens": 7}),
    ("v1.41.1 tokens out", {"gen_ai.usage.output_tokens": 3}, {"output_tokens": 3}),
    ("older tokens", {"gen_ai.usage.prompt_tokens": 7}, {"input_tokens": 7}),
    ("older tokens out", {"gen_ai.usage.completion_tokens": 3}, {"output_tokens": 3}),
    ("openinference tokens", {"llm.token_count.prompt": 7}, {"input_tokens": 7}),
    ("openinference tokens out", {"llm.token_count.completion": 3}, {"output_tokens": 3}),
    ("tokens as a double", {"gen_ai.usage.input_tokens": 7.0}, {"input_tokens": 7}),
    ("tokens as text", {"gen_ai.usage.input_tokens": "12"}, {"input_tokens": 12}),
    ("no tokens is a count", {"gen_ai.usage.output_tokens": 0}, {"output_tokens": 0}),
    ("v1.41.1 first chunk", {"gen_ai.response.time_to_first_chunk": 0.125}, {"ttft_s": 0.125}),
    ("vllm first token", {"gen_ai.latency.time_to_first_token": 0.125}, {"ttft_s": 0.125}),
    ("vllm queue", {"gen_ai.latency.time_in_queue": 0.5}, {"queue_s": 0.5}),
    ("vllm end to end", {"gen_ai.latency.e2e": 2}, {"latency_s": 2.0}),
    ("the span's own time", {}, {"latency_s": 0.25, "event_time": T0 + 0.0}),
    ("response id", {"gen_ai.response.id": "r-1"}, {"request_id": "r-1"}),
    ("vllm request id", {"gen_ai.request.id": "q-1"}, {"request_id": "q-1"}),
    ("finish reasons", {"gen_ai.response.finish_reasons": ["length", "stop"]}, {"finish_reason": "length"}),
    ("no finish reason", {"gen_ai.response.finish_reasons": []}, {"finish_reason": ""}),
    ("address and port", {"server.address": "gpu-1", "server.port": 8000}, {"deployment": "gpu-1:8000"}),
    ("port as text", {"server.address": "gpu-1", "server.port": "8000"}, {"deployment": "gpu-1:8000"}),
    ("address alone", {"server.address": "gpu-1"}, {"deployment": "gpu-1"}),
    (
        "our deployment",
        {"detector.deployment": "eu-1", "server.address": "gpu-1"},
        {"deployment": "eu-1"},
    ),
    ("our route", {"detector.route": "support"}, {"route": "support"}),
    ("our fallback", {"detector.served_by": "cache"}, {"served_by": "cache"}),
    ("our probe", {"detector.probe": True}, {"probe": True}),
    ("our probe as text", {"detector.probe": "True"}, {"probe": True}),
    ("queue as text", {"gen_ai.latency.time_in_queue": "0.5"}, {"queue_s": 0.5}),
    ("reason as a number", {"gen_ai.response.finish_reasons": [3]}, {"finish_reason": "3"}),
    ("an error's number", {"error.type": 503}, {"error": "503"}),
    ("an error's double", {"error.type": 503.0}, {"error": "503"}),
    ("our input class", {"detector.input_class": "high_risk"}, {"input_class": "high_risk"}),
    ("our tenant", {"detector.tenant": "acme"}, {"tenant": "acme"}),
    ("an error", {"error.type": "timeout"}, {"error": "timeout"}),
    ("the primary, unless said", {}, {"served_by": "primary", "probe": False, "input_class": "default"}),
]


@pytest.mark.parametrize(("attributes", "wanted"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_each_name_is_read_as_its_field(attributes: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Every row of the table, in a span that has nothing else."""
    record = mapped(attributes)

    assert {name: getattr(record, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("attributes", "route"),
    [
        ({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt"}, "gpt"),
        ({"openinference.span.kind": "LLM", "llm.model_name": "gpt"}, "gpt"),
        (
            {"openinference.span.kind": "LLM", "llm.model_name": "gpt-1", "llm.request.model_name": "gpt"},
            "gpt",
        ),
        ({"gen_ai.operation.name": "embeddings", "detector.route": "embed"}, "embed"),
    ],
)
def test_the_route_is_what_the_caller_asked_for(attributes: dict[str, Any], route: str) -> None:
    """By what is ours, the conventions or OpenInference, in this order."""
    found = decoded(attributes)

    assert is_call(found.attributes)
    record = record_of(found)
    assert record is not None
    assert record.route == route


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"gen_ai.request.model": "chat", "http.route": "/v1/chat/completions"},
        {"gen_ai.request.model": "chat", "gen_ai.usage.input_tokens": 3},
        {"openinference.span.kind": "CHAIN", "llm.model_name": "gpt"},
        {"openinference.span.kind": "AGENT"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "chat"},
        {"gen_ai.operation.name": "execute_tool"},
        {"detector.route": "chat"},
    ],
)
def test_a_span_beside_or_around_a_call_is_none(attributes: dict[str, Any]) -> None:
    """A gateway's HTTP span names the model too, an agent's has the calls inside: they would count twice."""
    assert not is_call(decoded(attributes).attributes)


def test_a_resource_speaks_for_its_spans_and_a_span_for_itself() -> None:
    """Of what is ours; the conventions' names mean something else on a resource."""
    resource = {"detector.tenant": "acme", "detector.route": "all", "gen_ai.request.model": "no"}

    record = mapped({"detector.route": "mine"}, resource=resource)

    assert (record.tenant, record.route) == ("acme", "mine")
    assert mapped({}, resource=resource).route == "all"
    assert mapped({}, resource={"gen_ai.request.model": "no"}).route == "chat"


def test_a_failed_call_has_no_counts_of_zero() -> None:
    """LiteLLM counts 0 tokens where it measured none; what it did measure stays."""
    failed = {"error.type": "timeout", "gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 0}

    record = mapped(failed, failed=True)

    assert (record.error, record.input_tokens, record.output_tokens) == ("timeout", 9, None)


def test_an_error_without_a_name_is_one_all_the_same() -> None:
    assert mapped({}, failed=True).error == "_OTHER"


@pytest.mark.parametrize(
    "attributes",
    [
        {"error.type": "400"},
        {"error.type": "BadRequestError"},
        {"error.type": "openai.BadRequestError"},
        {"error.type": "com.openai.errors.BadRequestException"},
        {"error.type": "litellm.exceptions.ContextWindowExceededError"},
        {"error.type": "ContentPolicyViolationError"},
        {"error.type": "ValidationException"},
        {"error.type": "invalid_request_error"},
        {"error.type": "asyncio.exceptions.CancelledError"},
        {"error.type": "GeneratorExit"},
        {"error.type": "APIError", "litellm.provider.error.code": "400"},
        {"error.type": "APIError", "http.response.status_code": 413.0},
        {"error.type": "HTTPError", "http.response.status_code": 422},
        {"error.type": "Disconnected", "litellm.provider.error.code": "499"},
    ],
)
def test_a_call_that_its_caller_got_wrong_tells_nothing(attributes: dict[str, Any]) -> None:
    """It is no record; the same span with a code of the provider's own is one."""
    assert record_of(decoded(CHAT | attributes, failed=True)) is None
    code = {name: "500" for name in attributes if name != "error.type"} or {"error.type": "500"}
    assert record_of(decoded(CHAT | attributes | code, failed=True)) is not None


def test_a_call_without_an_id_of_its_own_has_that_of_its_span() -> None:
    """So that its verdicts can be told from those of others."""
    assert mapped({}, number=5).request_id == (trace_id(5) + span_id(5)).hex()


UNUSABLE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"gen_ai.usage.input_tokens": "many"}, {"input_tokens": None}),
    ({"gen_ai.usage.input_tokens": True}, {"input_tokens": None}),
    ({"gen_ai.usage.input_tokens": 1.5}, {"input_tokens": None}),
    ({"gen_ai.usage.input_tokens": -1}, {"input_tokens": None}),
    ({"gen_ai.usage.input_tokens": 2**60}, {"input_tokens": None}),
    ({"gen_ai.usage.input_tokens": "x", "gen_ai.usage.prompt_tokens": 3}, {"input_tokens": 3}),
    ({"gen_ai.latency.time_in_queue": float("nan")}, {"queue_s": None}),
    ({"gen_ai.latency.time_in_queue": float("inf")}, {"queue_s": None}),
    ({"gen_ai.latency.time_in_queue": "1e999"}, {"queue_s": None}),
    ({"gen_ai.latency.time_in_queue": -0.5}, {"queue_s": None}),
    ({"gen_ai.latency.e2e": "long"}, {"latency_s": 0.25}),
    ({"gen_ai.response.finish_reasons": [["a"]]}, {"finish_reason": ""}),
    ({"gen_ai.response.id": {"a": 1}}, {"request_id": (trace_id(3) + span_id(3)).hex()}),
    ({"server.address": "gpu-1", "server.port": "http"}, {"deployment": "gpu-1"}),
    ({"server.address": "x" * 199, "server.port": 80}, {"deployment": "x" * 199 + ":"}),
    ({"detector.probe": "maybe"}, {"probe": False}),
    ({"detector.tenant": "x" * 201}, {"tenant": "x" * 200}),
    ({"error.type": "x" * 201}, {"error": "x" * 200}),
    ({"error.type": ["timeout"]}, {"error": "_OTHER"}),
    ({"detector.route": "x" * 201}, {"route": "chat"}),
]


@pytest.mark.parametrize(("attributes", "wanted"), UNUSABLE)
@pytest.mark.parametrize("failed", [False, True])
def test_a_value_that_is_no_use_costs_its_field_and_not_the_call(
    attributes: dict[str, Any], wanted: dict[str, Any], failed: bool
) -> None:
    """It is left out or cut, and told of, whether the call failed or not."""
    left_out: LeftOut = []
    record = record_of(decoded(CHAT | attributes, number=3, failed=failed), left_out)

    assert record is not None
    found = decode_telemetry(value_of(record))
    assert {name: getattr(found, name) for name in wanted} == wanted
    assert len(left_out) == 1


@pytest.mark.parametrize(
    ("attributes", "path"),
    [
        ({"gen_ai.request.model": ["chat"]}, "$.attributes['gen_ai.request.model']"),
        ({"gen_ai.request.model": ""}, "$.attributes['gen_ai.request.model']"),
        ({"gen_ai.request.model": "x" * 201}, "$.attributes['gen_ai.request.model']"),
    ],
)
def test_a_call_without_a_route_is_refused_with_its_place(attributes: dict[str, Any], path: str) -> None:
    """Never guessed, never sent to a detector that would refuse it, whatever a neighbour has left out."""
    with pytest.raises(DecodeError) as refusal:
        record_of(decoded(CHAT | attributes), [DecodeError("$.other", "expected something")])

    assert refusal.value.path == path


def test_a_span_that_ends_before_its_start_has_no_latency_and_is_a_call_all_the_same() -> None:
    """The clock was set back meanwhile; that it failed still counts."""
    left_out: LeftOut = []
    record = record_of(decoded(CHAT, took=-1.0, failed=True), left_out)

    assert record is not None
    assert (record.latency_s, record.error, len(left_out)) == (None, "_OTHER", 1)


def test_a_refusal_does_not_quote_a_text() -> None:
    """What stands in the wrong place may be what somebody wrote to a model."""
    left_out: LeftOut = []
    record_of(decoded(CHAT | {"gen_ai.usage.input_tokens": "dear doctor"}), left_out)

    assert len(left_out) == 1
    assert "doctor" not in str(left_out[0])


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"trace_id": b""}, "$.spanId"),
        ({"span_id": bytes(8)}, "$.spanId"),
        ({"end_time_unix_nano": 0}, "$.endTimeUnixNano"),
        ({"start_time_unix_nano": 0, "end_time_unix_nano": 0}, "$.endTimeUnixNano"),
        ({"start_time_unix_nano": 0, "end_time_unix_nano": T0}, "$.event_time"),
    ],
)
def test_a_span_without_ids_or_times_is_refused(changes: dict[str, Any], path: str) -> None:
    made = span()
    for name, value in changes.items():
        setattr(made, name, value)
    (found,) = decode_spans(traces(made).SerializeToString(), "otlp_proto")

    with pytest.raises(DecodeError) as refusal:
        value_of(record_of(found))  # type: ignore[arg-type]

    assert refusal.value.path == path


@pytest.mark.parametrize("cancelled", ["asyncio.exceptions.CancelledError", "GeneratorExit"])
@pytest.mark.parametrize(
    ("took", "attributes", "error"),
    [
        (9.9, {}, None),
        (10.0, {}, "timeout"),
        (30.0, {"gen_ai.response.time_to_first_chunk": 0.4}, None),
        (30.0, {"http.response.status_code": 499}, "timeout"),
    ],
)
def test_a_call_that_waited_in_vain_until_it_was_cancelled_is_a_timeout(
    cancelled: str, took: float, attributes: dict[str, Any], error: str | None
) -> None:
    """A time limit in Python cancels; who leaves sooner, or in the midst of a stream, tells nothing."""
    found = record_of(decoded(CHAT | attributes | {"error.type": cancelled}, failed=True, took=took))

    assert (None if found is None else found.error) == error


def test_who_says_another_fault_of_the_caller_late_is_not_taken_for_a_timeout() -> None:
    assert record_of(decoded(CHAT | {"error.type": "BadRequestError"}, failed=True, took=30.0)) is None
