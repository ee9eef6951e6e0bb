"""A dead letter keeps what it can of the original, and fits."""

from hypothesis import given
from hypothesis import strategies as st

from topics.deadletter import PREFIX, DeadLetter

SIZES = st.integers(0, 3000)
BYTES = SIZES.map(lambda n: bytes(i % 256 for i in range(n)))
HEADERS = st.lists(st.tuples(st.text(max_size=20), st.none() | BYTES), max_size=120).map(tuple)
MARK = (PREFIX + "truncated", b"true")


def letter(key=b"chat", value=b"{", headers=(), message="Input data was truncated", path="$"):
    return DeadLetter(
        key=key,
        value=value,
        headers=headers,
        exception="DecodeError",
        message=message,
        path=path,
        topic="llm.telemetry",
        partition=3,
        offset=42,
        stage="decode",
        timestamp=1_700_000_000_000,
    )


def size(key, value, headers):
    return len(key or b"") + len(value or b"") + sum(len(n.encode()) + len(v or b"") for n, v in headers)


@given(key=st.none() | BYTES, value=st.none() | BYTES, headers=HEADERS)
def test_what_fits_is_kept_and_what_does_not_is_cut_and_marked(key, value, headers):
    """A message is never larger than allowed, and marked exactly if something is missing."""
    made = letter(key, value, headers).message_parts(2000)
    kept = [each for each in made[2] if not each[0].startswith(PREFIX)]
    whole = made[0] == key and made[1] == value and kept == list(headers)

    assert size(*made) <= 2000
    assert (MARK in made[2]) == (not whole)
    assert (made[0] or b"") == (key or b"")[: len(made[0] or b"")]
    assert (made[1] or b"") == (value or b"")[: len(made[1] or b"")]


def test_the_headers_tell_where_it_came_from_and_what_was_wrong():
    """Exception, message, path, topic, partition, offset, stage and timestamp are all there."""
    _, value, headers = letter(headers=(("trace", b"1"),)).message_parts(1_000_000)
    told = dict(headers)

    assert value == b"{"
    assert told["trace"] == b"1"
    assert {name.removeprefix(PREFIX): told[name] for name in told if name.startswith(PREFIX)} == {
        "exception": b"DecodeError",
        "message": b"Input data was truncated",
        "path": b"$",
        "topic": b"llm.telemetry",
        "partition": b"3",
        "offset": b"42",
        "stage": b"decode",
        "timestamp": b"1700000000000",
    }


def test_a_small_limit_still_gives_a_letter():
    """Even where the details alone fill the message, they are what is kept."""
    key, value, headers = letter(b"k" * 500, b"v" * 500, message="m" * 5000, path="p" * 5000).message_parts(
        1000
    )

    assert (key, value) == (b"", b"")
    assert MARK in headers


def test_what_the_sender_says_under_our_names_is_not_taken_for_ours():
    """A dead letter that was sent again tells what is wrong with it now, whichever header is read first."""
    sent = ((PREFIX + "path", b"$.mine"), ("trace", b"1"), (PREFIX + "other", b"2"))
    _, _, headers = letter(headers=sent, path="$.latency_s").message_parts(1_000_000)

    assert [value for name, value in headers if name == PREFIX + "path"] == [b"$.latency_s"]
    assert headers[:2] == [("trace", b"1"), (PREFIX + "other", b"2")]
    assert MARK not in headers
