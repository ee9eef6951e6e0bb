"""What a partition cannot judge: dead letters, and records that belong to another partition.

Both are sent, and a commit waits until they are acknowledged.
"""

from functools import partial
from math import inf
from typing import Any

from detector.service.decode import ORIGIN_HEADER
from detector.service.logs import logger
from detector.service.outbox import Headers, Outbox
from topics.deadletter import DeadLetter
from topics.errors import DecodeError

_REMEDY = (
    "producers must give the route as the key and partition by it as Java's client does "
    "(librdkafka: partitioner=murmur2_random)"
)
_WARN_SHARE = 0.01
_WARN_AFTER = 1000
_TELL_EVERY_S = 10.0


class Refused:
    """Sends dead letters and re-keyed records of all partitions; remembers which are under way."""

    def __init__(self, outbox: Outbox, *, deadletter: str, inputs: dict[str, str], max_bytes: int) -> None:
        """Args: `inputs`: input name to topic; `max_bytes`: what the dead-letter topic takes at once."""
        self._outbox = outbox
        self._deadletter = deadletter
        self._inputs = inputs
        self._max_bytes = max_bytes
        self._pending: dict[tuple[int, str], dict[int, None]] = {}
        self._log = logger(part="refused")
        self._seen = 0
        self._rekeyed = 0
        self._dead = 0  # since it was told
        self._told_at = -inf

    def topic(self, name: str) -> str:
        """Topic of an input."""
        return self._inputs[name]

    def dead_letter(
        self, partition: int, name: str, raw: Any, error: DecodeError, now: float, *, stage: str = "decode"
    ) -> None:
        """Send a record that is none to the dead letters, with where it came from and what was wrong."""
        letter = DeadLetter(
            key=raw.key,
            value=raw.value,
            headers=tuple(raw.headers),
            exception=type(error).__name__,
            message=error.expected,
            path=error.path,
            topic=self._inputs[name],
            partition=partition,
            offset=raw.offset,
            stage=stage,
            timestamp=int(now * 1000),
        )
        self._dead += 1
        if now - self._told_at >= _TELL_EVERY_S:
            self._log.warning(
                "dead_letters",
                records=self._dead,
                topic=letter.topic,
                partition=partition,
                offset=raw.offset,
                path=error.path,
                expected=error.expected,
            )
            self._dead, self._told_at = 0, now
        key, value, headers = letter.message_parts(self._max_bytes)
        if key is None and value is None:
            value = b""  # the client sends no message without either
        self._send(partition, name, raw.offset, self._deadletter, key, value, headers, None)

    def rekey(self, partition: int, name: str, raw: Any, route: str, home: int) -> None:
        """Send a record to the partition that its route belongs to, saying where it came from."""
        origin = f"{self._inputs[name]}/{partition}/{raw.offset}".encode()
        headers = [*raw.headers, (ORIGIN_HEADER, origin)]
        self._rekeyed += 1
        self._send(partition, name, raw.offset, self._inputs[name], route.encode(), raw.value, headers, home)

    def saw(self, records: int) -> None:
        """So many records came in; above 1 % on the wrong partition a warning names the remedy."""
        self._seen += records
        if self._seen >= _WARN_AFTER:
            share = self._rekeyed / self._seen
            if share > _WARN_SHARE:
                self._log.warning("records_on_wrong_partition", share=round(share, 4), remedy=_REMEDY)
            self._seen = self._rekeyed = 0

    def first_pending(self, partition: int, name: str, otherwise: int) -> int:
        """Least offset of a record that is sent and not acknowledged."""
        pending = self._pending.get((partition, name))
        return next(iter(pending)) if pending else otherwise

    def forget(self, partition: int) -> None:
        """The partition is another worker's: it will meet the same records."""
        for key in [key for key in self._pending if key[0] == partition]:
            del self._pending[key]

    def _send(
        self,
        partition: int,
        name: str,
        offset: int,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        to: int | None,
    ) -> None:
        pending = self._pending.setdefault((partition, name), {})
        pending[offset] = None
        self._outbox.send(
            topic,
            key,
            value,
            headers,
            partition=to,
            lane=("refused", partition),
            on_ack=partial(pending.pop, offset, None),
        )
