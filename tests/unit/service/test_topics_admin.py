"""Existing topics against the declaration."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    InvalidTopicError,
    KafkaConnectionError,
    TopicAuthorizationFailedError,
)

from detector.service.topics_admin import (
    TopicMismatchError,
    _default_replication,
    advice,
    copies,
    is_fatal,
    mismatches,
)
from topics.names import topics

CONTROL = topics("x.").control


def test_a_topic_as_declared_is_fine_however_the_broker_writes_it() -> None:
    """Numbers are compared as numbers, settings of the broker's own are nobody's business."""
    present = CONTROL.settings | {"min.cleanable.dirty.ratio": "0.10", "retention.ms": "604800000"}

    assert mismatches(CONTROL, 1, 1, present) == []


def test_a_contradiction_names_topic_setting_and_remedy() -> None:
    """Whoever reads it can act on it."""
    (found,) = mismatches(CONTROL, 1, 1, CONTROL.settings | {"segment.ms": "604800000"})

    assert "x.detector.control" in found
    assert "segment.ms is 604800000, expected 60000" in found
    assert "--add-config segment.ms=60000" in found


def test_a_cleanup_policy_beside_the_declared_one_is_a_contradiction() -> None:
    """`compact,delete` throws away scopes that nobody changed for a week."""
    assert mismatches(CONTROL, 1, 1, CONTROL.settings | {"cleanup.policy": "compact,delete"})


def test_evaluations_need_as_many_partitions_as_telemetry() -> None:
    """Else a route's verdicts would go to another worker than its calls."""
    (found,) = mismatches(topics().evaluations, 8, 4, {})

    assert "llm.evaluations: 4 partitions, expected 8" in found
    assert "kafka-topics.sh --alter --topic llm.evaluations --partitions 8" in found
    (found,) = mismatches(topics().evaluations, 4, 8, {})
    assert "make the topic anew" in found


def test_records_that_are_kept_longer_contradict_nothing() -> None:
    """An audit of a quarter of a year, or for ever; one of a day would lose what `label` needs."""
    audit = topics().transitions
    kept = {days: audit.settings | {"retention.ms": str(days * 86_400_000)} for days in (1, 30, 90)}

    assert mismatches(audit, 1, 1, kept[30]) == mismatches(audit, 1, 1, kept[90]) == []
    assert mismatches(audit, 1, 1, audit.settings | {"retention.ms": "-1"}) == []
    assert mismatches(audit, 1, 1, kept[1])


def test_what_no_retry_can_mend_is_fatal() -> None:
    """A name that Kafka does not allow, a right that is not given; a broker that is away comes back."""
    for error in (InvalidTopicError("x"), TopicAuthorizationFailedError("x"), TopicMismatchError("x")):
        assert is_fatal(error)
    for error in (KafkaConnectionError("x"), IncompatibleBrokerVersion("x"), OSError("x")):
        assert not is_fatal(error)


def test_an_embedded_broker_that_is_taken_for_a_real_one_is_told_of() -> None:
    """The client's words name a request that nobody has heard of."""
    assert "--embedded" in advice(IncompatibleBrokerVersion("x"))
    assert not advice(KafkaConnectionError("x"))


@pytest.mark.parametrize(
    ("settings", "brokers", "kept"),
    [
        ({"default.replication.factor": "2"}, 5, 2),
        ({"default.replication.factor": "3"}, 1, 1),
        ({}, 3, 1),
        (None, 5, 3),
        (None, 1, 1),
    ],
)
def test_as_many_copies_as_the_cluster_says(settings: dict[str, str] | None, brokers: int, kept: int) -> None:
    """Where we may not look, a single copy is not what is assumed of a cluster."""
    assert copies(settings, brokers) == kept


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ((0, "", 4, "0", [("default.replication.factor", "2")]), 2),
        ((31, "Cluster authorization failed.", 4, "0", []), 3),
    ],
)
async def test_a_cluster_is_asked_and_may_refuse_to_tell(answer: tuple[Any, ...], kept: int) -> None:
    """Without DescribeConfigs on the cluster its default is not known."""

    class Admin:
        async def describe_cluster(self) -> dict[str, Any]:
            return {"brokers": [{"node_id": number} for number in range(3)]}

        async def describe_configs(self, _: object) -> list[Any]:
            return [SimpleNamespace(resources=[answer])]

    assert await _default_replication(cast(Any, Admin())) == kept
