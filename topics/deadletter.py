"""Dead letters: the original bytes and headers, plus where they came from and what was wrong.

The suffixes follow Kafka Streams' dead-letter headers (KIP-1034).
"""

from dataclasses import dataclass

PREFIX = "detector.errors."


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that could not be used. `stage`: `decode`, `join`, `rekey`, `judge`; `timestamp`: Unix ms."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    exception: str
    message: str
    path: str
    topic: str
    partition: int
    offset: int
    stage: str
    timestamp: int

    def message_parts(
        self, max_bytes: int
    ) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]:
        """Return (key, value, headers) to produce, cut to `max_bytes` in all.

        A value, key or header that does not fit is cut or left out, and the message is then marked
        `detector.errors.truncated`. What the sender says under our names is left out: where a dead letter was
        sent again it is what was wrong the last time.
        """
        details: list[tuple[str, bytes]] = [
            (PREFIX + name, str(getattr(self, name)).encode("utf-8", "replace")[:2000])
            for name in ("exception", "message", "path", "topic", "partition", "offset", "stage", "timestamp")
        ]
        truncated, ours = False, {name for name, _ in details}
        mark = (PREFIX + "truncated", b"true")
        left = max(0, max_bytes - sum(len(name) + len(value) for name, value in (*details, mark)))
        key = self.key
        if key is not None and len(key) > left // 2:
            key, truncated = key[: left // 2], True
        left -= len(key or b"")
        kept: list[tuple[str, bytes | None]] = []
        for name, value in self.headers:
            if name in ours:
                continue
            size = len(name.encode("utf-8", "replace")) + len(value or b"")
            if size > left // 2 or len(kept) >= 100:
                truncated = True
                continue
            kept.append((name, value))
            left -= size
        body = self.value
        if body is not None and len(body) > left:
            body, truncated = body[:left], True
        if truncated:
            details.append(mark)
        return key, body, kept + details
