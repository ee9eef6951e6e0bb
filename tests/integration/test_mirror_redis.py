"""What a mirror leaves in a real Redis: never an older state, never longer than its lease."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from detector.contract.grammar import HEARTBEAT_S
from detector.gateway.view import ControlView
from detector.service.mirror.flagd import FlagFile
from detector.service.mirror.picture import Picture
from detector.service.mirror.redis import RedisMirror
from tests.unit.gateway.builders import NOW, Message, owner_message, scope_message, tombstone
from topics.control import decode_control

pytestmark = pytest.mark.redis


def _view(*messages: Message, now: float = 0.0) -> ControlView:
    view = ControlView()
    for message in messages:
        view.apply(message.key, message.value, message.headers, now=now)
    return view


def _picture(*messages: Message, later_s: float = 0.0) -> Picture:
    return Picture.of(_view(*messages), now=later_s, at=NOW)


class _Place:
    """One installation's keys in the run's Redis, and mirrors that write there."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"t{uuid.uuid4().hex[:10]}."
        self.client: Any = Redis.from_url(url)
        self.mirrors: list[RedisMirror] = []

    def mirror(self) -> RedisMirror:
        self.mirrors.append(RedisMirror(self.url, topic_prefix=self.prefix, mirror_id="m"))
        return self.mirrors[-1]

    def key(self, name: str) -> str:
        return f"{{{self.prefix}detector}}:{name}"

    async def version(self, scope: str = "chat") -> tuple[int, int] | None:
        """Of the record that a reader of the scope finds."""
        value = await self.client.get(self.key(f"scope:{scope}"))
        if value is None:
            return None
        record = decode_control(value)
        assert record.scope == scope
        return record.epoch, record.revision

    async def left_s(self, scope: str = "chat") -> float:
        return await self.client.pttl(self.key(f"scope:{scope}")) / 1000

    async def close(self) -> None:
        for mirror in self.mirrors:
            await mirror.close()
        names = [name async for name in self.client.scan_iter(match=self.key("*"))]
        if names:
            await self.client.delete(*names)
        await self.client.aclose()


@pytest.fixture
async def place(redis_url: str) -> AsyncIterator[_Place]:
    made = _Place(redis_url)
    yield made
    await made.close()


async def test_an_active_scope_has_its_record_for_as_long_as_its_lease(place: _Place) -> None:
    outcomes = await place.mirror().write(_picture(owner_message(), scope_message()), None)

    assert outcomes == {"written": 1}
    record = decode_control(await place.client.get(place.key("scope:chat")))
    assert (record.route, record.fallbacks) == ("chat", {"*": ["rule"]})
    assert 13 < await place.left_s() <= 15


async def test_a_scope_that_holds_outlives_its_lease_by_what_it_says(place: _Place) -> None:
    held = scope_message(on_expiry="hold", hold_max_s=100.0)
    await place.mirror().write(_picture(owner_message(), held), None)

    assert 113 < await place.left_s() <= 115


async def test_an_inactive_scope_has_no_key(place: _Place) -> None:
    mirror, ended = place.mirror(), scope_message(revision=2, state="inactive")
    await mirror.write(_picture(owner_message(), scope_message()), None)
    await mirror.write(_picture(owner_message(), scope_message(), ended), frozenset({"chat"}))

    assert await place.version() is None


async def test_a_lease_that_has_lapsed_gives_no_time(place: _Place) -> None:
    """Neither to a key that is there, which ends when it ended, nor to a scope that has none."""
    mirror = place.mirror()
    await mirror.write(_picture(owner_message(lease_s=1.0), scope_message()), None)
    await mirror.write(_picture(owner_message(lease_s=1.0), scope_message(), later_s=2.0), None)
    assert await place.left_s() <= 1

    await place.client.delete(place.key("scope:chat"))
    await mirror.write(_picture(owner_message(lease_s=1.0), scope_message(), later_s=2.0), None)
    assert await place.version() is None


async def test_who_writes_late_gives_no_time(place: _Place) -> None:
    """Redis hangs until the lease is over, and then does what it was told to before."""
    mirror = place.mirror()
    await mirror.write(_picture(owner_message()), None)
    await place.client.execute_command("CLIENT", "PAUSE", 1200, "ALL")
    short = scope_message(lease_s=1.0)
    await mirror.write(_picture(owner_message(lease_s=1.0), short), frozenset({"chat"}))

    assert await place.version() is None


