"""The same judgement for each group of calls: a tenant's drift is a trifle in the whole and plain in itself.

At most 20 groups have a stream of their own. When there are more, a group of which the windows hold
nothing any more makes room for a new one; else the new one is counted with the others, as `(others)`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from detector.predicates.bins import Binner
from detector.predicates.drift import DriftStream
from detector.predicates.limits import Limits

MOST_STRATA = 20
OTHERS = "(others)"
TOP_STRATA = 3


class Strata:
    """Streams by group; each is judged at a twentieth of the error probability of the whole.

    Attributes:
        streams: by name of the group.
    """

    def __init__(self, bins: int, spans: tuple[int, ...], limits: Limits) -> None:
        self._bins = bins
        self._spans = spans
        # A calibration is of the whole: a group has a reference and a wander of its own, and learns them.
        alpha = limits.alpha / MOST_STRATA
        self._limits = replace(limits, alpha=alpha, calibrated=None, reference=None)
        self.streams: dict[str, DriftStream] = {}

    def absorb(
        self,
        boundary: int,
        seconds: Sequence[int],
        groups: Sequence[str],
        values: Sequence[Any],
        binner: Binner,
    ) -> None:
        """Count values into the panes of their seconds, each group's into its own."""
        split: dict[tuple[str, int], list[Any]] = {}
        for second, group, value in zip(seconds, groups, values, strict=True):
            if value is not None:
                split.setdefault((group, second), []).append(value)
        for (group, second), some in split.items():
            stream = self._stream(group, boundary)
            stream.ring.add(second, binner.count(some))

    def _stream(self, group: str, boundary: int) -> DriftStream:
        known = self.streams.get(group)
        if known is not None:
            return known
        if len(self.streams) >= MOST_STRATA - (OTHERS not in self.streams):
            gone = next((name for name, stream in self.streams.items() if self._gone(name, stream)), None)
            if gone is None:
                group = OTHERS
            else:
                del self.streams[gone]
        if group not in self.streams:
            made = self.streams[group] = DriftStream(self._bins, self._spans, self._limits)
            made.ring.start(boundary)
        return self.streams[group]

    @staticmethod
    def _gone(name: str, stream: DriftStream) -> bool:
        ring = stream.ring
        return name != OTHERS and not stream.latched and ring.idle() and not ring.sizes[-1]

    def close(self, boundary: int, *, frozen: bool) -> None:
        """See `Judge.close`."""
        for stream in self.streams.values():
            if stream.ring.boundary is not None and stream.ring.boundary < boundary:
                stream.close(boundary, frozen=frozen)

    def worst(self) -> tuple[str, DriftStream] | None:
        """The group in breach that is farthest beyond its threshold."""
        breaching = [(name, stream) for name, stream in self.streams.items() if stream.latched]
        return max(breaching, key=_excess, default=None)

    def top(self) -> list[tuple[str, float]]:
        """The groups that have strayed most, and how far, nats."""
        known = [(name, stream.value) for name, stream in self.streams.items() if stream.value is not None]
        return sorted(known, key=lambda each: -each[1])[:TOP_STRATA]

    def idle(self) -> bool:
        """See `Judge.idle`."""
        return all(stream.idle() for stream in self.streams.values())

    def skip(self, boundary: int, *, frozen: bool) -> None:
        """See `Judge.skip`."""
        for stream in self.streams.values():
            stream.skip(boundary, frozen=frozen)

    def state(self) -> list[tuple[str, dict[str, Any]]]:
        """See `Judge.state`."""
        return [(name, stream.state()) for name, stream in self.streams.items()]

    def load(self, state: list[tuple[str, dict[str, Any]]]) -> None:
        """See `Judge.load`."""
        self.streams = {}
        for name, saved in state:
            self.streams[name] = DriftStream(self._bins, self._spans, self._limits)
            self.streams[name].load(saved)


def _excess(each: tuple[str, DriftStream]) -> float:
    stream = each[1]
    return (stream.value or 0.0) / (stream.threshold or 1.0)
