"""Names of Faust and aiokafka that are not theirs to promise, and that the service leans on.

When one of these fails after an upgrade: read the named place in `detector/service/`, see what the library
does now, adapt, and run all of tests/integration on an Apache Kafka before the pin in pyproject moves.
"""

import inspect
from types import CodeType
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher as AiokafkaFetcher
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer as BaseConsumer
from faust.transport.consumer import Fetcher
from faust.transport.drivers import aiokafka as driver
from mode import Service

from detector.service.transport import BatchConsumer, BatchThread, batch_transport


def names(function: Any) -> set[str]:
    """Every attribute and local that a function's code touches, nested functions included."""
    found: set[str] = set()

    def walk(code: CodeType) -> None:
        found.update(code.co_names + code.co_varnames + code.co_freevars + code.co_cellvars)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                walk(constant)

    walk(inspect.unwrap(function).__code__)
    return found


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (BaseConsumer, "_drain_messages"),
        (BaseConsumer, "perform_seek"),
        (BaseConsumer, "force_commit"),
        (BaseConsumer, "wait_empty"),
        (BaseConsumer, "ack"),
        (BaseConsumer, "verify_all_partitions_active"),
        (driver.Consumer, "_new_consumer_thread"),
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer"),
        (driver.AIOKafkaConsumerThread, "_ensure_consumer"),
        (driver.AIOKafkaConsumerThread, "call_thread"),
        (driver.AIOKafkaConsumerThread, "on_partitions_assigned"),
        (BaseConsumer, "on_partitions_revoked"),
        (GroupCoordinator, "check_errors"),
        (driver.AIOKafkaConsumerThread, "_fetch_records"),
        (FetchResult, "getall"),
        (FetchResult, "check_assignment"),
        (FetchResult, "has_more"),
        (FetchResult, "_update_position"),
        (AIOKafkaConsumer, "last_poll_timestamp"),
        (AIOKafkaConsumer, "highwater"),
    ],
)
def test_a_name_that_is_overridden_or_called_is_still_there(owner: type, name: str) -> None:
    """Without it the override would override nothing, silently."""
    assert callable(getattr(owner, name))


def test_the_transport_overrides_what_faust_calls() -> None:
    """Fetcher drains, recovery seeks before it resumes the flow, and the commit task ends in force_commit."""
    assert "_drain_messages" in names(Fetcher._fetcher.fun)
    assert {"perform_seek", "resume_flow"} <= names(Recovery._resume_streams)
    assert "force_commit" in names(BaseConsumer.commit)
    assert "flow_active" in names(driver.AIOKafkaConsumerThread._fetch_records)


def test_a_crash_of_the_app_can_be_waited_for() -> None:
    """A crash inside Faust sets an event; a service that does not hear of it would sit there for ever."""
    assert "_crashed" in names(Service.__init__)
    assert "_crashed" in names(Service.crash) | names(Service._crash)
    assert "_crash_reason" in names(Service.__init__)


def test_the_consumer_keeps_the_state_that_the_transport_reads() -> None:
    """Read and committed offsets, buffered partitions and unacknowledged messages keep their names."""
    made = names(BaseConsumer.__init__)

    kept = {"_read_offset", "_committed_offset", "_unacked_messages", "_buffered_partitions"}
    assert kept | {"can_resume_flow"} <= made
    assert "_active_partitions" in names(BaseConsumer._get_active_partitions)
    assert "generation_id" in inspect.signature(driver.ConsumerMessage.__init__).parameters


def test_aiokafka_takes_the_assignor_until_it_starts() -> None:
    """It is set on the consumer after Faust has made it and before it starts."""
    assert "_partition_assignment_strategy" in names(AIOKafkaConsumer.start)


def test_a_partition_is_paused_before_it_could_be_fetched() -> None:
    """Another consumer reads it. A new assignment pauses none, and tells the thread before anybody else."""
    assert "paused" in names(AiokafkaFetcher._get_actions_per_node)
    assert "on_partitions_assigned" in names(driver.ConsumerRebalanceListener.on_partitions_assigned)


def test_a_fetched_partition_can_be_taken_whole() -> None:
    """The results lie in one mapping by partition, and each is asked for its records by `getall`."""
    assert "_records" in names(AiokafkaFetcher.__init__)
    assert {"_records", "getall", "has_more"} <= names(AiokafkaFetcher.fetched_records)
    assert {"_partition_records", "_topic_partition"} <= names(FetchResult.__init__)
    kept = {"_records", "_check_crcs", "next_fetch_offset", "_records_iterator", "_tp"}
    assert kept <= names(PartitionRecords.__init__)


def test_the_assignor_keeps_both_inputs_together() -> None:
    """Partition n of telemetry and of evaluations goes to one member, however many members there are."""

    class Cluster:
        def partitions_for_topic(self, topic: str) -> set[int]:
            return set(range(8))

    for members in (1, 2, 3, 5):
        subscription = RangePartitionAssignor.metadata(["evaluations", "telemetry"])
        found = RangePartitionAssignor.assign(Cluster(), {f"m{n}": subscription for n in range(members)})  # type: ignore[arg-type]
        for assignment in found.values():
            given = {topic: list(numbers) for topic, numbers in assignment.assignment}
            assert given["evaluations"] == given["telemetry"]


def test_the_transport_makes_our_consumer_and_our_thread() -> None:
    """Faust takes the consumer's class from the transport, and its thread from the consumer."""
    nobody: Any = object()  # is asked for nothing here
    transport: Any = batch_transport(nobody, nobody)

    assert issubclass(transport.Consumer, BatchConsumer)
    assert "BatchThread" in names(BatchConsumer._new_consumer_thread)
    assert issubclass(BatchThread, driver.AIOKafkaConsumerThread)
