"""What the service counts. Labels are bounded: partitions, kinds, names from the contract; never routes."""

from collections.abc import Iterable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from detector.contract.model import Mode
from detector.modes.decision import Kind
from detector.service.logs import logger

_WORK_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)


class Tally(Collector):
    """A counter that is counted elsewhere: in a partition's state, say, with which it outlasts a restart.

    Args:
        name: without `_total`, which is added.
        help_text: what it counts.
        label: name of its only label.
        registry: where it is exported.
    """

    def __init__(self, name: str, help_text: str, label: str, *, registry: CollectorRegistry) -> None:
        self.label = label
        self._name, self._help = name, help_text
        self._counts: dict[str, float] = {}
        registry.register(self)

    def set(self, value: str, count: float) -> None:
        """The count of this label's value is `count` by now."""
        self._counts[value] = count

    def remove(self, value: str) -> None:
        """Export it no more."""
        self._counts.pop(value, None)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """As the registry asks for it."""
        family = CounterMetricFamily(self._name, self._help, labels=[self.label])
        for value, count in self._counts.items():
            family.add_metric([value], count)
        yield family


class Metrics:
    """All metrics of one service, in a registry of its own; names begin with `detector_`, base units."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.records = Counter("detector_records", "Records read.", ["topic"], registry=registry)
        self.malformed = Counter(
            "detector_malformed_records", "Records sent to the dead letters.", ["topic"], registry=registry
        )
        self.rekeyed = Counter(
            "detector_rekeyed_records", "Records sent on to their route's partition.", registry=registry
        )
        self.repeats = Counter(
            "detector_repeated_records", "Re-keyed records that had been seen.", registry=registry
        )
        self.decisions = Counter(
            "detector_decisions", "Decisions.", ["kind", "mode", "disposition"], registry=registry
        )
        self.batch = Histogram(
            "detector_batch_seconds",
            "From a batch's delivery to its judgement.",
            buckets=_WORK_BUCKETS,
            registry=registry,
        )
        self.snapshot = Histogram(
            "detector_snapshot_turn_seconds",
            "One turn of taking snapshots.",
            buckets=_WORK_BUCKETS,
            registry=registry,
        )
        self.restore = Histogram(
            "detector_restore_seconds",
            "From an assignment to its restored state.",
            buckets=(0.1, 0.5, 1, 2, 5, 10, 30),
            registry=registry,
        )
        self.owned = Gauge(
            "detector_partition_owned",
            "1 while this worker owns the partition.",
            ["partition"],
            registry=registry,
        )
        self.caught_up = Gauge(
            "detector_partition_caught_up",
            "1 while the partition is caught up.",
            ["partition"],
            registry=registry,
        )
        self.epoch = Gauge(
            "detector_partition_epoch", "Epoch of this worker's claim.", ["partition"], registry=registry
        )
        self.beat = Gauge(
            "detector_partition_heartbeat_timestamp_seconds",
            "When the partition's lease was renewed last.",
            ["partition"],
            registry=registry,
        )
        self.lag = Gauge(
            "detector_partition_lag_records",
            "Records behind the end.",
            ["partition", "topic"],
            registry=registry,
        )
        self.passed_over = Counter(
            "detector_passed_over_offsets",
            "Offsets of an input that held no record to read: markers of transactions, what was aborted, and "
            "what was deleted before it was read.",
            ["topic"],
            registry=registry,
        )
        self.judged = Tally(
            "detector_judged_records",
            "Records judged since the partition's beginning.",
            "partition",
            registry=registry,
        )
        self.late = Tally(
            "detector_late_records", "Records too late for their windows.", "partition", registry=registry
        )
        self.clamped = Tally(
            "detector_clamped_records",
            "Records and verdicts whose event time lay too far ahead of their arrival.",
            "partition",
            registry=registry,
        )
        self.active = Gauge(
            "detector_active_scopes",
            "Scopes published as active, those that an operator forced included.",
            ["partition"],
            registry=registry,
        )
        self.armed = Gauge(
            "detector_armed_share",
            "Share of records judged while armed.",
            ["partition", "predicate"],
            registry=registry,
        )
        self.verdicts = Tally(
            "detector_judged_verdicts",
            "Late verdicts judged since the partition's beginning.",
            "partition",
            registry=registry,
        )
        self.verdicts_skipped = Tally(
            "detector_skipped_verdicts",
            "Late verdicts that say nothing of the primary.",
            "partition",
            registry=registry,
        )
        self.verdicts_unjoined = Tally(
            "detector_unjoined_verdicts",
            "Late verdicts whose call was not found where it had to be; not judged.",
            "partition",
            registry=registry,
        )
        self.evicted = Tally(
            "detector_evicted_routes",
            "Routes forgotten because there were too many.",
            "partition",
            registry=registry,
        )
        self.overdue = Tally(
            "detector_revert_attempts_overdue",
            "Attempts to revert that were made later than promised; stays 0.",
            "partition",
            registry=registry,
        )
        self.predicate_routes = Gauge(
            "detector_predicate_routes",
            "Routes on which a predicate is armed, in breach, unusable, learning, or has too little data.",
            ["predicate", "outcome"],
            registry=registry,
        )
        self.unreadable = Tally(
            "detector_unreadable_messages",
            "Messages of the control and override topics that are no records. Each worker reads all of them.",
            "topic",
            registry=registry,
        )
        self.outbox = Gauge(
            "detector_outbox_messages", "Messages not yet acknowledged.", ["outbox"], registry=registry
        )
        self.refused = Tally(
            "detector_outbox_refused_messages",
            "Messages that the broker will never take.",
            "outbox",
            registry=registry,
        )
        self.kept_back = Gauge(
            "detector_uncovered_routes",
            "Routes whose snapshots are refused; the partition is not covered beyond them.",
            ["partition"],
            registry=registry,
        )
        self.restarts = Counter(
            "detector_restarts", "Times that this process began again after a failure.", registry=registry
        )
        self.failures = Counter(
            "detector_route_failures",
            "Routes whose judgement failed by an error of ours and began anew.",
            registry=registry,
        )
        self.fenced = Counter("detector_fenced", "Times another owner was met.", registry=registry)
        self.discarded = Counter(
            "detector_discarded_states", "Saved states that did not fit their topic.", registry=registry
        )
        self.broker = Gauge(
            "detector_broker_reached_timestamp_seconds", "When the broker answered last.", registry=registry
        )
        self.info = Gauge("detector_contract_info", "The contract in force.", ["digest"], registry=registry)
        self.reload_ok = Gauge(
            "detector_config_last_reload_successful",
            "0 if the contract that was read last was refused, and the one before it goes on.",
            registry=registry,
        )
        self.reloaded = Gauge(
            "detector_config_last_reload_success_timestamp_seconds",
            "When the contract in force was read.",
            registry=registry,
        )

    def foresee(self, modes: Iterable[Mode]) -> None:
        """Have a series for all that may be decided: no rate tells of an event that a series begins with."""
        for mode in modes:
            disposition = "shadow" if mode.shadow else mode.severity
            for kind in get_args(Kind):
                self.decisions.labels(kind, mode.name, disposition)

    def forget(self, partition: int) -> None:
        """Drop the series of a partition that is no longer ours."""
        for tally in (each for each in vars(self).values() if isinstance(each, Tally)):
            if tally.label == "partition":
                tally.remove(str(partition))
        for gauge in (each for each in vars(self).values() if isinstance(each, Gauge)):
            for sample in next(iter(gauge.collect())).samples:
                if sample.labels.get("partition") == str(partition):
                    gauge.remove(*sample.labels.values())

    def render(self) -> bytes:
        """The text that a scrape is given."""
        return generate_latest(self.registry)


def route_failed(partition: int, metrics: Metrics, route: str, error: Exception) -> None:
    """Say that judging a route failed; it begins anew, and its partition goes on."""
    metrics.failures.inc()
    logger(partition=partition).error("route_failed", route=route, exc_info=error)
