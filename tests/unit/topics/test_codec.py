"""Decoding: what goes out comes back, and whatever else comes in is refused with the path to the fault."""

import json
import math
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.builders import record
from topics.codec import decoder, encode
from topics.control import (
    Ack,
    ControlRecord,
    Override,
    OwnerRecord,
    decode_control_message,
    most_counted,
    owner_key,
)
from topics.errors import DecodeError
from topics.schema import RECORDS, json_schema
from topics.telemetry import TelemetryRecord, decode_evaluation, decode_telemetry
from topics.types import MOST_COUNT

BASE = {"event_time": 1_700_000_000.5, "route": "chat"}
DECODERS = {name: decoder(kind) for name, kind in RECORDS.items()}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIME = st.floats(946_684_800, 4_102_444_799)
COUNT = st.integers(0, MOST_COUNT)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def optional(strategy):
    return st.none() | strategy


TELEMETRY = st.builds(
    TelemetryRecord,
    event_time=TIME,
    route=TEXT.filter(bool),
    request_id=TEXT,
    probe=st.booleans(),
    latency_s=optional(st.floats(0, 1e6)),
    input_tokens=optional(COUNT),
    hallucinated=optional(st.booleans()),
    logprob_mean=optional(FINITE),
    token_ids=optional(st.lists(st.integers(-(2**63), 2**63), max_size=5)),
    features=st.dictionaries(TEXT, FINITE | TEXT, max_size=3),
)
MESSAGES = {
    "telemetry": TELEMETRY,
    "control": st.builds(
        ControlRecord,
        scope=TEXT.filter(bool),
        route=TEXT.filter(bool),
        state=st.sampled_from(["active", "inactive"]),
        modes=st.lists(TEXT, max_size=3),
        fallbacks=st.dictionaries(TEXT, st.lists(TEXT, max_size=3), max_size=3),
        primary_share=st.floats(0, 1),
        epoch=COUNT,
        revision=COUNT,
        issued_at=TIME,
        damped_until=optional(FINITE),
    ),
    "owner": st.builds(OwnerRecord, partition=COUNT, owner=TEXT.filter(bool), epoch=COUNT, issued_at=TIME),
    "override": st.builds(
        Override,
        scope=TEXT.filter(bool),
        state=st.sampled_from(["active", "inactive"]),
        until=TIME,
        issued_at=TIME,
        reason=TEXT,
    ),
    "ack": st.builds(
        Ack,
        gateway=TEXT.filter(bool),
        scope=TEXT.filter(bool),
        epoch=COUNT,
        revision=COUNT,
        event_id=TEXT,
        received_at=TIME,
        applied_at=TIME,
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
@given(data=st.data())
def test_what_is_encoded_comes_back(name, data):
    """decode(encode(record)) == record."""
    message = data.draw(MESSAGES[name])

    assert DECODERS[name](encode(message)) == message


@pytest.mark.parametrize(
    ("fault", "path"),
    [
        pytest.param({"latency_s": -0.001}, "$.latency_s", id="negative duration"),
        pytest.param({"input_tokens": -1}, "$.input_tokens", id="negative count"),
        pytest.param({"input_tokens": 3.5}, "$.input_tokens", id="half a token"),
        pytest.param({"batch_size": -1}, "$.batch_size", id="negative amount"),
        pytest.param({"latency_s": "0.2"}, "$.latency_s", id="number as text"),
        pytest.param({"probe": 1}, "$.probe", id="bool as number"),
        pytest.param({"hallucinated": "yes"}, "$.hallucinated", id="bool as text"),
        pytest.param({"route": ""}, "$.route", id="empty route"),
        pytest.param({"route": "r" * 201}, "$.route", id="over-long route"),
        pytest.param({"model": "m" * 201}, "$.model", id="over-long label"),
        pytest.param({"route": None}, "$.route", id="null where something is required"),
        pytest.param({"event_time": 1_700_000_000_000}, "$.event_time", id="milliseconds"),
        pytest.param({"event_time": 946_684_799}, "$.event_time", id="1999"),
        pytest.param({"event_time": 4_102_444_800}, "$.event_time", id="2100"),
        pytest.param({"event_time": True}, "$.event_time", id="time as bool"),
        pytest.param({"token_ids": [1, "two"]}, "$.token_ids[1]", id="in a list"),
        pytest.param({"token_ids": [0] * 4097}, "$.token_ids", id="over-long list"),
        pytest.param({"features": {"b": 1, "a": [1], "c": 2}}, "$.features.a", id="in an object"),
        pytest.param({"features": {"f" * 201: 1}}, "$.features", id="over-long name of a feature"),
        pytest.param({"features": [1]}, "$.features", id="list for an object"),
    ],
)
def test_a_fault_is_named_by_its_path(fault, path):
    """A field of the wrong type or range is refused, and the error says which field."""
    with pytest.raises(DecodeError) as caught:
        decode_telemetry(json.dumps(BASE | fault).encode())

    assert caught.value.path == path
    assert path in str(caught.value)
    assert caught.value.expected


@pytest.mark.parametrize(
    ("time", "says"),
    [
        (1_700_000_000_000, ": 1700000000000 is probably in milliseconds"),
        (1_700_000_000_000.5, ": 1700000000000.5 is probably in milliseconds"),
        (1_700_000_000_000_000, ": 1700000000000000 is probably in microseconds"),
        (1_700_000_000_000_000_000, ": 1700000000000000000 is probably in nanoseconds"),
        (946_684_799, ""),
        (-5, ""),
        (10**30, ""),
    ],
)
@pytest.mark.parametrize("field", ["event_time", "call_time"])
def test_a_time_in_another_unit_is_told_of(field, time, says):
    """What a producer's author has to know is not the limit."""
    with pytest.raises(DecodeError) as caught:
        decode_evaluation(json.dumps(BASE | {"name": "judge", field: time}).encode())

    assert caught.value.path == f"$.{field}"
    assert caught.value.expected == "no Unix time in seconds of the years 2000 to 2100" + says


def test_a_wrong_time_of_a_long_record_costs_no_more_than_others():
    """Its unit is not looked for."""
    with pytest.raises(DecodeError) as caught:
        decode_telemetry(json.dumps(BASE | {"event_time": 1.7e12, "unknown": "x" * 100_000}).encode())

    assert caught.value.expected == "no Unix time in seconds of the years 2000 to 2100"


@pytest.mark.parametrize("field", ["latency_s", "logprob_mean", "clock_ratio"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + 400 * "0"])
def test_numbers_that_are_not_finite_are_refused(field, number):
    """No record holds NaN or an infinity, however it is spelt."""
    data = b'{"event_time":1700000000,"route":"chat","%s":%s}' % (field.encode(), number.encode())

    with pytest.raises(DecodeError) as caught:
        decode_telemetry(data)

    assert caught.value.path == f"$.{field}"


@given(
    st.dictionaries(TEXT, st.sampled_from([1, "a", [], {}, None, float("nan")]), max_size=6),
    st.sampled_from(["", ',"x":NaN', ',"x":1e400', ',"x":', ',"features":{"g":NaN}', ',"\\ud800":NaN']),
)
def test_whatever_is_wrong_with_features_the_decoder_explains_it(features, behind):
    """A good one first, a bad one after it, no JSON behind them: a `DecodeError` with a path to show."""
    data = f'{{"event_time":1700000000,"route":"c","features":{json.dumps(features)}{behind}}}'.encode()
    path = "$"
    try:
        decode_telemetry(data)
    except DecodeError as error:
        path = error.path

    assert path.startswith("$")
    assert path.encode()


@pytest.mark.parametrize(
    "data",
    [
        b'{"x":NaN,"%s":[%s0]}' % (b"k" * 30_000, b"0," * 15_000),
        b'{"event_time":1700000000,"route":"c","features":{%s"z":[]},"x":"%s"}'
        % (b"".join(b'"f%d":1,' % i for i in range(250)), b"y" * 800_000),
        b'{"x":NaN,"y":[%s0]}' % (b"0," * 400_000),
    ],
    ids=["a long key", "many features", "a long list"],
)
def test_to_explain_a_fault_costs_no_more_than_the_record_did(data):
    """Memory stays within some times the record; what is too long is not looked at."""
    tracemalloc.start()
    with pytest.raises(DecodeError) as caught:
        decode_telemetry(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 20_000_000
    assert len(caught.value.path) < 400


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b'{"event_time":1700000000,"route":"c","features":{"good":1,"a":[]},"x":NaN}', "$.features.a"),
        (b'{"event_time":1700000000,"route":"c","token_ids":[1,NaN]}', "$.token_ids[1]"),
        (b'{"event_time":1700000000,"route":"c","features":{"a":1,"b":-Infinity}}', "$.features.b"),
        (b'{"event_time":1700000000,"route":"c","features":{"a":1,"b":-1e999}}', "$.features.b"),
        (b'{"event_time":1700000000,"route":"c","features":{"a":[1],', "$.features[...]"),
        (b'{"event_time":1700000000,"route":"c","latency_s":NaN', "$"),
    ],
)
def test_the_path_reaches_into_lists_and_objects_as_far_as_the_document_can_be_read(data, path):
    with pytest.raises(DecodeError) as caught:
        decode_telemetry(data)

    assert caught.value.path == path


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(None, id="tombstone"),
        pytest.param(b"", id="empty"),
        pytest.param(b'{"event_time":1700000000,"ro', id="truncated"),
        pytest.param(b'{"event_time":1700000000,"route":"ch\xffat"}', id="not UTF-8"),
        pytest.param(b'{"event_time":1700000000,"route":"\\ud800"}', id="half a surrogate pair"),
        pytest.param('{"event_time":1700000000,"route":"chat"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"event_time":1700000000,"route":"c","x":' + b"[" * 200_000, id="nested lists"),
        pytest.param(b'{"x":' * 200_000, id="nested objects"),
        pytest.param(b'{"event_time":1700000000}', id="no route"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"event_time":1700000000,"route":"chat"} tail', id="something behind"),
        pytest.param(b"PK\x03\x04" + bytes(1000), id="binary"),
    ],
)
def test_a_document_that_is_no_record_is_refused_as_a_whole(data):
    """Bytes that are no JSON object of this kind give a DecodeError at `$`."""
    with pytest.raises(DecodeError) as caught:
        decode_telemetry(data)

    assert caught.value.path == "$"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("name", DECODERS)
