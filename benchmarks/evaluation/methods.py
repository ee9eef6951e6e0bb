"""Methods side by side: ours, the plain rules, River's detectors, and chunk thresholds as monitors set them.

All of them see the same records, and whatever learns beforehand learns from the same prefix. A method's
answer is a list of activations; how each of them ends is the method's own affair.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import log2, sqrt
from statistics import fmean, pstdev

from river import drift
from river.base import BinaryDriftDetector, DriftDetector

from detector.contract.model import Contract
from detector.lab.feed import Feed
from detector.lab.outcome import Activation, activations_of
from detector.pipeline import Pipeline
from detector.windows.columns import value_of
from topics.control import Evidence
from topics.telemetry import TelemetryRecord

CHUNK_S = 300.0
EVALUATED_EVERY_S = 10.0
HELD_S = 60.0  # an alarm without an end of its own: how long it is taken to last


@dataclass(frozen=True)
class Method:
    """A name, and what makes activations of a contract, a calibration prefix and a stream."""

    name: str
    run: Callable[[Contract, Sequence[TelemetryRecord], Sequence[TelemetryRecord]], Sequence[Activation]]


def ours(
    contract: Contract, prefix: Sequence[TelemetryRecord], records: Sequence[TelemetryRecord]
) -> Sequence[Activation]:
    """The contract as it stands, by the production code."""
    feed = Feed([Pipeline(contract)], contract.defaults.lateness_s, 67.0)
    for index, record in enumerate(records):
        feed.add(record, index)
    feed.finish()
    return activations_of(feed.decisions)


def literal(
    contract: Contract, prefix: Sequence[TelemetryRecord], records: Sequence[TelemetryRecord]
) -> Sequence[Activation]:
    """The same contract with every method `literal`: KL in a window, three slow calls, a rate in one."""
    plain = {
        name: replace(spec, method="literal", consecutive=3)
        if spec.type == "exceedance"
        else replace(spec, method="literal")
        if spec.type in ("divergence", "rate")
        else spec
        for name, spec in contract.predicates.items()
    }
    return ours(replace(contract, predicates=plain), prefix, records)


def _signals(contract: Contract) -> dict[str, Callable[[TelemetryRecord], float | None]]:
    """Per predicate that judges calls: 1 for a bad one, 0 for a good one, None for one that is not judged."""

    def flag(name: str) -> Callable[[TelemetryRecord], float | None]:
        spec = contract.predicates[name]
        read = value_of(spec.field)
        if spec.field == "error":
            return lambda record: float(bool(record.error))
        if spec.type == "exceedance":
            limit = (spec.above_ms or 0.0) / 1000.0
            return lambda r: None if (value := read(r)) is None else float(value > limit)
        return lambda r: None if (value := read(r)) is None else float(value)

    names = [name for name, spec in contract.predicates.items() if spec.type in ("rate", "exceedance")]
    return {name: flag(name) for name in names}


def river(make: Callable[[], DriftDetector | BinaryDriftDetector]) -> Method:
    """A detector of River's with its defaults on each rate and on log-like lengths; upwards only on rates."""

    def run(
        contract: Contract, prefix: Sequence[TelemetryRecord], records: Sequence[TelemetryRecord]
    ) -> Sequence[Activation]:
        found: list[Activation] = []
        signals = _signals(contract)
        binary = isinstance(make(), BinaryDriftDetector)
        fields = {} if binary else {"input_drift": "input_tokens", "output_drift": "output_tokens"}
        for name, signal in signals.items():
            found += _watch(name, make(), ((r, signal(r)) for r in records), upwards=True)
        for name, field in fields.items():
            values = ((r, None if r.error else getattr(r, field)) for r in records)
            found += _watch(name, make(), values, upwards=False)
        return found

    return Method(f"river {type(make()).__name__}", run)


def _watch(
    name: str,
    detector: DriftDetector | BinaryDriftDetector,
    values: Iterator[tuple[TelemetryRecord, float | None]],
    *,
    upwards: bool,
) -> Iterator[Activation]:
    slow = fast = 0.0
    seen = 0
    until = -1.0
    for record, value in values:
        if value is None:
            continue
        if isinstance(detector, BinaryDriftDetector):
            detector.update(bool(value))
        else:
            detector.update(value)
        seen += 1
        slow += (value - slow) / min(seen, 2000)
        fast += (value - fast) / min(seen, 50)
        if detector.drift_detected and (fast > slow or not upwards):
            if record.event_time >= until:
                yield _activation(name, record.event_time, fast, slow)
            until = record.event_time + HELD_S


def _activation(name: str, at: float, value: float, threshold: float) -> Activation:
    evidence = Evidence(predicate=name, value=value, threshold=threshold, event_time=at)
    return Activation(
        scope="r",
        mode=name,
        predicate=name,
        disposition="act",
        activated_at=at,
        deactivated_at=at + HELD_S,
        evidence=evidence,
    )


