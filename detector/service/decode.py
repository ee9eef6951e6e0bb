"""From a fetched batch to records that can be judged; what cannot is set apart, never thrown.

One plain loop per batch: at 150,000 records a second there is no time for more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from detector.service.marks import Origins
from topics.codec import decoder
from topics.errors import DecodeError
from topics.partitioner import partition_for

ORIGIN_HEADER = "detector.origin"
_ROUTES_KEPT = 100_000
_LAST_OFFSET = 2**63 - 1
_LONGEST_PLACE = len(f"{2**31 - 1}/{_LAST_OFFSET}")  # the interpreter refuses to read numbers of any length
_LOG_APPEND_TIME = 1  # Kafka's code for a stamp that the broker made


class HasRoute(Protocol):
    """What both inputs have."""

    route: str


R = TypeVar("R", bound=HasRoute)


class Kind(Generic[R]):
    """How one input is decoded: quickly, and again with the path to the fault where that raises."""

    def __init__(self, record: type[R]) -> None:
        self.quick = msgspec.json.Decoder(record).decode
        self.explain = decoder(record)


@dataclass(slots=True)
class Decoded(Generic[R]):
    """A batch, sorted out.

    Attributes:
        records, offsets, arrivals: to be judged; an arrival (Unix s) is when the broker appended the record,
            where it says so, and never later than now.
        bad: what is no record, with the reason.
        strays: records whose route belongs to another partition, with that partition.
        repeats: own offsets of re-keyed records that had been seen.
        origins: own offset to origin, of re-keyed records that are judged here.
    """

    records: list[R] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    bad: list[tuple[Any, DecodeError]] = field(default_factory=list)
    strays: list[tuple[Any, str, int]] = field(default_factory=list)
    repeats: list[int] = field(default_factory=list)
    origins: dict[int, str] = field(default_factory=dict)


class Homes:
    """Which partition a route belongs to, remembered."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._known: dict[str, int] = {}

    def recount(self, partitions: int) -> None:
        """The topic has another number of partitions now."""
        self.partitions = partitions
        self._known.clear()

    def of(self, route: str) -> int:
        """The partition of a route's key."""
        home = self._known.get(route)
        if home is None:
            if len(self._known) >= _ROUTES_KEPT:
                self._known.clear()
            home = self._known[route] = partition_for(route.encode(), self.partitions)
        return home


def decode_batch(
    fetched: Sequence[Any],
    kind: Kind[R],
    *,
    partition: int,
    homes: Homes,
    origins: Origins,
    now: float,
) -> Decoded[R]:
    """Decode records of one partition (aiokafka's, in order); `now`: wall clock, Unix s."""
    quick = kind.quick
    try:
        records = [quick(raw.value) for raw in fetched]
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return _decode_each(fetched, kind, partition=partition, homes=homes, origins=origins, now=now)
    at_home = all(homes.of(route) == partition for route in {record.route for record in records})
    if not at_home or any(map(origin_of, [raw.headers for raw in fetched if raw.headers])):
        return _decode_each(fetched, kind, partition=partition, homes=homes, origins=origins, now=now)
    stamped = _LOG_APPEND_TIME in [raw.timestamp_type for raw in fetched]
    arrivals = [_arrival(raw, now) for raw in fetched] if stamped else [now] * len(fetched)
    return Decoded(records, [raw.offset for raw in fetched], arrivals)


def _decode_each(
    fetched: Sequence[Any], kind: Kind[R], *, partition: int, homes: Homes, origins: Origins, now: float
) -> Decoded[R]:
    """The same, record by record, where something in the list is not as it should be."""
    out: Decoded[R] = Decoded()
    for raw in fetched:
        try:
            record = kind.explain(raw.value)
        except DecodeError as error:
            # By its tracebacks it would refer to this frame, and that to it: a cycle for every bad record.
            error.__context__ = None
            out.bad.append((raw, error.with_traceback(None)))
            continue
        if raw.headers and (origin := origin_of(raw.headers)):
            place, _, offset = origin.rpartition("/")
            if not origins.accept(place, int(offset), raw.offset):
                out.repeats.append(raw.offset)
                continue
            out.origins[raw.offset] = origin
        elif (home := homes.of(record.route)) != partition:
            out.strays.append((raw, record.route, home))
            continue
        out.records.append(record)
        out.offsets.append(raw.offset)
        out.arrivals.append(_arrival(raw, now))
    return out


def _arrival(raw: Any, now: float) -> float:
    """A producer's own stamp says nothing of the arrival, and may be wrong by hours or in its unit."""
    if raw.timestamp_type != _LOG_APPEND_TIME:
        return now
    stamp: float = raw.timestamp / 1000
    return stamp if 0 < stamp < now else now


def origin_of(headers: Sequence[tuple[str, bytes]] | Mapping[str, bytes]) -> str:
    """The header `topic/partition/offset` of a re-keyed record; empty where there is none such."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        if name == ORIGIN_HEADER:
            text = (value or b"").decode("utf-8", "replace")
            topic, _, rest = text.partition("/")
            partition, _, offset = rest.partition("/")
            plain = partition.isdecimal() and offset.isdecimal() and len(rest) <= _LONGEST_PLACE
            return text if topic and plain and int(offset) <= _LAST_OFFSET else ""
    return ""
