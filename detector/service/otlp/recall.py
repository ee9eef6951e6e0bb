"""Where to read spans from: before the commit, by as much as is remembered of calls for later verdicts."""

from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

from detector.service.otlp.progress import Place

RECALL_S = 600.0  # a verdict that comes later than that does not count
RECALL_BATCHES = 500  # over all partitions; more would take seconds
_ASK_S = 5.0


class Recall(NamedTuple):
    """By partition: where to begin, and from where on records are not sent yet."""

    starts: dict[Place, int]
    committed: dict[Place, int]


def recall(consumer: Consumer, spans: Sequence[TopicPartition], now: float) -> Recall:
    """Ask for it; partitions that nothing is committed of, or of another topic of that name, are left out.

    Args:
        consumer: a member of the group.
        spans: its partitions of spans.
        now: Unix seconds.

    Raises:
        KafkaException: no answer.
    """
    committed = {
        (place.topic, place.partition): place.offset
        for place in (consumer.committed(list(spans), timeout=_ASK_S) if spans else ())
        # Behind the end, it is of a topic that was made anew since.
        if 0 <= place.offset <= consumer.get_watermark_offsets(place, timeout=_ASK_S)[1]
    }
    since = int((now - RECALL_S) * 1000)
    asked = [TopicPartition(topic, partition, since) for topic, partition in committed]
    most, starts = RECALL_BATCHES // max(1, len(committed)), {}
    for place in consumer.offsets_for_times(asked, timeout=_ASK_S) if asked else ():
        end = committed[place.topic, place.partition]
        first = place.offset if 0 <= place.offset < end else end
        starts[place.topic, place.partition] = max(first, end - most)
    return Recall(starts, committed)
