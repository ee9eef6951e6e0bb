"""Both encodings say the same, and no bytes do harm."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from detector.service.otlp.decode import Encoding, decode_logs, decode_spans
from detector.service.otlp.logs import EVENT, OF_LOG, verdict_of
from detector.service.otlp.spans import OF_SPAN, is_call, record_of, value_of
from tests.otlp_builders import CHAT, as_json, batch_of_logs, span, span_id, trace_id, traces, verdict
from topics.errors import DecodeError

DATA = Path(__file__).parents[3] / "data" / "otlp"
ENCODINGS: tuple[Encoding, ...] = ("otlp_proto", "otlp_json")
SCALARS = st.one_of(
    st.text(max_size=8),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
)
VALUES = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
)


def of_spans() -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(sorted(OF_SPAN)), VALUES, max_size=12)


def all_of(value: bytes, encoding: Encoding) -> None:
    """Go the whole way with bytes; DecodeError is all that may be raised."""
    try:
        for each in decode_spans(value, encoding):
            if is_call(each.attributes) and (record := record_of(each)) is not None:
                value_of(record)
    except DecodeError:
        pass
    try:
        for log in decode_logs(value, encoding):
            verdict_of(log)
    except DecodeError:
        pass


@given(attributes=of_spans(), resource=of_spans(), failed=st.booleans())
def test_spans_are_the_same_in_both_encodings(
    attributes: dict[str, Any], resource: dict[str, Any], failed: bool
) -> None:
    """With any values of any attributes that are read."""
    batch = traces(span(attributes, failed=failed), span(), resource=resource)

    assert decode_spans(as_json(batch), "otlp_json") == decode_spans(batch.SerializeToString(), "otlp_proto")


@given(attributes=st.dictionaries(st.sampled_from(sorted(OF_LOG)), VALUES, max_size=6))
def test_log_records_are_the_same_in_both_encodings(attributes: dict[str, Any]) -> None:
    batch = batch_of_logs(verdict(attributes=attributes, number=3), verdict())

    assert decode_logs(as_json(batch), "otlp_json") == decode_logs(batch.SerializeToString(), "otlp_proto")


def test_the_time_of_a_log_record_is_the_same_in_both_encodings() -> None:
    """Its own, and where it has none that of its observation."""
    timed, observed = verdict(number=1), verdict(number=2)
    timed.observed_time_unix_nano = timed.time_unix_nano + 5
    observed.observed_time_unix_nano, observed.time_unix_nano = observed.time_unix_nano + 5, 0
    batch = batch_of_logs(timed, observed)
    found = decode_logs(as_json(batch), "otlp_json")

    assert [each.time_ns for each in found] == [timed.time_unix_nano, observed.observed_time_unix_nano]
    assert found == decode_logs(batch.SerializeToString(), "otlp_proto")


def test_ids_in_json_are_hexadecimal() -> None:
    """Of either case, while a span of protobuf's own JSON, whose ids are base64, is refused, not misread."""
    batch = traces(span(number=0xABCDEF))
    upper = as_json(batch).decode().replace("abcdef", "ABCDEF")

    assert "ABCDEF" in upper
    assert decode_spans(upper.encode(), "otlp_json")[0].ids == trace_id(0xABCDEF) + span_id(0xABCDEF)
    (misread,) = decode_spans(json_format.MessageToJson(batch).encode(), "otlp_json")
    with pytest.raises(DecodeError, match="hexadecimal"):
        record_of(misread)


