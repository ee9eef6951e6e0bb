"""When targets are written: not before the end of the topic, changes at once, all after a failure."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from detector.gateway.client import GatewayClient
from detector.gateway.view import ControlView
from detector.service.mirror import keeper as module
from detector.service.mirror.keeper import Keeper
from detector.service.mirror.metrics import MirrorMetrics
from detector.service.mirror.picture import Picture
from tests.unit.gateway.builders import MemoryTransport, owner_message, scope_message, tombstone
from topics.control import decode_control

_Write = tuple[frozenset[str] | None, dict[str, float]]


class _Target:
    """Notes what it is asked to write; `failing` and `hanging` do what they say."""

    period_s, least_s = 3600.0, 0.0

    def __init__(self, name: str = "t") -> None:
        self.name = name
        self.writes: list[_Write] = []
        self.began: list[float] = []
        self.outcomes: dict[str, int] | None = None
        self.failing = self.hanging = self.closed = False

    async def write(self, picture: Picture, changed: frozenset[str] | None) -> Mapping[str, int]:
        self.writes.append((changed, dict(picture.left_s)))
        self.began.append(time.monotonic())
        if self.hanging:
            await asyncio.Event().wait()
        if self.failing:
            raise OSError("no")
        return self.outcomes or {"written": len(picture.held if changed is None else changed)}

    async def close(self) -> None:
        self.closed = True


async def _until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - a fake has no event for every state that a test waits for
            await asyncio.sleep(0.005)


@asynccontextmanager
async def _kept(
    transport: MemoryTransport, *targets: _Target, metrics: MirrorMetrics | None = None
) -> AsyncIterator[Keeper]:
    keeper = Keeper(targets, metrics or MirrorMetrics([target.name for target in targets]))
    client = GatewayClient(
        "", "m", acks=False, on_change=keeper.changed, transport=transport, catch_up_timeout_s=0.05
    )
    async with client:
        task = asyncio.create_task(keeper.run(client))
        try:
            yield keeper
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_all_is_written_at_the_end_of_the_topic_and_a_change_at_once() -> None:
    transport, target = MemoryTransport(owner_message(), scope_message()), _Target()
    async with _kept(transport, target):
        await _until(lambda: target.writes)
        transport.append(scope_message("embed"))
        await _until(lambda: len(target.writes) == 2)

    (first, left), (second, later) = target.writes
    assert first is None
    assert left.keys() == {"chat"}
    assert 10 < left["chat"] <= 15
    assert second == frozenset({"embed"})
    assert later.keys() == {"chat", "embed"}
    assert target.closed


class _Follower:
    """In a client's place: whether it has caught up, how often that was asked, and what it holds."""

    def __init__(self) -> None:
        self.view = ControlView()
        self.at_end = False
        self.asked = 0

    @property
    def caught_up(self) -> bool:
        self.asked += 1
        return self.at_end


