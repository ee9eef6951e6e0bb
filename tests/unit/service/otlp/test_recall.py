"""How far back a start reads spans, to remember the calls before it."""

from collections.abc import Sequence

import pytest
from confluent_kafka import TopicPartition

from detector.service.otlp.recall import RECALL_BATCHES, RECALL_S, recall

NOW = 1_700_000_000.0
TOPIC = "otlp_spans"


class Group:
    """A consumer as far as it is asked: by partition the commit, the end, and the first one that is young."""

    def __init__(self, *partitions: tuple[int, int, int]) -> None:
        self.partitions = partitions

    @property
    def places(self) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, number) for number in range(len(self.partitions))]

    def committed(self, places: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, each.partition, self.partitions[each.partition][0]) for each in places]

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        return 0, self.partitions[place.partition][1]

    def offsets_for_times(self, places: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert {each.offset for each in places} == {int((NOW - RECALL_S) * 1000)}
        return [TopicPartition(TOPIC, each.partition, self.partitions[each.partition][2]) for each in places]


@pytest.mark.parametrize(
    ("partition", "start"),
    [
        ((100, 120, 40), 40),
        ((100, 120, 110), 100),
        ((100, 100, -1), 100),
        ((10_000, 10_000, 0), 10_000 - RECALL_BATCHES),
        ((-1001, 50, 0), None),
        ((100, 20, 0), None),
    ],
    ids=["young ones", "none of them young", "nothing young", "too many", "nothing committed", "made anew"],
)
def test_a_start_reads_back_as_far_as_it_helps(partition: tuple[int, int, int], start: int | None) -> None:
    """To the first young batch, by so many at most, never beyond the commit; or not at all."""
    group = Group(partition)

    found = recall(group, group.places, NOW)  # type: ignore[arg-type]

    assert found.starts.get((TOPIC, 0)) == start
    assert found.committed == ({} if start is None else {(TOPIC, 0): partition[0]})


def test_partitions_share_what_is_read_back() -> None:
    group = Group((10_000, 10_000, 0), (10_000, 10_000, 0))
    found = recall(group, group.places, NOW)  # type: ignore[arg-type]

    assert set(found.starts.values()) == {10_000 - RECALL_BATCHES // 2}
    assert recall(group, [], NOW) == ({}, {})  # type: ignore[arg-type]