def test_numbers_in_json_may_be_texts_or_numbers() -> None:
    """Times and counts of 64 bits are written as texts, and read as either."""
    document = json.loads(as_json(traces(span(CHAT | {"gen_ai.usage.input_tokens": 5}))))
    made = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    before = decode_spans(json.dumps(document).encode(), "otlp_json")
    made["endTimeUnixNano"] = int(made["endTimeUnixNano"])
    made["status"] = {"code": "STATUS_CODE_ERROR"}
    for each in made["attributes"]:
        if "intValue" in each["value"]:
            each["value"]["intValue"] = int(each["value"]["intValue"])
    after = decode_spans(json.dumps(document).encode(), "otlp_json")

    assert (after[0].end_ns, after[0].attributes) == (before[0].end_ns, before[0].attributes)
    assert (before[0].failed, after[0].failed) == (False, True)


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("traceId", "no digits"),
        ("traceId", 7),
        ("spanId", "abc"),
        ("spanId", ["00"]),
        ("startTimeUnixNano", "soon"),
        ("startTimeUnixNano", True),
        ("endTimeUnixNano", "soon"),
        ("endTimeUnixNano", {}),
        ("endTimeUnixNano", 1.5),
        ("endTimeUnixNano", "9" * 400),
        ("endTimeUnixNano", 1e300),
        ("endTimeUnixNano", 10**400),
    ],
)
def test_a_value_in_json_that_cannot_be_read_costs_its_own_span(key: str, bad: Any) -> None:
    """The span before it and the one behind it are calls all the same."""
    document = json.loads(as_json(traces(*(span(number=number) for number in (1, 2, 3)))))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][1][key] = bad
    first, hit, last = decode_spans(json.dumps(document).encode(), "otlp_json")

    assert [record_of(each).request_id for each in (first, last)] == [
        (trace_id(number) + span_id(number)).hex() for number in (1, 3)
    ]
    with pytest.raises(DecodeError) as told:
        record_of(hit)
    assert told.value.path == f"$.{key}"


@pytest.mark.parametrize("key", ["traceId", "spanId", "timeUnixNano", "observedTimeUnixNano"])
def test_a_value_in_json_that_cannot_be_read_costs_its_own_log_record(key: str) -> None:
    """It is not dated by another time, nor joined by another name, than those that it gives."""
    response = {"gen_ai.response.id": "r-9"}
    document = json.loads(as_json(batch_of_logs(*(verdict(number=n, attributes=response) for n in (1, 2)))))
    records = document["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    records[0] |= {"observedTimeUnixNano": "1", key: "soon"}
    hit, other = decode_logs(json.dumps(document).encode(), "otlp_json")

    assert verdict_of(other) is not None
    with pytest.raises(DecodeError) as told:
        verdict_of(hit)
    assert told.value.path == f"$.{key}"


@pytest.mark.parametrize(
    "bad", [{"intValue": 1.5}, {"intValue": "many"}, {"doubleValue": "x"}, {"boolValue": 3}, 7]
)
def test_an_attribute_in_json_that_cannot_be_read_counts_as_not_set(bad: Any) -> None:
    """And as left out: the call is sent without it."""
    document = json.loads(as_json(traces(span(CHAT))))
    made = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    made["attributes"].append({"key": "gen_ai.usage.input_tokens", "value": bad})
    (found,) = decode_spans(json.dumps(document).encode(), "otlp_json")
    left_out: list[DecodeError] = []
    record = record_of(found, left_out)

    assert record is not None
    assert record.input_tokens is None
    assert len(left_out) == 1


def test_whole_numbers_in_json_may_have_a_fraction_of_nothing() -> None:
    """As protobuf's own reader takes them."""
    document = json.loads(as_json(traces(span(CHAT))))
    made = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    made["attributes"].append({"key": "gen_ai.usage.input_tokens", "value": {"intValue": 12.0}})
    (found,) = decode_spans(json.dumps(document).encode(), "otlp_json")

    assert found.attributes["gen_ai.usage.input_tokens"] == 12


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_text_of_prompts_and_answers_is_kept(encoding: Encoding) -> None:
    """Whatever an instrumentation is told to capture."""
    texts = {
        "gen_ai.input.messages": "SECRET",
        "gen_ai.output.messages": "SECRET",
        "gen_ai.prompt": "SECRET",
        "llm.input_messages.0.message.content": "SECRET",
        "input.value": "SECRET",
        "error.message": "SECRET",
        "exception.message": "SECRET",
    }
    made = span(CHAT | texts)
    made.events.add(name="gen_ai.user.message").attributes.extend(span({"content": "SECRET"}).attributes)
    made.status.message = "SECRET"
    batch = traces(made)
    value = batch.SerializeToString() if encoding == "otlp_proto" else as_json(batch)

    assert b"SECRET" in value
    assert "SECRET" not in str(decode_spans(value, encoding))


def test_spans_of_a_real_gateway_are_four_calls() -> None:
    """LiteLLM's HTTP and authentication spans are none, though one of them names the model."""
    value = (DATA / "litellm_spans.pb").read_bytes()
    batch = TracesData.FromString(value)
    found = decode_spans(value, "otlp_proto")
    records = [record_of(each) for each in found if is_call(each.attributes)]

    assert len(found) == 6
    assert [
        (each.route, each.model, each.error, each.input_tokens, each.output_tokens, each.finish_reason)
        for each in records
        if each is not None
    ] == [
        ("chat", "openai/fake-primary", "", 11, 5, "stop"),
        ("chat", "openai/fake-primary", "", 8, 7, "stop"),
        ("chat", "openai/fake-primary", "InternalServerError", None, None, ""),
        ("chat-fallback", "openai/fake-backup", "", 11, 5, "stop"),
    ]
    stream = records[1]
    assert stream is not None
    assert (stream.request_id, stream.provider) == ("chatcmpl-deb4b539f935", "openai")
    assert stream.ttft_s == pytest.approx(0.1727, abs=1e-4)
    assert stream.latency_s == pytest.approx(0.2153, abs=1e-4)
    assert found == decode_spans(as_json(batch), "otlp_json")


def test_log_records_of_a_real_gateway_are_of_something_else() -> None:
    (found,) = decode_logs((DATA / "litellm_logs.pb").read_bytes(), "otlp_proto")

    assert found.event_name == "gen_ai.client.operation.exception"
    assert found.event_name != EVENT


def test_the_real_batches_that_are_kept_here_tell_nothing_of_anybody() -> None:
    """No bodies, events or messages, nothing of keys, users or HTTP; no address of a machine."""
    spans = TracesData.FromString((DATA / "litellm_spans.pb").read_bytes())
    logs = LogsData.FromString((DATA / "litellm_logs.pb").read_bytes())
    text = str(spans) + str(logs)

    assert not [
        word for word in ("http.", "net.", "key.hash", "user", "message", "stack", "127.") if word in text
    ]
    assert not any(
        each.events for group in spans.resource_spans for part in group.scope_spans for each in part.spans
    )
    assert "body" not in text


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(value=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_random_bytes_raise_nothing_but_our_error(encoding: Encoding, value: bytes) -> None:
    all_of(value, encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.data())
def test_a_batch_with_bytes_changed_raises_nothing_but_our_error(encoding: Encoding, data: Any) -> None:
    """Cut, or with one byte of it another one."""
    batch = TracesData.FromString((DATA / "litellm_spans.pb").read_bytes())
    value = bytearray(batch.SerializeToString() if encoding == "otlp_proto" else as_json(batch))
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(value), at]))

    all_of(bytes(value[:end]), encoding)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                "resourceSpans scopeSpans spans traceId spanId startTimeUnixNano endTimeUnixNano attributes "
                "key value stringValue intValue doubleValue arrayValue values status code resource "
                "resourceLogs scopeLogs logRecords timeUnixNano eventName".split()
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=20,
)


