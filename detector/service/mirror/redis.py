"""The state in Redis: a key for each scope that is active, which lives no longer than its lease.

A mirror that was stopped and goes on, or one of two, may come with what is no longer so. So the fence is
kept in Redis too, and each scope is compared with it and written in one script: the reader's rules of the
control topic, there.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from detector.service.mirror.picture import Picture
from topics.codec import encode
from topics.control import ControlRecord
from topics.types import MOST_LEASE_S

_TIMEOUT_S = 2.0
_AT_ONCE = 200  # scripts of one round trip
_OUTCOMES = {1: "written", 0: "refused"}
_URL = "expected redis://HOST:PORT/DB, rediss:// or unix:///PATH, with options that redis-py knows"

# What stands under a scope in the versions: its greatest (epoch, revision) so far.
_HELD = """
local e, r = string.match(redis.call('HGET', KEYS[2], ARGV[1]) or '', '^(%d+)/(%d+)$')
local epoch, revision = tonumber(ARGV[2]), tonumber(ARGV[3])
if e then
  e, r = tonumber(e), tonumber(r)
  if epoch < e or (epoch == e and revision < r) then return 0 end
end
"""
# KEYS: fence, versions, the scope's key, channel. ARGV: scope, epoch, revision, partition, until when the
# scope is to be obeyed (ms by Redis' own clock, as a script may run long after it was sent; 0: not at all),
# the most ms that can be left to it, its record. Taking away is first: a Redis that is full refuses the rest.
_WRITE = (
    _HELD
    + """
local known = e and epoch == e and revision == r
local fence = tonumber(redis.call('HGET', KEYS[1], ARGV[4]) or '-1')
if epoch < fence and not known then return 0 end
local time = redis.call('TIME')
local left = tonumber(ARGV[5]) - (time[1] * 1000 + math.floor(time[2] / 1000))
if ARGV[5] == '0' or (left <= 0 and not known) then redis.call('DEL', KEYS[3]) end
if epoch > fence then redis.call('HSET', KEYS[1], ARGV[4], ARGV[2]) end
if not known then redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. '/' .. ARGV[3]) end
if ARGV[5] ~= '0' and left > 0 then
  if known then left = math.max(left, math.min(redis.call('PTTL', KEYS[3]), tonumber(ARGV[6]))) end
  redis.call('SET', KEYS[3], ARGV[7], 'PX', string.format('%.0f', left))
end
if not known then redis.pcall('PUBLISH', KEYS[4], ARGV[1]) end
return 1
"""
)
# KEYS as above. ARGV: scope; epoch and revision of the last record held of it; 0: not while it is active.
_FORGET = (
    _HELD
    + """
if ARGV[4] == '0' and redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
redis.call('DEL', KEYS[3])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.pcall('PUBLISH', KEYS[4], ARGV[1])
return 1
"""
)
# KEYS: fence. ARGV: partition and epoch, in turn.
_FENCE = """
for i = 1, #ARGV, 2 do
  local fence = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or '-1')
  if tonumber(ARGV[i + 1]) > fence then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
