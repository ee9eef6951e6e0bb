"""What a partition cannot judge is told of, and not with every record."""

from types import SimpleNamespace

import structlog

from detector.service.refused import Refused
from topics.errors import DecodeError


def test_dead_letters_are_told_of_at_once_and_then_every_ten_seconds() -> None:
    """With the place of the last one, the path in it, and how many there have been since."""
    sent: list[str] = []
    box = SimpleNamespace(send=lambda topic, *rest, **more: sent.append(topic))
    refused = Refused(box, deadletter="dead", inputs={"telemetry": "llm.telemetry"}, max_bytes=1000)  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as said:
        for i in range(300):
            raw = SimpleNamespace(key=b"k", value=b"v", headers=(), offset=i)
            error = DecodeError("$.error", "expected str, got null")
            refused.dead_letter(3, "telemetry", raw, error, 1000.0 + i / 10)

    assert len(sent) == 300
    assert [(each["records"], each["offset"]) for each in said] == [(1, 0), (100, 100), (100, 200)]
    assert {(each["event"], each["path"], each["partition"]) for each in said} == {
        ("dead_letters", "$.error", 3)
    }
