"""One line makes a record, a segment, a predicate, a contract or a whole faulty stream.

Times are given as seconds after `T0`, so that a test reads like a stopwatch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from detector.contract.model import Contract, Defaults, Fallback, MatrixRow, Mode, PredicateSpec
from detector.pipeline import Pipeline
from detector.predicates.base import Budget, Judge
from detector.windows.array_segment import ArraySegment, Part
from detector.windows.arrays import Layout
from detector.windows.columns import Columns, Table
from detector.windows.segment import Segment, made_after
from topics.telemetry import Evaluation, TelemetryRecord

T0 = 1_700_000_000
BUDGET = Budget(run_length=1e9, alpha=1e-9)


def record(at=0.0, route="chat", **fields) -> TelemetryRecord:
    """A call that ended `at` seconds after T0."""
    return TelemetryRecord(event_time=T0 + at, route=route, **fields)


def evaluation(at=0.0, name="hallucination", route="chat", **fields) -> Evaluation:
    """A verdict made `at` seconds after T0."""
    return Evaluation(event_time=T0 + at, route=route, name=name, **fields)


def segment(records: Sequence[TelemetryRecord], since=None, boundary=None, fields=(), offset=0) -> Segment:
    """Records as a judge sees them, from `offset` on; every field that a test has set is readable."""
    columns = Columns(fields or _fields_of(records))
    times = [each.event_time for each in records]
    first = int(min(times)) if boundary is None else T0 + boundary
    since = None if since is None else T0 + since
    fresh = None if since is None else made_after(records, times, since)
    offsets = range(offset, offset + len(records))
    return Segment(times, offsets, columns.read(records).columns, fresh, first)


def calls_of(part: Segment) -> Table:
    """The calls of a segment as a judge is asked for suspects among them."""
    return Table((), part.times, part.columns)


def dense(part: Segment, cuts: Iterable[int] = ()) -> ArraySegment:
    """The calls of a segment that has no `fresh`, gathered from arrays that end at `cuts`."""
    layout = Layout(part.columns)
    whole = Part.of(calls_of(part), part.offsets, layout)
    parts = [whole.copy(first, last) for first, last in pairwise([0, *sorted(cuts), len(part)])]
    return ArraySegment(parts, layout, part.boundary, part.phase)


def _fields_of(records: Sequence[TelemetryRecord]) -> set[str]:
    named = {f"features.{name}" for each in records for name in each.features}
    return named | (set(TelemetryRecord.__struct_fields__) - {"features"})


def spec(kind: str, method: str = "default", **fields) -> PredicateSpec:
    """A predicate of this type, with a field that suits it."""
    usual = {
        "divergence": {"field": "output_tokens"},
        "rate": {"field": "hallucinated"},
        "exceedance": {"field": "latency_s", "above_ms": 200.0},
        "absence": {},
        "attribution": {},
    }[kind]
    return PredicateSpec(**({"name": f"{kind}-{method}", "type": kind, "method": method} | usual | fields))


def contract(
    predicates: Iterable[PredicateSpec], modes: Iterable[Mode] | None = None, **defaults
) -> Contract:
    """A contract over these predicates; unless given, each has a mode of the same name."""
    predicates = {each.name: each for each in predicates}
    if modes is None:
        modes = [Mode(name=name, when=name, keep_s=0.0) for name in predicates]
    return Contract(
        defaults=Defaults(**defaults),
        predicates=predicates,
        modes={mode.name: mode for mode in modes},
        fallbacks={"rule": Fallback(name="rule", p99_ms=20.0, share=1.0)},
        matrix=(MatrixRow(mode="*", input_class="*", fallbacks=("rule",)),),
        digest="test",
    )


@dataclass(frozen=True, slots=True)
class Stream:
    """Telemetry in log order, with offsets and arrival times as the service would pass them."""

    records: tuple[TelemetryRecord, ...]
    offsets: tuple[int, ...]
    arrivals: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, part: slice) -> "Stream":
        return Stream(self.records[part], self.offsets[part], self.arrivals[part])

    def of(self, route: str) -> "Stream":
        """Only one route's records; offsets stay as they are."""
        kept = [i for i, each in enumerate(self.records) if each.route == route]
        return Stream(*(tuple(column[i] for i in kept) for column in self._columns()))

    def _columns(self):
        return self.records, self.offsets, self.arrivals

    def args(self):
        """Arguments of `Pipeline.step`."""
        return self._columns()