async def test_a_script_that_comes_after_the_end_gives_no_time(place: _Place) -> None:
    """As one does that lay in a network which had been cut."""
    mirror, held = place.mirror(), _picture(owner_message(), scope_message())
    await mirror.write(_picture(owner_message()), None)
    seconds, _ = await place.client.time()
    late = mirror._call(held, "chat", (seconds - 16) * 1000)

    assert await mirror._run([late]) == [1]
    assert await place.version() is None


async def test_a_time_that_nobody_gave_is_put_right(place: _Place) -> None:
    """Such as a clock that was set back leaves: the next write takes all off that no lease has."""
    mirror, now = place.mirror(), _picture(owner_message(), scope_message())
    await mirror.write(now, None)
    await place.client.pexpire(place.key("scope:chat"), 3_600_000)
    await mirror.write(now, frozenset({"chat"}))

    assert await place.left_s() <= 15


async def test_a_newer_state_without_time_takes_away_the_one_before(place: _Place) -> None:
    mirror, held = place.mirror(), scope_message(on_expiry="hold", hold_max_s=100.0)
    await mirror.write(_picture(owner_message(), held), None)
    lapsed = _picture(owner_message(), held, scope_message(revision=2), later_s=16.0)
    await mirror.write(lapsed, frozenset({"chat"}))

    assert await place.version() is None


async def test_a_redis_that_is_full_loses_the_scope_all_the_same(place: _Place) -> None:
    """It refuses what the script writes, which is told; what the script takes away is gone by then."""
    mirror, start = place.mirror(), (owner_message(), scope_message())
    await mirror.write(_picture(*start), None)
    ended = _picture(*start, scope_message(revision=2, state="inactive"))
    await place.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(ResponseError, match="maxmemory"):
            await mirror.write(ended, frozenset({"chat"}))
    finally:
        await place.client.config_set("maxmemory", 0)

    assert await place.version() is None


async def test_an_entry_that_nobody_can_read_keeps_no_other_scope_waiting(place: _Place) -> None:
    await place.client.hset(place.key("versions"), "r1", "garbage")
    messages = [scope_message(f"r{number}") for number in range(3)]

    assert await place.mirror().write(_picture(owner_message(), *messages), None) == {"written": 3}
    assert await place.version("r1") == (1, 1)


async def test_only_what_has_changed_is_written(place: _Place) -> None:
    held = _picture(owner_message(), scope_message(), scope_message("embed"))

    assert await place.mirror().write(held, frozenset({"chat"})) == {"written": 1}
    assert await place.version("embed") is None


@pytest.mark.parametrize("hold", [{}, {"on_expiry": "hold", "hold_max_s": 100.0}])
async def test_a_heartbeat_renews_and_who_has_not_heard_it_shortens_nothing(
    place: _Place, hold: dict[str, Any]
) -> None:
    """Nor does one take anything away for whom the lease is over."""
    ahead, behind = place.mirror(), place.mirror()
    early = (owner_message(lease_s=3.0), scope_message(**hold))
    held_s = hold.get("hold_max_s", 0.0)
    await ahead.write(_picture(*early), None)
    assert await place.left_s() <= 3 + held_s
    await ahead.write(_picture(*early, owner_message(lease_s=15.0)), frozenset({"chat"}))
    await behind.write(_picture(*early), None)
    assert 13 < await place.left_s() - held_s <= 15
    await behind.write(_picture(*early, later_s=200.0), frozenset({"chat"}))

    assert 13 < await place.left_s() - held_s <= 15


async def test_a_mirror_that_is_behind_changes_nothing(place: _Place) -> None:
    """It would bring an activation back whose end is known, and is refused."""
    ahead, behind = place.mirror(), place.mirror()
    early = (owner_message(), scope_message())
    await ahead.write(_picture(*early, scope_message(revision=2, state="inactive")), None)

    assert await behind.write(_picture(*early), None) == {"refused": 1}
    assert await place.version() is None


async def test_a_zombie_s_scope_is_refused_by_the_fence_of_its_partition(place: _Place) -> None:
    """Also under a scope that nobody has written yet; of another partition it is not."""
    await place.mirror().write(_picture(owner_message(epoch=7)), None)
    other = scope_message("embed", partition=1)
    behind = _picture(owner_message(epoch=6), scope_message(epoch=6), owner_message(1), other)

    assert await place.mirror().write(behind, None) == {"refused": 1, "written": 1}
    assert await place.version() is None
    assert await place.version("embed") == (1, 1)


