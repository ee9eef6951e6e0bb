"""What the process counts; see `detector.service.metrics` for those of a worker."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from detector.service.metrics import Tally
from detector.service.otlp import logs, spans


class Counts:
    """All metrics of one process, in a registry of its own; every outcome has its series from the start."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._messages = Counter(
            "detector_otlp_messages", "Batches read from Kafka.", ["topic"], registry=registry
        )
        self._malformed = Counter(
            "detector_malformed_records", "Records sent to the dead letters.", ["topic"], registry=registry
        )
        self._spans = Counter(
            "detector_otlp_spans", "Spans by what became of them.", ["outcome"], registry=registry
        )
        self._evaluations = Counter(
            "detector_otlp_evaluations",
            "Log records by what became of them.",
            ["outcome"],
            registry=registry,
        )
        self._left_out = Counter(
            "detector_otlp_fields_left_out",
            "Values that were no use and are missing from records, or were cut.",
            registry=registry,
        )
        self.calls = Gauge(
            "detector_otlp_remembered_calls", "Calls that a verdict can be joined to.", registry=registry
        )
        self.waiting = Gauge(
            "detector_otlp_waiting_evaluations", "Verdicts that wait for their calls.", registry=registry
        )
        self.lag = Gauge(
            "detector_otlp_lag_messages",
            "Batches behind the end.",
            ["topic", "partition"],
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
        self.refused.set("otlp", 0)
        _add(self._spans, dict.fromkeys(spans.Outcome, 0))
        _add(self._evaluations, dict.fromkeys(logs.Outcome, 0))

    def message(self, topic: str) -> None:
        """A batch was read."""
        self._messages.labels(topic).inc()

    def dead_letter(self, topic: str) -> None:
        """A batch, or one span or log record of it, went to the dead letters."""
        self._malformed.labels(topic).inc()

    def spans(self, found: Mapping[spans.Outcome, int]) -> None:
        """What became of the spans of a batch."""
        _add(self._spans, found)

    def left_out(self, fields: int) -> None:
        """So many values of a batch could not be used, or not all of them."""
        self._left_out.inc(fields)

    def evaluations(self, found: Mapping[logs.Outcome, int]) -> None:
        """What became of some log records."""
        _add(self._evaluations, found)

    def render(self) -> bytes:
        """The text that a scrape is given."""
        return generate_latest(self.registry)


def _add(counter: Counter, found: Mapping[Any, int]) -> None:
    for outcome, count in found.items():
        counter.labels(outcome).inc(count)