@given(document=JSON)
def test_json_of_another_shape_raises_nothing_but_our_error(document: Any) -> None:
    all_of(json.dumps(document).encode(), "otlp_json")


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        (None, "otlp_proto"),
        (None, "otlp_json"),
        (b"", "otlp_json"),
        (b"\xff\xff\xff", "otlp_proto"),
        (b"[]", "otlp_json"),
        (as_json(traces(span())), "otlp_proto"),
        (traces(span()).SerializeToString(), "otlp_json"),
        (b"[" * 100_000, "otlp_json"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[7]}]}]}', "otlp_json"),
        (base64.b64encode(traces(span()).SerializeToString()), "otlp_proto"),
    ],
)
def test_what_is_no_batch_is_refused(value: bytes | None, encoding: Encoding) -> None:
    """No value at all, the other encoding, another shape."""
    with pytest.raises(DecodeError):
        decode_spans(value, encoding)


def test_json_where_protobuf_is_expected_is_told_apart_from_garbage() -> None:
    """The commonest mistake is a collector that is set to the other encoding."""
    with pytest.raises(DecodeError, match="looks like JSON, see --encoding"):
        decode_spans(b' {"resourceSpans": []}', "otlp_proto")
    with pytest.raises(DecodeError) as told:
        decode_spans(b"\xff" * 9, "otlp_proto")
    assert "JSON" not in str(told.value)