"""

_Version = tuple[int, int]


class RedisMirror:
    """Keeps one Redis.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it.
        topic_prefix: of the installation; in all names.
        mirror_id: written beside the time, for people who look.

    Raises:
        ValueError: a URL that is none.
    """

    name = "redis"
    period_s, least_s = 3.0, 0.0

    def __init__(self, url: str, *, topic_prefix: str = "", mirror_id: str = "") -> None:
        try:  # nothing of the URL is said again: it may have a password
            parts = urlsplit(url)  # redis-py takes `redis:6379` for a Redis on this machine
            known = parts.scheme in ("redis", "rediss") and parts.hostname and parts.port != 0
            known = known and (not parts.path.strip("/") or parts.path.strip("/").isdecimal())
            if not known and not url.startswith("unix:///"):
                raise ValueError
            self._client = _client(url)
            self._client.connection_pool.make_connection()  # which sees the options, and connects nowhere
        except (TypeError, ValueError):
            raise ValueError(_URL) from None
        # Braces: in a cluster all keys of an installation lie together, as one script touches several.
        self._prefix = f"{{{topic_prefix}detector}}:"
        self._mirror_id = mirror_id
        self._scripts: list[str] = []
        self._versions: dict[str, _Version] = {}  # of what was written last
        self._strays: dict[bytes, bytes] = {}

    def key(self, scope: str) -> str:
        """Where a scope's record is while it is active."""
        return f"{self._prefix}scope:{scope}"

    async def write(self, picture: Picture, changed: frozenset[str] | None) -> Mapping[str, int]:
        """See `Target`."""
        began = time.monotonic()
        try:
            if not self._scripts:
                self._scripts = [await self._client.script_load(text) for text in (_WRITE, _FORGET, _FENCE)]
            return await self._write(picture, changed, began)
        except Exception as error:
            if isinstance(error, NoScriptError):  # a Redis that has been started anew
                self._scripts = []
            # To where the name leads by then: a master that is none any more keeps its connections.
            await self._client.connection_pool.disconnect()
            raise

    async def _write(
        self, picture: Picture, changed: frozenset[str] | None, began: float
    ) -> Mapping[str, int]:
        outcomes: Counter[str] = Counter()
        seconds, microseconds = await self._client.time()
        # When it was asked for the answer is not known: as if just now, which makes every lease end sooner.
        at_ms = seconds * 1000 + microseconds / 1000 - (time.monotonic() - began) * 1000
        scopes = iter(picture.held.keys() | self._versions.keys() if changed is None else changed)
        while some := list(islice(scopes, _AT_ONCE)):
            calls = [call for scope in some if (call := self._call(picture, scope, at_ms)) is not None]
            for outcome in await self._run(calls):
                outcomes[_OUTCOMES[outcome]] += 1
            for scope in some:
                if (record := picture.held.get(scope)) is not None:
                    self._versions[scope] = (record.epoch, record.revision)
                else:
                    self._versions.pop(scope, None)
        # After the records: one that is held may be from before its partition's last claim.
        if picture.fence:
            numbers = [number for pair in picture.fence.items() for number in pair]
            await self._client.evalsha(self._scripts[2], 1, f"{self._prefix}fence", *numbers)
        if changed is None:
            await self._forget_strays(picture)
        if heard_ms := int(picture.heard_s * 1000):
            alive = msgspec.json.encode({"mirror": self._mirror_id, "at": round(picture.at, 3)})
            await self._client.set(f"{self._prefix}alive", alive, pxat=int(at_ms) + heard_ms)
        return outcomes

    def _call(self, picture: Picture, scope: str, at_ms: float) -> tuple[str, tuple[Any, ...]] | None:
        """The script for one scope, and its arguments."""
        record = picture.held.get(scope)
        if record is None:
            version = self._versions.get(scope)
            return None if version is None else (self._scripts[1], (scope, *version, 1))
        left_s = picture.left_s.get(scope)
        return self._scripts[0], _arguments(record, 0 if left_s is None else int(at_ms + left_s * 1000))

    async def _run(self, calls: Iterable[tuple[str, tuple[Any, ...]]]) -> list[int]:
        """What each script said; the first error is raised when all have been run."""
        pipeline = self._client.pipeline(transaction=False)
        for script, arguments in calls:
            pipeline.evalsha(script, 4, *self._keys(arguments[0]), *arguments)
        return list(await pipeline.execute())

    def _keys(self, scope: str) -> tuple[str, ...]:
        return f"{self._prefix}fence", f"{self._prefix}versions", self.key(scope), f"{self._prefix}changes"

    async def _forget_strays(self, picture: Picture) -> None:
        """What ended while nobody mirrored. What is active is left: it ends, or another mirror is ahead."""
        found = await self._client.hgetall(f"{self._prefix}versions")
        held = {scope.encode() for scope in picture.held}
        strays = {scope: version for scope, version in found.items() if scope not in held}
        gone = [scope for scope, version in strays.items() if self._strays.get(scope) == version]
        told = ((scope.decode("utf-8", "replace"), strays[scope].partition(b"/")) for scope in gone)
        await self._run(
            (self._scripts[1], (scope, epoch, revision, 0)) for scope, (epoch, _, revision) in told
        )
        self._strays = strays

    async def close(self) -> None:
        """Close the connections; the keys end by themselves."""
        await self._client.aclose()


def _client(url: str) -> Any:
    """Its types differ from version to version."""
    return Redis.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)


def _arguments(record: ControlRecord, until_ms: int) -> tuple[Any, ...]:
    """One that is active and has no time left takes an older one's place, and gives no time: until 1 ms."""
    if record.state == "active":
        until_ms = until_ms or 1
    hold_s = record.hold_max_s if record.on_expiry == "hold" else 0.0
    most_ms = int((min(record.lease_s, MOST_LEASE_S) + max(hold_s, 0.0)) * 1000)
    value = encode(record) if until_ms > 1 else b""
    return record.scope, record.epoch, record.revision, record.partition, until_ms, most_ms, value
