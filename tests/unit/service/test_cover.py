"""What is covered, with outboxes that a test acknowledges, and a topic that refuses what is too large."""

from typing import Any

import pytest

from detector.contract.model import Contract
from detector.pipeline import Caps, Pipeline
from detector.service import snapshots
from detector.service.cover import Cover
from detector.service.marks import MARK_KEY, Snapshots, decode_mark
from detector.service.outbox import Outbox
from detector.service.ownership import Phase
from detector.service.refused import Refused
from detector.service.snapshots import SnapshotWriter
from topics.telemetry import TelemetryRecord


class Owning:
    """A desk whose owner owns the partition."""

    owner_id = "o"

    def phase(self, _: int) -> Phase:
        return Phase.OWNING

    def epoch(self, _: int) -> int:
        return 7


class Box(Outbox):
    """An outbox whose messages a test sees and answers."""

    def __init__(self) -> None:
        super().__init__({}, name="box")

    def answer(self, *, refuse: tuple[bytes, ...] = ()) -> list[tuple[bytes | None, bytes | None]]:
        """Acknowledge what waits, but refuse these keys; returns keys and values taken."""
        taken = []
        while self._waiting:
            item = self._waiting.popleft()
            self._flying.append(item)
            if item.key in refuse:
                self._refuse(item, ValueError("too large"))
            else:
                taken.append((item.key, item.value))
                self._finish(item)
                self._advance()
        return taken


class Partition:
    """A partition's pipeline and cover."""

    def __init__(self, *dropped: bytes, caps: Caps | None = None) -> None:
        self.box, self.control = Box(), Box()
        self.pipeline = Pipeline(Contract(), caps=caps)
        refused = Refused(self.box, deadletter="d", inputs={"telemetry": "t"}, max_bytes=1000)
        self.cover = Cover(
            0,
            self.pipeline,
            desk=Owning(),  # type: ignore[arg-type]
            refused=refused,
            control=self.control,
            snapshots=self.box,
            writer=SnapshotWriter(self.box, "s"),
            period_s=1.0,
            clock=lambda: 1000.0,
        )
        self.cover.restore(Snapshots(dropped=list(dropped)), {"telemetry": 0})
        self.cover.restored = True

    def judge(self, *routes: str) -> None:
        """One record each."""
        for route in routes:
            offset = self.cover.position["telemetry"]
            self.pipeline.step([TelemetryRecord(event_time=1000.0, route=route)], [offset], [1000.0])
            self.cover.position["telemetry"] = offset + 1

    def turn(self, **answer: Any) -> list[bytes | None]:
        """Take, send, answer, and mark; returns the keys taken."""
        keys = []
        for _ in range(3):
            self.cover.turn(1.0, hurry=True)
            keys += [key for key, _ in self.box.answer(**answer)]
        return keys


def test_before_the_state_is_taken_over_nothing_is_said_of_it() -> None:
    """The claim comes before; a mark without state would hide from the next one what there is."""
    partition = Partition()
    partition.judge("a")
    partition.cover.restored = False

    assert partition.turn() == []


def test_what_is_acknowledged_may_be_committed() -> None:
    """A snapshot of each route, then the mark, then the offset."""
    partition = Partition()
    partition.judge("a", "b")

    assert partition.turn()[:2] == [b"a", b"b"]
    assert partition.cover.committable == {"telemetry": 2}


@pytest.mark.parametrize("by_broker", [True, False])
def test_a_refused_snapshot_keeps_the_offset_back(by_broker: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no snapshot contains is not committed, until a later one of the route is taken."""
    partition = Partition()
    partition.judge("a")
    partition.turn()
    partition.judge("b", "a")
    if by_broker:
        partition.turn(refuse=(b"a", b"b"))
    else:
        with monkeypatch.context() as patch:
            patch.setattr(snapshots, "MAX_SNAPSHOT_BYTES", 10)
            partition.turn()
    assert partition.cover.committable == {"telemetry": 1}
    assert partition.cover.kept_back == 2
    partition.judge("c")
    partition.turn()
    assert partition.cover.committable == {"telemetry": 1}

    partition.judge("a", "b")
    partition.turn()
    assert partition.cover.kept_back == 0
    assert partition.cover.committable == {"telemetry": 6}


def test_an_evicted_route_is_removed_and_what_it_counted_is_kept() -> None:
    """A restart holds no more routes than the worker did, and counts the same."""
    partition = Partition(caps=Caps(routes=1))
    partition.judge("a")
    partition.turn()
    partition.judge("b")
    partition.cover.turn(1.0, hurry=True)
    taken = partition.box.answer()
    partition.cover.turn(1.0, hurry=True)
    (mark,) = [decode_mark(value) for key, value in partition.box.answer() if key == MARK_KEY]

    assert (b"a", None) in taken
    assert [key for key, value in taken if key != MARK_KEY] == [b"a", b"b"]
    assert (mark.gone["judged"], mark.gone["evicted"], mark.counts["judged"]) == (1, 1, 2)
    assert partition.cover.committable == {"telemetry": 2}


def test_routes_that_do_not_count_are_removed_before_the_first_mark() -> None:
    """From then on nothing would tell that they are not of this topic."""
    partition = Partition(b"old")
    partition.cover.send_mark()

    assert [(key, value is None) for key, value in partition.box.answer()] == [
        (b"old", True),
        (MARK_KEY, False),
    ]