def chunked(name: str, *, learnt: bool) -> Method:
    """Jensen-Shannon distance of log2 token bins, and rates, per window against the prefix.

    `learnt`: a threshold is the mean and three standard deviations of the prefix' own chunks, as NannyML
    sets it; else a distance of 0.1 is a drift, as Evidently has it, and a rate is one if its 95 % interval
    excludes the reference (z-test).
    """

    def run(
        contract: Contract, prefix: Sequence[TelemetryRecord], records: Sequence[TelemetryRecord]
    ) -> Sequence[Activation]:
        found: list[Activation] = []
        chunk_s = min(CHUNK_S, (prefix[-1].event_time - prefix[0].event_time) / 10.0) if learnt else CHUNK_S
        for predicate, field in (("input_drift", "input_tokens"), ("output_drift", "output_tokens")):

            def value(record: TelemetryRecord, field: str = field) -> int | None:
                tokens = None if record.error else getattr(record, field)
                return None if tokens is None else int(max(1, tokens)).bit_length()

            def distance(window: Counter[int], reference: Counter[int]) -> float:
                return _jensen_shannon(window, reference)

            found += _windows(predicate, value, distance, prefix, records, chunk_s, learnt, 0.1)
        for predicate, signal in _signals(contract).items():

            def flag(record: TelemetryRecord, signal: Callable[..., float | None] = signal) -> int | None:
                bad = signal(record)
                return None if bad is None else int(bad)

            def excess(window: Counter[int], reference: Counter[int]) -> float:
                n, before = window.total(), reference[1] / reference.total()
                share = window[1] / n
                return share if learnt else (share - before) / sqrt(max(before * (1 - before), 1e-9) / n)

            found += _windows(predicate, flag, excess, prefix, records, chunk_s, learnt, 1.96)
        return found

    return Method(name, run)


def _windows(
    name: str,
    value: Callable[[TelemetryRecord], int | None],
    statistic: Callable[[Counter[int], Counter[int]], float],
    prefix: Sequence[TelemetryRecord],
    records: Sequence[TelemetryRecord],
    chunk_s: float,
    learnt: bool,
    fixed: float,
) -> Iterator[Activation]:
    reference = Counter(x for record in prefix if (x := value(record)) is not None)
    if not reference:
        return
    threshold = fixed
    if learnt:
        shown = [
            statistic(window, reference)
            for at, window in _sliding(value, prefix, chunk_s, chunk_s)
            if at <= prefix[-1].event_time
        ]
        threshold = fmean(shown) + 3.0 * pstdev(shown)
    until = -1.0
    for at, window in _sliding(value, records, chunk_s, EVALUATED_EVERY_S):
        if window.total() >= 30 and statistic(window, reference) > threshold:
            if at > until:
                yield _activation(name, at, statistic(window, reference), threshold)
            until = at + HELD_S


def _sliding(
    value: Callable[[TelemetryRecord], int | None],
    records: Sequence[TelemetryRecord],
    length_s: float,
    every_s: float,
) -> Iterator[tuple[float, Counter[int]]]:
    """Counts in [at - length_s, at), every `every_s`, from the first full window on."""
    window: Counter[int] = Counter()
    first = last = 0
    at = records[0].event_time + length_s
    while at <= records[-1].event_time:
        while records[last].event_time < at:
            if (x := value(records[last])) is not None:
                window[x] += 1
            last += 1
        while records[first].event_time < at - length_s:
            if (x := value(records[first])) is not None:
                window[x] -= 1
            first += 1
        if window.total():
            yield at, window
        at += every_s


def _jensen_shannon(window: Counter[int], reference: Counter[int]) -> float:
    """Square root of the Jensen-Shannon divergence, base 2, 0..1."""
    total, of = window.total(), reference.total()
    result = 0.0
    for key in window.keys() | reference.keys():
        p, q = window[key] / total, reference[key] / of
        middle = (p + q) / 2
        result += (p * log2(p / middle) if p else 0.0) / 2 + (q * log2(q / middle) if q else 0.0) / 2
    return sqrt(max(0.0, result))


def methods(*, full: bool) -> list[Method]:
    """All that are compared; KSWIN costs 250 us a record and is left to the full run."""
    chosen = [
        Method("ours", ours),
        Method("literal", literal),
        river(drift.ADWIN),
        river(drift.PageHinkley),
        river(drift.binary.DDM),
        chunked("Evidently's thresholds", learnt=False),
        chunked("NannyML's thresholds", learnt=True),
    ]
    return [*chosen, river(lambda: drift.KSWIN(seed=1))] if full else chosen
