"""The lives of a service: what ends one, and when the next begins."""

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from detector.contract.model import Contract
from detector.service import app
from detector.service.app import Service, ServiceFailedError
from detector.service.settings import Settings
from tests.integration.kit import until


class Staged(Service):
    """A service whose topics and lives are told to it, in order; it is stopped when they are over."""

    def __init__(self, *acts: str) -> None:
        super().__init__(Settings(http_port=0), Contract(), Contract)
        self.acts = list(acts)
        self.said: list[tuple[str, float]] = []
        self._log = SimpleNamespace(error=self._note)

    def _note(self, event: str, *, retry_in_s: float, **_: Any) -> None:
        self.said.append((event, retry_in_s))

    async def _cluster(self) -> Any:
        if self.acts and self.acts[0] == "refused":
            self.acts.pop(0)
            raise ServiceFailedError("topic llm.evaluations: 8 partitions, expected 10")
        return SimpleNamespace(partitions=8)

    async def _serve(self, cluster: Any) -> None:
        self.shell = SimpleNamespace()  # type: ignore[assignment]
        if not self.acts:
            self.stopped.set()
            return
        self.acts.pop(0)
        raise LookupError("not the broker's fault")

    def _readiness(self) -> dict[str, Any]:
        return {"ready": False}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for long."""
    monkeypatch.setattr(app, "_BACK_OFF_S", (0.001, 0.002, 0.003))


async def test_topics_that_cannot_work_stop_the_first_start() -> None:
    """Whoever starts it is there to read why."""
    with pytest.raises(ServiceFailedError, match="expected 10"):
        await Staged("refused").run()


async def test_topics_that_stop_working_are_waited_for() -> None:
    """Partitions are added to one topic after the other; nobody is there to start it again."""
    service = Staged("failed", "refused", "refused")
    await service.run()

    assert service.said == [("service_failed", 0.001), ("cannot_go_on", 0.003), ("cannot_go_on", 0.003)]
    assert service.restarts == 1


async def test_a_failure_after_a_good_while_is_a_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One soon after another waits longer; one a minute later does not."""
    clock = iter([0.0, 1.0, 1.0, 2.0, 2.0, 70.0, 70.0, 71.0, 71.0])
    monkeypatch.setattr(app, "time", SimpleNamespace(monotonic=lambda: next(clock), time=lambda: 0.0))
    service = Staged("failed", "failed", "failed", "failed")
    await service.run()

    assert [wait_s for _, wait_s in service.said] == [0.001, 0.002, 0.001, 0.002]


class Slow:
    """A shell that takes the first contract over when it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.stopping = False
        self.done: list[Contract] = []

    def spawn(self, work: Coroutine[Any, Any, None], _: str) -> "asyncio.Task[None]":
        return asyncio.create_task(work)

    async def reload(self, contract: Contract) -> None:
        await self.let.wait()
        self.done.append(contract)


async def test_of_reloads_behind_a_reload_the_last_one_is_done() -> None:
    """None is refused; those between are out of date before their turn comes."""
    made = [Contract(version=number) for number in range(4)]
    contracts = iter(made)
    service = Service(Settings(http_port=0), Contract(), lambda: next(contracts))
    shell = Slow()
    service.shell = shell  # type: ignore[assignment]

    assert service.reload() == []
    await asyncio.sleep(0)
    for _ in made[1:]:
        assert service.reload() == []
    shell.let.set()
    await until(lambda: len(shell.done) == 2)
    await asyncio.sleep(0)

    assert shell.done == [made[0], made[3]]
    assert not service._refused


async def test_a_reload_that_hangs_ends_with_its_shell() -> None:
    """The next life begins with the newest contract, and takes another one over."""
    made = [Contract(version=number) for number in range(3)]
    contracts = iter(made)
    service = Service(Settings(http_port=0), Contract(), lambda: next(contracts))
    first, second = Slow(), Slow()
    service.shell = first  # type: ignore[assignment]
    service.reload()
    hanging = service._reloading
    await asyncio.sleep(0)
    first.stopping = True
    assert service.reload() == []
    assert service._reloading is hanging  # nothing more is begun in a shell that ends
    assert hanging is not None
    hanging.cancel()  # as a shell does when it stops
    second.let.set()
    service.shell = second  # type: ignore[assignment]
    service.reload()

    await until(lambda: second.done == [made[2]])
