"""Control messages are CloudEvents in Kafka's binary mode, by the word of the CloudEvents SDK."""

import json

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from topics.cloudevents import (
    ACTIVATED,
    OWNER,
    control_headers,
    id_of,
    owner_headers,
    tombstone_headers,
)
from topics.codec import encode
from topics.control import ControlRecord, OwnerRecord, owner_key
from topics.errors import DecodeError
from topics.types import MOST_COUNT

RECORD = ControlRecord(
    scope="chat@gpu-1", route="chat", state="active", epoch=7, revision=3, issued_at=1_700_000_000
)
SCOPES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def test_the_sdk_reads_an_activation():
    """Type, source, id, subject, time and data of a scope's record arrive at the SDK as they were sent."""
    headers = control_headers(RECORD, ACTIVATED)
    event = from_binary(KafkaMessage(dict(headers), b"chat@gpu-1", encode(RECORD)), JSONFormat())

    assert event.get_specversion() == "1.0"
    assert event.get_type() == "detector.fallback.activated.v1"
    assert event.get_source() == "/detector"
    assert event.get_id() == "chat@gpu-1/7/3"
    assert event.get_subject() == "chat@gpu-1"
    assert event.get_time().isoformat() == "2023-11-14T22:13:20+00:00"
    assert event.get_data() == json.loads(encode(RECORD))


def test_the_sdk_reads_a_heartbeat():
    """An owner's record is an event of its own type, whose id names partition and epoch."""
    record = OwnerRecord(partition=4, owner="w-1", epoch=9, issued_at=1_700_000_000)
    event = from_binary(KafkaMessage(dict(owner_headers(record)), owner_key(4), encode(record)), JSONFormat())

    assert (event.get_type(), event.get_id()) == (OWNER, "owner/4/9/0")
    assert event.get_time().timestamp() == record.issued_at
    assert event.get_data() == json.loads(encode(record))


@given(scope=SCOPES, epoch=st.integers(0, MOST_COUNT), revision=st.integers(0, MOST_COUNT))
def test_a_tombstone_still_tells_its_epoch(scope, epoch, revision):
    """Scope, epoch and revision are read back from the headers alone, slashes in the scope included."""
    assert id_of(tombstone_headers(scope, epoch, revision)) == (scope, epoch, revision)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"chat",
        b"chat/1",
        b"/1/2",
        b"chat/x/2",
        b"chat/1/-2",
        b"chat/1/",
        b"\xff/1",
        b"chat/1/" + b"9" * 5000,
        b"chat/9007199254740993/1",
        b"chat/1/9007199254740993",
        None,
    ],
)
def test_an_id_of_another_form_is_refused(value):
    """Headers without scope/epoch/revision give a DecodeError."""
    with pytest.raises(DecodeError):
        id_of([("ce_id", value)])


@given(headers=st.lists(st.tuples(st.sampled_from(["ce_id", "other"]), st.none() | st.binary()), max_size=3))
def test_reading_an_id_raises_nothing_but_decode_error(headers):
    """Whatever the headers, an id comes out or a DecodeError."""
    try:
        subject, epoch, revision = id_of(headers)
    except DecodeError:
        return
    assert subject
    assert min(epoch, revision) >= 0