async def test_a_record_raises_the_fence_before_its_owner_is_written(place: _Place) -> None:
    """A mirror may end between the two."""
    held = {"chat": decode_control(scope_message(epoch=7).value)}
    await place.mirror().write(Picture(held, {"chat": 9.0}, {}, 9.0, NOW), None)
    behind = _picture(owner_message(epoch=6), scope_message("embed", epoch=6))

    assert await place.mirror().write(behind, None) == {"refused": 1}


async def test_every_partition_has_its_own_fence(place: _Place) -> None:
    owners = [owner_message(number, 7 + number) for number in range(3)]
    await place.mirror().write(_picture(*owners), None)

    fence = await place.client.hgetall(place.key("fence"))
    assert fence == {b"0": b"7", b"1": b"8", b"2": b"9"}


async def test_what_was_held_before_a_claim_is_renewed_by_the_claim(place: _Place) -> None:
    """The new owner's heartbeat holds for scopes that it has not said again yet."""
    mirror, before = place.mirror(), (owner_message(), scope_message())
    await mirror.write(_picture(*before, owner_message(epoch=2, lease_s=30.0)), None)
    assert await place.left_s() > 28
    await mirror.write(_picture(*before, owner_message(epoch=2, lease_s=60.0)), None)

    assert await place.left_s() > 58


async def test_numbers_are_compared_as_numbers(place: _Place) -> None:
    """Text would put 10 before 9; and an epoch of 2^53 - 1 is told from the one below it."""
    most = 2**53 - 1
    mirror = place.mirror()
    for older, newer in (((1, 9), (1, 10)), ((9, 1), (10, 1)), ((most - 1, 5), (most, 1))):
        for version, wanted in ((newer, "written"), (older, "refused")):
            record = msgspec.json.decode(scope_message().value or b"")
            record |= {"epoch": version[0], "revision": version[1]}
            held = {"chat": decode_control(msgspec.json.encode(record))}
            outcomes = await mirror.write(Picture(held, {"chat": 9.0}, {}, 9.0, NOW), None)
            assert outcomes == {wanted: 1}, version
        assert await place.version() == newer


async def test_a_tombstone_takes_the_scope_away_and_a_newer_state_is_kept(place: _Place) -> None:
    mirror, start = place.mirror(), (owner_message(), scope_message(), scope_message("embed"))
    await mirror.write(_picture(*start), None)
    await place.mirror().write(_picture(*start, scope_message(revision=5)), None)
    gone = _picture(*start, tombstone("chat", 1, 2), tombstone("embed", 1, 2))
    await mirror.write(gone, frozenset({"chat", "embed"}))

    assert await place.version() == (1, 5)
    assert await place.client.hkeys(place.key("versions")) == [b"chat"]
    assert await mirror.write(gone, None) == {}


async def test_what_ended_while_nobody_mirrored_is_forgotten_when_its_lease_has_ended(place: _Place) -> None:
    await place.mirror().write(_picture(owner_message(), scope_message()), None)
    mirror, now = place.mirror(), _picture(owner_message())
    await mirror.write(now, None)
    await mirror.write(now, None)
    assert await place.version() == (1, 1)  # to the end of its lease, as nobody says otherwise
    await place.client.delete(place.key("scope:chat"))
    await mirror.write(now, None)

    assert await place.client.hlen(place.key("versions")) == 0


async def test_a_stray_that_somebody_writes_is_none(place: _Place) -> None:
    """What another mirror knows and this one does not yet stays."""
    other, mirror, now = place.mirror(), place.mirror(), _picture(owner_message())
    for revision in (1, 2, 3):
        ended = scope_message(revision=revision, state="inactive")
        await other.write(_picture(owner_message(), ended), None)
        await mirror.write(now, None)

    assert await place.client.hgetall(place.key("versions")) == {b"chat": b"1/3"}


async def test_readers_can_tell_whether_a_detector_is_heard(place: _Place) -> None:
    mirror = place.mirror()
    await mirror.write(_picture(owner_message()), None)
    assert msgspec.json.decode(await place.client.get(place.key("alive"))) == {"mirror": "m", "at": NOW}
    assert 13_000 < await place.client.pttl(place.key("alive")) <= 15_000

    await place.client.delete(place.key("alive"))
    await mirror.write(_picture(owner_message(), owner_message(1, lease_s=17.5), later_s=16.0), None)
    assert 0 < await place.client.pttl(place.key("alive")) <= 1_500

    await place.client.delete(place.key("alive"))
    await mirror.write(_picture(owner_message(), later_s=16.0), None)
    assert await place.client.get(place.key("alive")) is None


