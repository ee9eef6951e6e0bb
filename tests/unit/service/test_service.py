"""The lives of a service: what ends one, and when the next begins."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

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


async def test_a_reload_during_a_reload_is_done_behind_it() -> None:
    """Neither is refused, and the contract that was read last is the one in force."""
    one, two = asyncio.Event(), Contract(version=2)
    done: list[Contract] = []

    async def reload(contract: Contract) -> None:
        if contract is not two:
            await one.wait()
        done.append(contract)

    contracts = iter([Contract(), two])
    service = Service(Settings(http_port=0), Contract(), lambda: next(contracts))
    service.shell = SimpleNamespace(reload=reload, ended=lambda _: None)  # type: ignore[assignment]

    assert service.reload() == []
    assert service.reload() == []
    one.set()
    await until(lambda: len(done) == 2)

    assert done[-1] is two
    assert not service._refused


async def test_the_first_line_of_an_outage_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own error is the same whatever is wrong; later lines repeat nothing."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
    service = Service(Settings(bootstrap=at, http_port=0), Contract(), Contract)
    lines: list[dict[str, Any]] = []
    tries = iter([KafkaConnectionError(f"Unable to bootstrap from [{at}]")] * 3)

    async def topics() -> Any:
        if (error := next(tries, None)) is not None:
            raise error
        return "cluster"

    service._log = SimpleNamespace(warning=lambda event, **more: lines.append({"event": event} | more))  # type: ignore[assignment]
    monkeypatch.setattr(service, "_topics", topics)

    assert await service._cluster() == "cluster"
    assert [line["event"] for line in lines] == ["broker_unreachable"] * 3
    assert [line.get("advice") for line in lines] == [
        f"{at} refuses connections: is the port right, is the broker up?",
        None,
        None,
    ]
