"""A producer that is given up leaves nothing behind: no thread, no connection, no message."""

import asyncio
import gc
import threading
import weakref
from pathlib import Path

from detector.service.carrier import Carrier
from tests.integration.kit import until

NOBODY = {"bootstrap.servers": "127.0.0.1:1", "client.id": "given-up", "linger.ms": 0}


def native_threads() -> int:
    """How many there are, those of libraries too; 0 where the system does not say."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 0


async def test_one_that_is_closed_is_gone_whole() -> None:
    """While a broker is away one follows the other, and nobody looks for cycles among old objects."""
    gc.collect()
    gc.disable()
    try:
        before = native_threads()
        told: list[object] = []
        gone = []
        for _ in range(3):
            carrier: Carrier[int] = Carrier(NOBODY, lambda *_: None, told.append)
            for number in range(3):
                carrier.send(number, "t", b"k", b"v", [], 0)
            carrier.close()
            gone.append(weakref.ref(carrier))
            del carrier
        await until(lambda: not any(each() for each in gone))
        assert not any(thread.name == "given-up" for thread in threading.enumerate())
        await until(lambda: native_threads() <= before)
    finally:
        gc.enable()


async def test_what_was_under_way_is_answered_for() -> None:
    """The messages of one that is closed come back as failed, in their order."""
    answers: list[int] = []
    carrier: Carrier[int] = Carrier(NOBODY, lambda _, what, error: answers.append(what), lambda _: None)
    for number in range(5):
        carrier.send(number, "t", b"k", b"v", [], 0)
    await asyncio.sleep(0)
    assert answers == []
    carrier.close()
    await until(lambda: len(answers) == 5)

    assert answers == [0, 1, 2, 3, 4]