async def test_who_listens_is_told_of_a_change_and_of_no_renewal(place: _Place) -> None:
    mirror, now = place.mirror(), _picture(owner_message(), scope_message())
    async with place.client.pubsub(ignore_subscribe_messages=True) as listener:
        await listener.subscribe(place.key("changes"))
        await mirror.write(now, None)
        await mirror.write(now, None)
        await mirror.write(_picture(owner_message(), scope_message(revision=2)), None)
        await mirror.write(_picture(owner_message()), frozenset({"chat"}))
        heard = []
        async with asyncio.timeout(10):
            while len(heard) < 3:
                if (message := await listener.get_message(timeout=1.0)) is not None:
                    heard.append(message["data"])
        assert heard == [b"chat", b"chat", b"chat"]
        assert await listener.get_message(timeout=0.05) is None


async def test_a_redis_that_has_lost_everything_is_written_anew(place: _Place) -> None:
    mirror, now = place.mirror(), _picture(owner_message(), scope_message())
    await mirror.write(now, None)
    connection = await mirror._client.client_id()
    await place.client.delete(*(place.key(name) for name in ("fence", "versions", "scope:chat")))
    await place.client.script_flush()

    with pytest.raises(NoScriptError):
        await mirror.write(now, None)
    assert await mirror.write(now, None) == {"written": 1}
    assert await place.version() == (1, 1)
    assert await mirror._client.client_id() > connection  # a name may lead to another one by then


async def test_more_scopes_than_fit_into_one_round_trip(place: _Place) -> None:
    messages = [scope_message(f"r{number}") for number in range(1001)]
    outcomes = await place.mirror().write(_picture(owner_message(), *messages), None)

    assert outcomes == {"written": 1001}
    assert await place.version("r1000") == (1, 1)


@pytest.mark.parametrize(
    "url",
    [
        "redis:6379",
        "redis://u:s3cr/et@redis:6379/0",
        "redis://h:s3cret/0",
        "redis://h:6379/s3cret",
        "redis://h:6379/0?s3cret=1",
        "http://h:6379/0",
        "",
    ],
)
def test_what_is_no_url_is_told_at_once_and_not_repeated(url: str) -> None:
    """It may have a password in it."""
    with pytest.raises(ValueError, match="expected redis://HOST:PORT/DB") as told:
        RedisMirror(url)
    assert "s3cr" not in str(told.value)


def test_what_is_in_force_is_written_as_often_as_its_owner_is_heard() -> None:
    """More seldom, a lease could end between two writes."""
    assert RedisMirror.period_s <= HEARTBEAT_S
    assert FlagFile.period_s <= HEARTBEAT_S


_Step = tuple[int, int]  # which of two mirrors writes, and how many more messages it reads before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=1, max_size=8),
    said=st.lists(
        st.tuples(st.sampled_from(["owner", "active", "inactive"]), st.integers(0, 1), st.integers(1, 4)),
        min_size=1,
        max_size=16,
    ),
)
def test_two_mirrors_at_different_places_never_go_back(
    redis_url: str, steps: list[_Step], said: list[tuple[str, int, int]]
) -> None:
    """Whoever writes: what is there is of the greatest version written, and the fence never sinks."""
    topic = [owner_message(0), owner_message(1)]
    for number, (what, partition, epoch) in enumerate(said):
        if what == "owner":
            topic.append(owner_message(partition, epoch))
        else:
            topic.append(scope_message(partition=partition, epoch=epoch, revision=number, state=what))

    async def check() -> None:
        place = _Place(redis_url)
        mirrors = [(place.mirror(), ControlView(), iter(topic)) for _ in range(2)]
        greatest: dict[str, Any] = {}
        fences: dict[bytes, int] = {}
        try:
            for which, more in steps:
                mirror, view, rest = mirrors[which]
                for message in islice(rest, more):
                    view.apply(message.key, message.value, message.headers, now=0.0)
                await mirror.write(Picture.of(view, now=0.0, at=NOW), frozenset(view.held))
                held = view.held.get("chat")
                if held is not None:
                    told = greatest.get("chat")
                    if told is None or (held.epoch, held.revision) > (told.epoch, told.revision):
                        greatest["chat"] = held
                fence = {
                    name: int(number)
                    for name, number in (await place.client.hgetall(place.key("fence"))).items()
                }
                assert all(fence[name] >= number for name, number in fences.items())
                fences = fence
                found, best = await place.version(), greatest.get("chat")
                if best is None or best.state == "inactive":
                    assert found is None
                else:
                    assert found == (best.epoch, best.revision)
        finally:
            await place.close()

    asyncio.run(check())
