"""Sorting out a fetched list: what is judged, what is not, and where the rest goes."""

import gc
import weakref
from dataclasses import dataclass

import pytest

from detector.service.decode import ORIGIN_HEADER, Decoded, Homes, Kind, decode_batch, origin_of
from detector.service.marks import Origins
from topics.partitioner import partition_for
from topics.telemetry import TelemetryRecord

PARTITIONS = 8
KIND = Kind(TelemetryRecord)
NOW = 1_790_000_000.0


@dataclass
class Raw:
    value: bytes | None
    offset: int
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = int(NOW * 1000) - 500
    timestamp_type: int | None = 1


def good(route: str, offset: int, **fields: object) -> Raw:
    return Raw(b'{"event_time": 1789999999.5, "route": "%s"}' % route.encode(), offset, **fields)  # type: ignore[arg-type]


def decode(raws: list[Raw], partition: int, origins: Origins | None = None) -> Decoded[TelemetryRecord]:
    return decode_batch(
        raws, KIND, partition=partition, homes=Homes(PARTITIONS), origins=origins or Origins({}), now=NOW
    )


HOME = partition_for(b"r", PARTITIONS)


def test_one_bad_record_leaves_its_neighbours_alone() -> None:
    """Those around it are judged, with their own offsets; the bad one is set apart with its path."""
    found = decode(
        [good("r", 3), Raw(b'{"event_time": 1, "route": "r"}', 4), Raw(None, 5), good("r", 6)], HOME
    )

    assert found.offsets == [3, 6]
    assert [(raw.offset, error.path) for raw, error in found.bad] == [(4, "$.event_time"), (5, "$")]


@pytest.mark.parametrize("value", [b"{", b"\xff", b"[" * 100_000, b'{"event_time":1,"route":5}', b"null"])
def test_what_was_refused_needs_no_collector_of_cycles(value: bytes) -> None:
    """It may be a megabyte, and a flood of them must not wait in memory until somebody looks."""
    raws = [Raw(value, 0)]
    gc.disable()
    try:
        decoded = decode(raws, 0)
        gone = weakref.ref(raws[0])
        assert len(decoded.bad) == 1
        raws.clear()
        del decoded
        assert gone() is None
    finally:
        gc.enable()


def test_headers_of_others_do_not_matter() -> None:
    """A trace header, or an origin that is none, changes nothing."""
    raws = [good("r", 1, headers=(("traceparent", b"00"),)), good("r", 2, headers=((ORIGIN_HEADER, b"?"),))]

    assert decode(raws, HOME).offsets == [1, 2]


def test_a_stray_is_sent_home_once() -> None:
    """Without the header it goes to its route's partition; with it, it is judged where it lies."""
    elsewhere = (HOME + 1) % PARTITIONS
    arrived = good("r", 8, headers=((ORIGIN_HEADER, b"t/3/77"),))

    found = decode([good("r", 7), arrived], elsewhere)

    assert [(raw.offset, route, home) for raw, route, home in found.strays] == [(7, "r", HOME)]
    assert found.offsets == [8]
    assert found.origins == {8: "t/3/77"}


def test_a_rekeyed_record_counts_once() -> None:
    """An origin at or below the greatest one seen of its partition is a repeat; others are not concerned."""
    raws = [
        good("r", offset, headers=((ORIGIN_HEADER, origin),))
        for offset, origin in enumerate([b"t/3/7", b"t/3/8", b"t/3/7", b"t/4/7"])
    ]

    found = decode(raws, HOME)

    assert found.offsets == [0, 1, 3]
    assert found.repeats == [2]


def test_arrival_is_the_earlier_of_the_brokers_clock_and_ours() -> None:
    """A broker's clock that is ahead, or says nothing, does not make records arrive in the future."""
    ahead, silent = good("r", 1, timestamp=int(NOW * 1000) + 60_000), good("r", 2, timestamp=-1)

    assert decode([good("r", 0), ahead, silent], HOME).arrivals == [NOW - 0.5, NOW, NOW]


def test_a_producers_own_stamp_is_not_an_arrival() -> None:
    """Stamps an hour behind, in seconds, or of no known kind do not move an arrival into the past."""
    raws = [
        good("r", 0, timestamp=int(NOW * 1000) - 3_600_000, timestamp_type=0),
        good("r", 1, timestamp=int(NOW), timestamp_type=0),
        good("r", 2, timestamp_type=None),
    ]

    assert decode(raws, HOME).arrivals == [NOW, NOW, NOW]
    assert decode([*raws, Raw(None, 3)], HOME).arrivals == [NOW, NOW, NOW]


@pytest.mark.parametrize(
    "offset", [b"9" * 5000, b"9" * 25, b"-1", b""], ids=["5,000 digits", "25", "less", "none"]
)
def test_an_origin_that_no_log_can_have_is_none(offset: bytes) -> None:
    """Each restart would read it anew and fail; one too great would hide all others."""
    assert origin_of([(ORIGIN_HEADER, b"t/3/" + offset)]) == ""