@given(
    data=st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from([*BASE, "scope", "epoch", "owner", "features", "state"]), JSON).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_nothing_but_decode_error_comes_out(name, data):
    """Whatever the bytes, a decoder returns a record or raises DecodeError."""
    try:
        found = DECODERS[name](data)
    except DecodeError:
        return
    assert isinstance(found, RECORDS[name])


@given(cut=st.integers(0, 200), noise=st.binary(max_size=4), at=st.integers(0, 200))
def test_a_damaged_record_is_refused_or_still_a_record(cut, noise, at):
    """Cutting a good record or overwriting bytes of it never raises anything but DecodeError."""
    good = bytearray(encode(record(latency_s=0.1, features={"größe": 1.5}, model="m")))
    good[at : at + len(noise)] = noise
    try:
        found = decode_telemetry(bytes(good[: cut or None]))
    except DecodeError:
        return
    assert found.latency_s is None or (found.latency_s >= 0 and math.isfinite(found.latency_s))


@given(extra=st.dictionaries(TEXT.map(lambda name: f"new_{name}"), JSON, max_size=3))
def test_unknown_fields_are_skipped(extra):
    """A record of a newer writer decodes to what this version knows of it."""
    assert decode_telemetry(json.dumps(BASE | extra).encode()) == decode_telemetry(json.dumps(BASE).encode())