ERRORS_AND_SLOWNESS = contract(
    [
        spec("rate", name="errors", field="error", ceiling=0.01),
        spec("exceedance", name="slow", ceiling=0.01, above_ms=200.0),
    ],
    false_alarms_per_week=0.15,
)


def in_order(records: Iterable[TelemetryRecord]) -> Stream:
    """Records that arrive when they say, in the order given."""
    records = tuple(records)
    return Stream(records, tuple(range(len(records))), tuple(each.event_time for each in records))


def faulty_stream(seed=0, seconds=100, per_s=20, routes=("chat", "code", "search")) -> Stream:
    """Calls of several routes with jitter, stragglers and, on all routes but the last, faults.

    The first route makes things up from second 40 to 55 and is partly served by its fallback while
    the fault lasts, with probes beside; the second is slow from 45 to 52. Every record arrives up to a
    second and a half after its time, a few of them up to 100 s after it.
    """
    draw = np.random.default_rng(seed)
    made = []
    for at in np.arange(0, seconds, 1 / per_s):
        for route in routes:
            bad = route == routes[0] and 40 <= at < 55
            slow = route in routes[1:2] and 45 <= at < 52
            diverted = bad and at > 42
            probe = diverted and draw.random() < 0.3
            straggles = draw.random() < 0.004
            late = draw.uniform(2, 100) if straggles else draw.uniform(0, 1.5)
            call = TelemetryRecord(
                event_time=T0 + float(at),
                route=route,
                request_id=f"{route}-{at:.3f}",
                served_by="rule" if diverted and not probe else "primary",
                probe=bool(probe),
                latency_s=float(draw.lognormal(-0.5 if slow else -2.5, 0.3)),
                input_tokens=int(draw.lognormal(5, 1)),
                output_tokens=int(draw.lognormal(3 if bad else 5, 1)),
                hallucinated=bool(draw.random() < (0.8 if bad else 0.002)),
                error="500" if draw.random() < 0.001 else "",
                features={"score": float(draw.normal())},
            )
            made.append((T0 + float(at) + float(late), call))
    made.sort(key=lambda each: each[0])
    return Stream(
        tuple(call for _, call in made), tuple(range(len(made))), tuple(arrival for arrival, _ in made)
    )


def core_contract(**defaults) -> Contract:
    """One predicate of each kind, windows short enough for a test."""
    predicates = [
        spec("rate", name="hallucinations", ceiling=0.02),
        spec("rate", name="errors", field="error", ceiling=0.02),
        spec("rate", name="verdicts", field="", evaluation="hallucination", ceiling=0.02),
        spec("exceedance", name="slow", ceiling=0.02),
        spec("divergence", name="output_drift", window_s=10.0),
        spec("divergence", name="input_drift", field="input_tokens", window_s=10.0),
        spec("absence", name="silence", after_s=5.0),
    ]
    modes = [
        Mode(name="hallucination_spike", when="hallucinations", mutes=("token_drift",)),
        Mode(name="judged_spike", when="verdicts"),
        Mode(name="latency_spike", when="slow"),
        Mode(name="token_drift", when="output_drift"),
        Mode(name="input_drift", when="input_drift"),
        Mode(name="error_spike", when="errors", hold_s=1.0),
        Mode(name="telemetry_silence", when="silence", severity="notice"),
    ]
    return contract(predicates, modes, **({"false_alarms_per_week": 1000.0} | defaults))


def run(pipeline: Pipeline, stream: Stream, cuts: Iterable[int] = ()) -> list:
    """Feed a stream in batches that end at `cuts`; return the decisions."""
    decisions, start = [], 0
    for end in [*sorted(cuts), len(stream)]:
        if end > start:
            decisions += pipeline.step(*stream[start:end].args())
            start = end
    return decisions


def by_scope(decisions) -> dict[str, list]:
    """Decisions of each scope in their order, whichever partition said them."""
    found: dict[str, list] = {}
    for each in decisions:
        found.setdefault(each.scope, []).append(replace(each, partition=0))
    return found


def walk(judge: Judge, records: Sequence[TelemetryRecord], **how) -> int | None:
    """Let a sequential judge see records at once; return the position at which it flipped."""
    return judge.observe(segment(records, **how))


def play(judge: Judge, seconds: Iterable[Sequence[TelemetryRecord]], start=0, frozen=False):
    """Give a windowed judge one second of records after another; yield (second, verdict) as panes close."""
    for second, records in enumerate(seconds, start):
        if records:
            judge.absorb(segment(records, boundary=second))
        judge.close(T0 + second + 1, frozen=frozen)
        yield second + 1, judge.verdict
