"""What a mirror counts; labels are the targets' names and two outcomes."""

from collections.abc import Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

WRITTEN, REFUSED = OUTCOMES = ("written", "refused")


class MirrorMetrics:
    """Metrics of one mirror, in a registry of its own; there from nothing on for each of its targets."""

    def __init__(self, targets: Collection[str]) -> None:
        self.registry = CollectorRegistry()
        self.scopes = Counter(
            "detector_mirror_scopes",
            "Scopes written, and refused as a newer state of them was there.",
            ["target", "outcome"],
            registry=self.registry,
        )
        self.failures = Counter(
            "detector_mirror_failures", "Writes that failed.", ["target"], registry=self.registry
        )
        self.written = Gauge(
            "detector_mirror_written_timestamp_seconds",
            "When the target was last written.",
            ["target"],
            registry=self.registry,
        )
        for target in targets:
            self.failures.labels(target)
            self.written.labels(target)
            for outcome in OUTCOMES:
                self.scopes.labels(target, outcome)

    def text(self) -> bytes:
        """As it is scraped."""
        return generate_latest(self.registry)