def test_a_missing_field_is_not_measured():
    """An optional field that is absent is None, never zero."""
    found = decode_telemetry(json.dumps(BASE).encode())

    assert found.latency_s is found.input_tokens is found.hallucinated is found.golden_ok is None
    assert (found.served_by, found.input_class, found.probe) == ("primary", "default", False)


def test_a_verdict_may_lack_score_and_time_of_call():
    """An evaluation needs its own time, its route and its name, nothing else."""
    found = decode_evaluation(json.dumps(BASE | {"name": "hallucination"}).encode())

    assert (found.failed, found.score, found.call_time) == (None, None, None)


@pytest.mark.parametrize(
    ("key", "message", "path"),
    [
        pytest.param(None, OwnerRecord(partition=1, owner="w", epoch=1, issued_at=1.7e9), "key", id="no key"),
        pytest.param(
            owner_key(2),
            OwnerRecord(partition=1, owner="w", epoch=1, issued_at=1.7e9),
            "$.partition",
            id="owner",
        ),
        pytest.param(
            b"code",
            ControlRecord(scope="chat", route="chat", state="active", issued_at=1.7e9),
            "$.scope",
            id="scope",
        ),
    ],
)
def test_a_control_record_stands_under_its_own_key(key, message, path):
    """A record under another key than its own is refused: compaction would keep it for that key."""
    with pytest.raises(DecodeError) as caught:
        decode_control_message(key, encode(message))

    assert caught.value.path == path


