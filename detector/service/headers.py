"""Headers of messages that librdkafka has read."""

from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import Message


def headers_of(messages: Sequence[Message]) -> Iterator[Any]:
    """Those of each message, `()` where it has none or one of them has a name that is no text.

    In that case the library returns what must not be touched, with its error pending. The interpreter calls
    methods without a look at that; `map` looks, and goes on with the next one.
    """
    found = map(Message.headers, messages)
    for _ in messages:
        try:
            yield next(found) or ()
        except (UnicodeDecodeError, SystemError):
            yield ()