async def test_nothing_is_written_before_the_end_of_the_topic_nor_while_all_is_read_again() -> None:
    """What the old view holds then may be over."""
    target, follower = _Target(), _Follower()
    keeper = Keeper([target], MirrorMetrics(["t"]))
    task = asyncio.create_task(keeper.run(follower))
    await _until(lambda: follower.asked >= 3)
    assert target.writes == []

    follower.at_end = True
    await _until(lambda: target.writes)
    follower.view.begin_reread()
    keeper.changed(None, decode_control(scope_message().value))
    asked = follower.asked
    await _until(lambda: follower.asked >= asked + 3)
    assert len(target.writes) == 1

    follower.view.finish_reread()
    await _until(lambda: len(target.writes) == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_end_of_a_scope_is_asked_for_by_its_name() -> None:
    transport, target = MemoryTransport(owner_message(), scope_message()), _Target()
    async with _kept(transport, target):
        await _until(lambda: target.writes)
        transport.append(tombstone("chat", 1, 2))
        await _until(lambda: len(target.writes) == 2)

    assert target.writes[1] == (frozenset({"chat"}), {})


async def test_what_is_in_force_is_written_again_in_time_and_what_is_not_is_left() -> None:
    ended = scope_message("embed", state="inactive")
    transport, target = MemoryTransport(owner_message(), scope_message(), ended), _Target()
    target.period_s = 0.05
    async with _kept(transport, target):
        await _until(lambda: len(target.writes) == 3)

    assert [changed for changed, _ in target.writes] == [None, frozenset({"chat"}), frozenset({"chat"})]


async def test_all_is_written_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_S", 0.05)
    transport, target = MemoryTransport(owner_message(), scope_message()), _Target()
    async with _kept(transport, target):
        await _until(lambda: len(target.writes) == 3)

    assert [changed for changed, _ in target.writes] == [None, None, None]


async def test_after_a_failure_all_is_written_and_the_others_have_not_waited() -> None:
    transport, bad, good = MemoryTransport(owner_message(), scope_message()), _Target("bad"), _Target("good")
    metrics = MirrorMetrics(["bad", "good"])
    async with _kept(transport, bad, good, metrics=metrics) as keeper:
        await _until(lambda: bad.writes and good.writes and not keeper.behind(time.monotonic(), 0.0))
        bad.failing = True
        began = time.time()
        transport.append(scope_message("embed"))
        await _until(lambda: len(bad.writes) == 3 and len(good.writes) == 2)
        now = time.monotonic()
        assert keeper.behind(now + 3000.0, 10.0) == []
        assert keeper.behind(now + 3700.0, 10.0) == ["bad", "good"]
        bad.failing = False
        count = len(bad.writes)
        await _until(lambda: len(bad.writes) == count + 1 and _sample(metrics, "written", "bad") >= began)

    assert [changed for changed, _ in bad.writes[:3]] == [None, frozenset({"embed"}), None]
    assert bad.writes[-1][0] is None
    assert _sample(metrics, "failures_total", "bad") == count - 1
    assert _sample(metrics, "scopes_total", "bad", outcome="written") == 3
    assert _sample(metrics, "failures_total", "good") == 0


def _sample(metrics: MirrorMetrics, name: str, target: str, **labels: str) -> float:
    name = f"detector_mirror_{name}" + "_timestamp_seconds" * (name == "written")
    found = metrics.registry.get_sample_value(name, {"target": target} | labels)
    assert found is not None
    return found


async def test_what_is_refused_is_not_written() -> None:
    """A fence that is too high by mistake would else look like health, with nothing there."""
    transport, target = MemoryTransport(owner_message(), scope_message()), _Target()
    target.outcomes = {"written": 1, "refused": 1}
    target.period_s = 0.02
    metrics = MirrorMetrics(["t"])
    async with _kept(transport, target, metrics=metrics) as keeper:
        await _until(lambda: _sample(metrics, "scopes_total", "t", outcome="refused") >= 2)
        assert keeper.behind(time.monotonic(), 10.0) == ["t"]
        assert _sample(metrics, "written", "t") == 0
        target.outcomes = {"written": 2}
        await _until(lambda: not keeper.behind(time.monotonic(), 10.0))
        assert _sample(metrics, "written", "t") > 0


async def test_what_changes_often_comes_together_where_a_target_wants_it() -> None:
    transport, target = MemoryTransport(owner_message(), scope_message()), _Target()
    target.least_s = 0.5
    async with _kept(transport, target):
        await _until(lambda: target.writes)
        for number in range(10):
            transport.append(scope_message(f"r{number}"))
            await asyncio.sleep(0)
        await _until(lambda: len(target.writes) == 2)

    assert target.writes[1][0] == frozenset(f"r{number}" for number in range(10))
    assert target.began[1] - target.began[0] >= 0.5


def test_a_picture_stays_as_it_was_while_the_view_goes_on() -> None:
    """What is written after a wait has to fit what was written before it."""
    view = ControlView()
    first, *rest = (owner_message(), owner_message(epoch=2), scope_message(epoch=2))
    view.apply(first.key, first.value, first.headers, now=0.0)
    picture = Picture.of(view, now=0.0, at=0.0)
    for message in rest:
        view.apply(message.key, message.value, message.headers, now=0.0)

    assert (picture.held, picture.fence) == ({}, {0: 1})


async def test_a_target_that_fails_is_asked_ever_more_seldom_until_it_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_BACKOFF_S", (0.001, 0.004))
    transport, target = MemoryTransport(owner_message()), _Target()
    target.failing = True
    async with _kept(transport, target) as keeper:
        (kept,) = keeper._kept
        kept.delay = module._BACKOFF_S[0]
        delays = []
        while len(target.writes) < 4:
            delays.append(kept.delay)
            await asyncio.sleep(0)
        assert [delay for delay in (0.001, 0.002, 0.004) if delay in delays] == [0.001, 0.002, 0.004]
        target.failing = False
        await _until(lambda: not keeper.behind(time.monotonic(), 10.0))
        assert kept.delay == 0.001


async def test_a_fault_that_lasts_is_told_once_and_so_is_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BACKOFF_S", (0.0, 0.0))
    said: list[tuple[str, str]] = []
    monkeypatch.setattr(module, "logger", lambda: _Log(said))
    transport, target = MemoryTransport(owner_message(), scope_message()), _Target()
    target.failing = True
    async with _kept(transport, target):
        await _until(lambda: len(target.writes) >= 4)
        target.failing = False
        await _until(lambda: len(said) == 2)

    assert said == [("mirror_not_written", "OSError: no"), ("mirror_written_again", "")]


class _Log:
    def __init__(self, said: list[tuple[str, str]]) -> None:
        self._said = said

    def warning(self, event: str, *, error: str = "", **_: object) -> None:
        self._said.append((event, error))

    def info(self, event: str, **_: object) -> None:
        self._said.append((event, ""))


async def test_a_target_that_hangs_is_given_up_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_S", 0.05)
    transport, target = MemoryTransport(owner_message(), scope_message()), _Target()
    target.hanging = True
    async with _kept(transport, target) as keeper:
        await _until(lambda: len(target.writes) == 2)
        assert keeper.behind(time.monotonic(), 10.0) == ["t"]
        target.hanging = False
        await _until(lambda: keeper.behind(time.monotonic(), 10.0) == [])