def test_the_key_tells_owners_from_scopes():
    """A control message decodes to the kind of record that its key announces."""
    owner = OwnerRecord(partition=3, owner="w", epoch=7, issued_at=1.7e9)
    scope = ControlRecord(scope="chat", route="chat", state="active", issued_at=1.7e9)

    assert decode_control_message(owner_key(3), encode(owner)) == owner
    assert decode_control_message(b"chat", encode(scope)) == scope


FIELDS = {
    "event_time": [0, 1_700_000_000, 1.7e9, 1.7e12, 4_102_444_800, 946_684_800, "now", None],
    "route": ["chat", "", "r" * 200, "r" * 201, "ü" * 200, 5],
    "latency_s": [0, 0.5, -1, 10**20, "fast", None, True],
    "input_tokens": [0, 7, -1, 2**53, 2**53 + 1, "7", None, False],
    "probe": [True, False, 0, None, "true"],
    "hallucinated": [True, None, "no", 1],
    "token_ids": [[], [1, -5], [1, "2"], None, [0] * 4096, [0] * 4097, {}],
    "features": [{}, {"a": 1}, {"a": "b"}, {"a": None}, {"a": True}, {"a": [1]}, {"f" * 201: 1}, None, []],
    "served_by": ["primary", "", None, "s" * 201],
    "surprise": [1, None, {}],
}


@given(data=st.data())
def test_the_schema_says_what_the_decoder_does(data):
    """A document is valid by the JSON Schema exactly if it decodes."""
    names = data.draw(st.sets(st.sampled_from(sorted(FIELDS))))
    document = BASE | {name: data.draw(st.sampled_from(FIELDS[name])) for name in sorted(names)}
    valid = Draft202012Validator(json_schema("telemetry")).is_valid(document)

    if valid:
        decode_telemetry(json.dumps(document).encode())
    else:
        with pytest.raises(DecodeError):
            decode_telemetry(json.dumps(document).encode())


@pytest.mark.parametrize("name", MESSAGES)
@given(data=st.data())
def test_what_is_sent_is_valid_by_the_schema(name, data):
    """Every record that can be encoded is valid by its own JSON Schema."""
    message = data.draw(MESSAGES[name])

    Draft202012Validator(json_schema(name)).validate(msgspec.json.decode(encode(message)))


@pytest.mark.parametrize("name", RECORDS)
def test_schemas_are_schemas(name):
    """Each JSON Schema is valid by its meta-schema."""
    Draft202012Validator.check_schema(json_schema(name))


@pytest.mark.parametrize(
    "data", [b'{"a": NaN}', b'{"fallbacks": {"*": 1}}', b"{", b"\xff", None, b"[" * 5000]
)
def test_a_decoder_that_explains_nothing_refuses_the_same(data):
    """With the fault that is found at once; what takes a search is left out."""
    with pytest.raises(DecodeError):
        decoder(ControlRecord, explain=False)(data)


def test_what_is_no_control_record_is_not_searched_by_a_reader(monkeypatch):
    """A gateway judges calls in the loop that reads them: a flood of garbage must cost it little."""
    monkeypatch.setattr("topics.codec._document", lambda _: pytest.fail("searched"))

    for value in (b'{"x": [' + b"1," * 1000 + b"NaN]}", b'{"fallbacks": {"a": 1}}'):
        with pytest.raises(DecodeError):
            decode_control_message(b"chat", value)
        with pytest.raises(DecodeError):
            decode_control_message(b"owner/1", value)


@given(offset=st.integers(0, 2**40 - 2))
def test_whatever_number_a_message_carries_there_is_room_for_the_next(offset):
    """For all that can be under way at once; no clock comes near, and readers of JSON keep every digit."""
    assert most_counted(offset + 1) - most_counted(offset) >= 4096
    assert 1000 * 1000 * 4_102_444_800 < most_counted(offset) <= MOST_COUNT
