"""The topics are declared as the wire contract prints them."""

import pytest

from topics.names import DEFAULT_PARTITIONS, topics

DAY_MS = 24 * 3600 * 1000
FAST = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 1024 * 1024),
    "segment.ms": "60000",
    "min.cleanable.dirty.ratio": "0.1",
    "min.compaction.lag.ms": "30000",
    "max.compaction.lag.ms": "60000",
    "delete.retention.ms": str(DAY_MS),
}


@pytest.mark.parametrize(
    ("name", "partitions", "settings"),
    [
        ("llm.telemetry", None, {"cleanup.policy": "delete"}),
        ("llm.evaluations", None, {"cleanup.policy": "delete"}),
        ("detector.control", 1, FAST),
        ("detector.transitions", 1, {"cleanup.policy": "delete", "retention.ms": str(30 * DAY_MS)}),
        ("detector.overrides", 1, {"cleanup.policy": "compact"}),
        ("detector.deadletter", 1, {"cleanup.policy": "delete"}),
        ("detector.acks", 1, {"cleanup.policy": "delete"}),
    ],
)
def test_a_topic_is_declared_as_the_contract_says(name, partitions, settings):
    """Each topic of the wire contract has the partitions and the settings of its table."""
    found = {topic.name: topic for topic in topics().all()}[name]

    assert (found.partitions, found.settings) == (partitions, settings)
    assert found.policy == settings["cleanup.policy"]


def test_the_inputs_have_eight_partitions_by_default():
    """Where nothing else is said, telemetry has eight partitions."""
    assert DEFAULT_PARTITIONS == 8


def test_a_prefix_changes_names_and_nothing_else():
    """Two installations share a cluster: every topic of the second stands under its prefix."""
    for plain, prefixed in zip(topics().all(), topics("eu.").all(), strict=True):
        assert prefixed.name == "eu." + plain.name
        assert (prefixed.key, prefixed.partitions, prefixed.settings) == (
            plain.key,
            plain.partitions,
            plain.settings,
        )
