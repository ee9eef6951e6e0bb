"""The shell around a worker's partitions, while the group goes on."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from detector.contract.model import Contract
from detector.service.settings import Settings
from detector.service.shell import Shell
from detector.service.topics_admin import Cluster


class Worker:
    """One that covers its partition when it is let."""

    def __init__(self) -> None:
        self.covered = asyncio.Event()
        self.ends: list[tuple[str, int]] = []

    async def finish(self) -> None:
        await self.covered.wait()

    def close(self) -> None:
        """Nothing to close."""

    def reached(self, name: str, end: int) -> None:
        self.ends.append((name, end))


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> tuple[Shell, Worker, list[int]]:
    """One with partition 3, its worker, and the partitions that it begins again."""
    made, worker, begun = Shell(Settings(), Contract(), Cluster(8, 1_000_000), owner_id="w"), Worker(), []

    async def begin_again(partition: int) -> None:
        begun.append(partition)

    made.attach(SimpleNamespace(in_thread=None))
    made.workers = {3: worker}  # type: ignore[dict-item]
    monkeypatch.setattr(made, "_begin_again", begin_again)
    return made, worker, begun


@pytest.mark.parametrize("revoked", [False, True])
async def test_a_reload_begins_again_what_is_still_there(
    shell: tuple[Shell, Worker, list[int]], revoked: bool
) -> None:
    """A partition that was given to another while it was being covered is the other's to claim."""
    made, worker, begun = shell
    reloading = asyncio.create_task(made.reload(Contract()))
    await asyncio.sleep(0)
    if revoked:
        made._drop_all()
    worker.covered.set()
    await reloading

    assert begun == ([] if revoked else [3])


async def test_an_end_from_before_a_partition_began_again_says_nothing(shell: Any) -> None:
    """It is read again from where its snapshots end, and its end will be told again."""
    made, worker, _ = shell
    made.reached(TP("llm.telemetry", 3), 7)
    made._going_back.add(3)
    made.reached(TP("llm.telemetry", 3), 9)
    made.reached(TP("llm.telemetry", 4), 9)

    assert worker.ends == [("telemetry", 7)]


async def test_a_shell_with_no_partition_yet_hands_nothing_over() -> None:
    """Told to stop while the app starts, there is nothing to commit, and no consumer that could."""
    made = Shell(Settings(), Contract(), Cluster(8, 1_000_000), owner_id="w")
    made.attach(SimpleNamespace(in_thread=None))

    await made.revoked()

    assert made.generation == -1
