"""The process between its parts, without a broker."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from detector.service.otlp import run as module
from detector.service.otlp.normalise import SPANS, Received
from detector.service.otlp.reader import Fetched
from detector.service.otlp.run import Inputs, OtlpService
from detector.service.settings import Settings

READ = Received(SPANS, "s", 0, 0, None, None)


def service() -> OtlpService:
    return OtlpService(Settings(), Inputs(spans="s", logs="l", encoding="otlp_proto"))


async def test_what_the_broker_will_never_take_is_exported() -> None:
    made = service()
    made._outbox.refused = 3

    assert b'detector_outbox_refused_messages_total{outbox="otlp"} 3.0' in made._metrics()


@pytest.mark.parametrize(("messages", "failures"), [([], 4), ([READ], 0)])
async def test_only_what_is_read_ends_a_row_of_failures(
    monkeypatch: pytest.MonkeyPatch, messages: list[Received], failures: int
) -> None:
    """The first failure after days of reading is tried again at once, not after the longest wait."""
    looks = iter([messages])

    class Reader:
        assigned = behind = frozenset[Any]()

        def __init__(self, *_: Any, **__: Any) -> None: ...

        async def fetch(self) -> Fetched:
            for found in looks:
                return Fetched([], found)
            raise KafkaException(KafkaError(KafkaError._FATAL))

        def commit(self, _: Any) -> None: ...

        async def close(self, _: Any) -> None:
            await asyncio.sleep(0)

    monkeypatch.setattr(module, "Reader", Reader)
    made = service()
    made._failures = 4
    nothing: Any = SimpleNamespace(**dict.fromkeys(("take", "forget", "expire"), lambda *_, **__: None))

    with pytest.raises(KafkaException):
        await made._read(nothing)

    assert made._failures == failures
