"""The state in Redis: a key for each scope that is active, which lives no longer than its lease.

A mirror that was stopped and goes on, or one of two, may come with what is no longer so. So the fence is
kept in Redis too, and each scope is compared with it and written in one script: the reader's rules of the
control topic, there.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from detector.service.mirror.picture import Picture
from topics.codec import encode
from topics.control import ControlRecord

_TIMEOUT_S = 2.0
_AT_ONCE = 200  # scripts of one round trip
_OUTCOMES = {1: "written", 0: "refused"}

# KEYS: fence, versions, the scope's key, channel. ARGV: scope, partition, epoch, revision, what is left to
# the scope (ms; 0 where it is not to be obeyed), its record, whether it is active.
_WRITE = """
local epoch, revision, left = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local held = redis.call('HGET', KEYS[2], ARGV[1])
local known = false
if held then
  local e, r = string.match(held, '^(%d+)/(%d+)$')
  e, r = tonumber(e), tonumber(r)
  if epoch < e or (epoch == e and revision < r) then return 0 end
  known = epoch == e and revision == r
end
local fence = tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or '-1')
if epoch < fence and not known then return 0 end
if epoch > fence then redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) end
if not known then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3] .. '/' .. ARGV[4]) end
if ARGV[7] == '0' then
  redis.call('DEL', KEYS[3])
elseif left > 0 then
  if known then left = math.max(left, redis.call('PTTL', KEYS[3])) end
  redis.call('SET', KEYS[3], ARGV[6], 'PX', string.format('%.0f', left))
elseif not known then
  redis.call('DEL', KEYS[3])
end
if not known then redis.call('PUBLISH', KEYS[4], ARGV[1]) end
return 1
"""
# KEYS as above. ARGV: scope; epoch and revision of the last record held of it; 0: not while it is active.
_FORGET = """
local held = redis.call('HGET', KEYS[2], ARGV[1])
if held then
  local e, r = string.match(held, '^(%d+)/(%d+)$')
  local epoch, revision = tonumber(ARGV[2]), tonumber(ARGV[3])
  if epoch < tonumber(e) or (epoch == tonumber(e) and revision < tonumber(r)) then return 0 end
end
if ARGV[4] == '0' and redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
redis.call('PUBLISH', KEYS[4], ARGV[1])
return 1
"""
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
    period_s = 3.0

    def __init__(self, url: str, *, topic_prefix: str = "", mirror_id: str = "") -> None:
        parts = urlsplit(url)  # redis-py takes `redis:6379` for a Redis on this machine
        if not (parts.scheme in ("redis", "rediss") and parts.hostname) and not url.startswith("unix:///"):
            raise ValueError("expected redis://HOST:PORT/DB, rediss:// or unix:///PATH")
        self._client: Any = Redis.from_url(  # its types differ from version to version
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
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
        try:
            if not self._scripts:
                self._scripts = [await self._client.script_load(text) for text in (_WRITE, _FORGET, _FENCE)]
            return await self._write(picture, changed)
        except NoScriptError:  # a Redis that has been started anew
            self._scripts = []
            raise

    async def _write(self, picture: Picture, changed: frozenset[str] | None) -> Mapping[str, int]:
        outcomes: Counter[str] = Counter()
        began = time.monotonic()
        scopes = iter(picture.held.keys() | self._versions.keys() if changed is None else changed)
        while some := list(islice(scopes, _AT_ONCE)):
            waited_s = time.monotonic() - began
            calls = [call for scope in some if (call := self._call(picture, scope, waited_s)) is not None]
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
            await self._client.set(f"{self._prefix}alive", alive, px=heard_ms)
        return outcomes

    def _call(self, picture: Picture, scope: str, waited_s: float) -> tuple[str, tuple[Any, ...]] | None:
        """The script for one scope, and its arguments."""
        record = picture.held.get(scope)
        if record is None:
            version = self._versions.get(scope)
            return None if version is None else (self._scripts[1], (scope, *version, 1))
        left_ms = max(0, int((picture.left_s.get(scope, 0.0) - waited_s) * 1000))
        return self._scripts[0], _arguments(record, left_ms)

    async def _run(self, calls: Iterable[tuple[str, tuple[Any, ...]]]) -> Iterator[int]:
        pipeline = self._client.pipeline(transaction=False)
        for script, arguments in calls:
            pipeline.evalsha(script, 4, *self._keys(arguments[0]), *arguments)
        return iter(await pipeline.execute())

    def _keys(self, scope: str) -> tuple[str, ...]:
        return f"{self._prefix}fence", f"{self._prefix}versions", self.key(scope), f"{self._prefix}changes"

    async def _forget_strays(self, picture: Picture) -> None:
        """What ended while nobody mirrored. What is active is left: it ends, or another mirror is ahead."""
        found = await self._client.hgetall(f"{self._prefix}versions")
        held = {scope.encode() for scope in picture.held}
        strays = {scope: version for scope, version in found.items() if scope not in held}
        gone = [scope for scope, version in strays.items() if self._strays.get(scope) == version]
        await self._run((self._scripts[1], (scope.decode(), *strays[scope].split(b"/"), 0)) for scope in gone)
        self._strays = strays

    async def close(self) -> None:
        """Close the connections; the keys end by themselves."""
        await self._client.aclose()


def _arguments(record: ControlRecord, left_ms: int) -> tuple[Any, ...]:
    active = int(record.state == "active")
    value = encode(record) if left_ms else b""
    return record.scope, record.partition, record.epoch, record.revision, left_ms, value, active
