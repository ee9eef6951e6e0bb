"""Whether a partition's lease lives, for a viewer whose clock need not be that of any worker."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from detector.contract.grammar import HEARTBEAT_S
from detector.gateway.closing import close_consumer
from detector.gateway.fold import Fold, parse
from detector.gateway.headernames import tolerate_header_names
from detector.service.settings import Settings
from topics.control import OwnerRecord
from topics.errors import DecodeError

_SLACK_S = 1.0  # clocks that are kept differ by less, and so late is a heartbeat at most
LISTEN_S = HEARTBEAT_S + _SLACK_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """`heard_s_ago` and `lapsed_s` (for how long) are None where nobody can tell."""

    owner: OwnerRecord | None
    heard_s_ago: float | None
    lapsed: bool
    lapsed_s: float | None


@dataclass(frozen=True, slots=True)
class Beat:
    """Heard `at` on the monotonic clock; this machine's wall clock is ahead of the writer's by `off_s`."""

    record: OwnerRecord
    at: float
    off_s: float


class Leases:
    """Those of all partitions, by clocks where these look sound and by `beats` elsewhere."""

    def __init__(self, owners: dict[int, OwnerRecord]) -> None:
        self._owners = owners
        self._doubtful: Collection[int] = ()
        self._beats: dict[int, Beat] = {}

    async def hear(
        self,
        settings: Settings,
        topic: str,
        partitions: Collection[int],
        fold: Fold,
        told: Callable[[Collection[int]], object],
    ) -> None:
        """Listen for those whose lease has lapsed by this machine's clock, or was renewed in its future.

        Args:
            settings, topic: where the control topic is.
            partitions: all there are.
            fold: what was read of it; its fence holds on.
            told: called with the doubtful ones, sorted, before it is listened; not at all without any.
        """
        now = time.time()
        self._doubtful = [number for number in sorted(partitions) if self._doubt(number, now)]
        if self._doubtful:
            told(self._doubtful)
            self._beats = await _listen(settings, topic, self._doubtful, fold)

    def _doubt(self, number: int, now: float) -> bool:
        owner = self._owners.get(number)
        return owner is None or not -_SLACK_S <= now - owner.issued_at <= owner.lease_s

    def of(self, number: int) -> Lease:
        """The lease of one partition, as it is now."""
        if (beat := self._beats.get(number)) is not None:
            heard_s = round(time.monotonic() - beat.at, 3)
            return Lease(owner=beat.record, heard_s_ago=heard_s, lapsed=False, lapsed_s=None)
        owner, lapsed = self._owners.get(number), number in self._doubtful
        if owner is None:
            return Lease(owner=None, heard_s_ago=None, lapsed=True, lapsed_s=None)
        age_s = round(time.time() - owner.issued_at, 3)
        if not lapsed:
            return Lease(owner=owner, heard_s_ago=max(0.0, age_s), lapsed=False, lapsed_s=None)
        if age_s <= owner.lease_s:  # renewed in this clock's future, and silent
            return Lease(owner=owner, heard_s_ago=None, lapsed=True, lapsed_s=None)
        return Lease(owner=owner, heard_s_ago=age_s, lapsed=True, lapsed_s=round(age_s - owner.lease_s, 3))

    @property
    def clock_off_s(self) -> float | None:
        """How far this machine's clock is ahead of that worker's heard which differs most; None: alike."""
        off_s = max((beat.off_s for beat in self._beats.values()), key=abs, default=0.0)
        return round(off_s, 1) if abs(off_s) > _SLACK_S else None


async def _listen(settings: Settings, topic: str, wanted: Collection[int], fold: Fold) -> dict[int, Beat]:
    """Heartbeats that are written from now on, until all wanted were heard or `LISTEN_S` are over."""
    place = TopicPartition(topic, 0)
    tolerate_header_names()
    consumer = AIOKafkaConsumer(
        **settings.client_options(), group_id=None, enable_auto_commit=False, auto_offset_reset="latest"
    )
    beats: dict[int, Beat] = {}
    try:
        await consumer.start()
        consumer.assign([place])
        await consumer.seek_to_end(place)
        await consumer.position(place)
        until = time.monotonic() + LISTEN_S
        while not beats.keys() >= set(wanted) and time.monotonic() < until:
            for records in (await consumer.getmany(place, timeout_ms=100)).values():
                for raw in records:
                    try:
                        entry = parse(raw.key, raw.value, tuple(raw.headers), raw.offset)
                    except DecodeError:
                        continue
                    if isinstance(entry, OwnerRecord) and fold.apply(entry):
                        off_s = time.time() - entry.issued_at
                        beats[entry.partition] = Beat(entry, time.monotonic(), off_s)
    finally:
        await close_consumer(consumer)
    return beats
