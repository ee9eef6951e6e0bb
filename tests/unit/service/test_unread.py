"""What the control and override topics hold that is no record: no order vanishes without a word."""

import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from detector.contract.model import Contract
from detector.service.controlfeed import Read
from detector.service.health import render_metrics
from detector.service.settings import Settings
from detector.service.shell import Shell
from detector.service.topics_admin import Cluster
from detector.service.unread import Unread
from topics.codec import encode
from topics.control import ControlRecord, Override, OwnerRecord, most_counted
from topics.errors import DecodeError
from topics.names import topics

CONTROL, OVERRIDES = topics().control.name, topics().overrides.name
ORDER = encode(Override(scope="chat", state="active", until=4e9, issued_at=1.7e9))
AHEAD = ControlRecord(
    scope="chat", route="chat", state="active", epoch=most_counted(0) + 1, issued_at=time.time()
)


def _shell() -> Shell:
    return Shell(Settings(), Contract(), Cluster(1, 1_000_000), owner_id="w")


def _told(shell: Shell, *reads: Read) -> list[Any]:
    with capture_logs() as logs:
        shell.desk.on_read(list(reads))
    return [each for each in logs if each["event"] == "unreadable_message"]


@pytest.mark.parametrize(
    ("topic", "key", "value", "path"),
    [
        pytest.param(OVERRIDES, b"chat", b"{}", "$", id="order without fields"),
        pytest.param(OVERRIDES, b"chat", ORDER.replace(b"active", b"on"), "$.state", id="no state"),
        pytest.param(OVERRIDES, b"mail", ORDER, "$.scope", id="order under another key"),
        pytest.param(OVERRIDES, b"a@b@c", ORDER.replace(b"chat", b"a@b@c"), "$.scope", id="no scope"),
        pytest.param(OVERRIDES, b"\xff", ORDER, "key", id="key is no text"),
        pytest.param(OVERRIDES, None, ORDER, "$.scope", id="order without a key"),
        pytest.param(CONTROL, b"chat", b"{", "$", id="control record that is none"),
        pytest.param(CONTROL, b"chat", encode(AHEAD), "$.epoch", id="epoch that nobody counted up to"),
        pytest.param(CONTROL, b"owner/1", b"", "$", id="owner record that is none"),
    ],
)
def test_a_message_that_is_no_record_is_counted_and_warned_of_once(
    topic: str, key: bytes | None, value: bytes, path: str
) -> None:
    """With the reason; reading the topic again adds nothing, a topic made anew does."""
    shell, read = _shell(), Read(topic, 0, key, value, ())

    (told,) = _told(shell, read)
    assert (told["log_level"], told["topic"], told["path"]) == ("warning", topic, path)
    assert told["offset"] == 0
    assert told["expected"]
    assert f'detector_unreadable_messages_total{{topic="{topic}"}} 1.0' in render_metrics(shell).decode()

    shell.desk.on_read_again(False)
    assert _told(shell, read) == []
    assert shell.desk.unread.counts[topic] == 1
    shell.desk.on_read_again(True)
    assert len(_told(shell, read)) == 1


def test_records_and_orders_are_not_told_of() -> None:
    """Nor what takes back an order that nobody gave."""
    owner = OwnerRecord(partition=1, owner="w9", epoch=1, issued_at=time.time())
    reads = [
        Read(OVERRIDES, 0, b"chat", ORDER, ()),
        Read(OVERRIDES, 1, b"chat", None, ()),
        Read(OVERRIDES, 2, b"mail", None, ()),
        Read(CONTROL, 0, b"owner/1", encode(owner), ()),
    ]
    shell = _shell()

    assert _told(shell, *reads) == []
    assert shell.desk.unread.counts == {CONTROL: 0, OVERRIDES: 0}


def test_a_flood_is_counted_whole_and_told_of_in_part() -> None:
    """Twenty lines in ten seconds; the next one says how many were left out."""
    unread, error = Unread(CONTROL), DecodeError("$", "expected more")
    with capture_logs() as logs:
        for offset in range(50):
            unread.met(Read(CONTROL, offset, b"k" * 5000, b"", ()), error, now=1.0)
        unread.met(Read(CONTROL, 50, b"k", b"", ()), error, now=11.0)

    assert unread.counts == {CONTROL: 51}
    assert (len(logs), logs[-1]["untold_before"]) == (21, 30)
    assert len(logs[0]["key"]) == 200
