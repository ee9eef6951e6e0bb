"""An outbox on a producer that a test answers for: order, failures, and what is never taken."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from detector.service import carrier
from detector.service.outbox import Outbox
from tests.integration.kit import until

Answer = Callable[[KafkaError | None, object], object]


class Producer:
    """Keeps what it is given, up to `room`; a value `huge` it does not take at all."""

    made: list["Producer"]
    room = 100

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.given: list[tuple[bytes, Answer]] = []
        self.purged = False
        self.made.append(self)

    def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Answer, **_: Any) -> None:
        if value == b"huge":
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        if len(self.given) >= self.room:
            raise BufferError
        self.given.append((key, on_delivery))

    def answer(self, error: int | None = None) -> bytes:
        """Say what became of the first message that waits."""
        key, told = self.given.pop(0)
        told(None if error is None else KafkaError(error), None)
        return key

    def poll(self, _: float) -> int:
        return 0

    def purge(self, **_: Any) -> None:
        self.purged = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Producer]:
    """The producers made, in their order."""
    monkeypatch.setattr(Producer, "made", [], raising=False)
    monkeypatch.setattr(carrier, "Producer", Producer)
    # Nobody polls: the answers come from the test.
    monkeypatch.setattr(carrier.Carrier, "_poll", lambda self, producer: None)
    return Producer.made


async def begun(made: list[Producer]) -> Outbox:
    box = Outbox({"bootstrap.servers": "b:1"}, name="o")
    box.start(lambda task: None)
    await asyncio.sleep(0)
    assert len(made) == 1
    return box


async def test_a_message_is_handed_over_before_send_returns(made: list[Producer]) -> None:
    """A decision does not wait for the loop to turn."""
    box = await begun(made)
    box.send("t", b"a", b"v", [])

    assert [key for key, _ in made[0].given] == [b"a"]
    assert made[0].options["enable.idempotence"]
    assert made[0].options["acks"] == "all"


async def test_after_a_failure_all_that_is_unanswered_is_sent_again_in_order(made: list[Producer]) -> None:
    """The old producer is told to send nothing more."""
    box, acked = await begun(made), []
    for key in (b"a", b"b", b"c"):
        box.send("t", key, b"v", [], on_ack=lambda key=key: acked.append(key))
    made[0].answer()
    made[0].answer(KafkaError._MSG_TIMED_OUT)
    await until(lambda: len(made) == 2)
    box.send("t", b"d", b"v", [])
    await asyncio.sleep(0)

    assert made[0].purged
    assert acked == [b"a"]
    assert [key for key, _ in made[1].given] == [b"b", b"c", b"d"]
    while made[1].given:
        made[1].answer()
    await asyncio.wait_for(box.acked(box.last), 5)
    assert acked == [b"a", b"b", b"c"]
    assert box.under_way == 0


async def test_a_late_answer_of_the_old_producer_harms_nothing(made: list[Producer]) -> None:
    """Its failure is no failure of the new one."""
    box = await begun(made)
    box.send("t", b"a", b"v", [])
    box.send("t", b"b", b"v", [])
    made[0].answer(KafkaError._MSG_TIMED_OUT)
    await until(lambda: len(made) == 2)
    made[0].answer(KafkaError._PURGE_QUEUE)
    await asyncio.sleep(0.01)

    assert len(made) == 2
    assert not made[1].purged
    assert [made[1].answer(), made[1].answer()] == [b"a", b"b"]
    await asyncio.wait_for(box.acked(box.last), 5)


@pytest.mark.parametrize("by_the_broker", [False, True])
async def test_what_is_too_large_is_told_and_holds_up_nothing(
    made: list[Producer], *, by_the_broker: bool
) -> None:
    """Whether the library refuses it at once or the broker does."""
    box, told = await begun(made), []
    value = b"v" if by_the_broker else b"huge"
    box.send("t", b"a", value, [], on_ack=lambda: told.append("acked"), on_refused=lambda: told.append("no"))
    box.send("t", b"b", b"v", [], on_ack=lambda: told.append("acked"))
    if by_the_broker:
        made[0].answer(KafkaError.MSG_SIZE_TOO_LARGE)  # of the batch, perhaps
        await until(lambda: len(made) == 2)
        assert made[1].options["batch.num.messages"] == 1
        made[1].answer(KafkaError.MSG_SIZE_TOO_LARGE)
    made[-1].answer()
    await asyncio.wait_for(box.acked(box.last), 5)

    assert told == ["no", "acked"]
    assert box.refused == 1


async def test_where_the_library_has_no_room_a_message_waits(
    made: list[Producer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It follows when another one is answered, behind those before it."""
    monkeypatch.setattr(Producer, "room", 1)
    box = await begun(made)
    for key in (b"a", b"b"):
        box.send("t", key, b"v", [])
    assert [key for key, _ in made[0].given] == [b"a"]
    made[0].answer()
    await asyncio.sleep(0.01)

    assert [key for key, _ in made[0].given] == [b"b"]


async def test_room_is_made_by_bytes_too(made: list[Producer]) -> None:
    """Few messages may be many megabytes; an acknowledgement makes room, as does a refusal."""
    box = Outbox({"bootstrap.servers": "b:1"}, name="o", limit_bytes=10)
    box.start(lambda task: None)
    await asyncio.sleep(0)
    box.send("t", b"k", b"four", [("h", b"four")])
    assert not box.crowded
    box.send("t", b"k", b"huge", [])  # refused at once
    box.send("t", b"k", b"v", [])
    assert box.crowded
    waiting = asyncio.ensure_future(box.room())
    await asyncio.sleep(0)
    assert not waiting.done()

    made[0].answer()
    await asyncio.wait_for(waiting, 1)

    made[0].answer()
    await asyncio.wait_for(box.acked(box.last), 1)
    assert (box.crowded, box._bytes) == (False, 0)
