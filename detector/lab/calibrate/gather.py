"""Streams files once and counts what each predicate of each route judges."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any

import numpy as np

from detector.contract.model import Contract, PredicateSpec
from detector.lab.calibrate.beside import EVERY, candidates
from detector.lab.calibrate.pairs import PairTally
from detector.lab.calibrate.tally import Floats, ShareTally, ValueTally
from detector.lab.files import SHOWN, Malformed, Row
from detector.predicates.divergence import INPUT_FIELDS
from detector.predicates.lone import LoneCaller
from detector.predicates.rate import GOOD_WHEN_TRUE
from detector.windows.columns import FEATURE, value_of
from topics.telemetry import TelemetryRecord

_BATCH = 16_384
_ROUTES = 1000  # a contract file holds no more

_time = attrgetter("event_time")


class RouteTally:
    """What one route's calls came to.

    Attributes:
        records: calls seen; `first` and `last` event time, Unix seconds; `minutes` that held some.
        of: predicate -> its tally; also, of every fourth call, that of each of `beside`.
    """

    def __init__(self, specs: Sequence[PredicateSpec], beside: Sequence[PredicateSpec] = ()) -> None:
        self.records = 0
        self.minutes: set[int] = set()
        self.first, self.last = np.inf, -np.inf
        self.of: dict[str, ShareTally | ValueTally | PairTally] = {}
        self._takers: list[Callable[[list[TelemetryRecord], Floats], None]] = []
        for spec in specs:
            taker = self._taker(spec)
            self._takers.append(_filtered(spec, taker) if spec.where else taker)
        self._some = [self._taker(spec) for spec in beside]

    def take(self, records: list[TelemetryRecord]) -> None:
        """Count records in the order in which they came."""
        times = np.fromiter(map(_time, records), np.float64, len(records))
        self.records += len(records)
        self.minutes.update(np.unique(times // 60).astype(np.int64).tolist())
        self.first, self.last = min(self.first, float(times.min())), max(self.last, float(times.max()))
        for take in self._takers:
            take(records, times)
        if self._some:
            few, when = records[::EVERY], times[::EVERY]
            for take in self._some:
                take(few, when)

    def _taker(self, spec: PredicateSpec) -> Callable[[list[TelemetryRecord], Floats], None]:
        value = value_of(spec.field)
        if spec.type == "divergence" and spec.given:
            pairs = self.of[spec.name] = PairTally(spec.given)
            given, whoever = value_of(spec.given), spec.field in INPUT_FIELDS
            return lambda records, times: _pairs(pairs, given, value, whoever, records, times)
        if spec.type == "divergence":
            values = self.of[spec.name] = ValueTally()
            is_input = spec.field in INPUT_FIELDS or spec.field.startswith(FEATURE)
            return lambda records, times: _values(values, value, is_input, records, times)
        shares = self.of[spec.name] = ShareTally(keep_values=spec.type == "exceedance")
        if spec.type == "rate":
            good = spec.field in GOOD_WHEN_TRUE
            lone = _Lone(value_of(spec.unless_alone)) if spec.unless_alone else None
            return lambda records, times: _rate(shares, value, good, lone, records, times)
        limit = (spec.above_ms or 0.0) / 1000.0
        return lambda records, times: _exceedance(shares, value, limit, records, times)


def _filtered(
    spec: PredicateSpec, take: Callable[[list[TelemetryRecord], Floats], None]
) -> Callable[[list[TelemetryRecord], Floats], None]:
    """Take the calls alone that the predicate sees."""
    wanted = [(value_of(name), frozenset(values)) for name, values in spec.where]

    def taken(records: list[TelemetryRecord], times: Floats) -> None:
        seen = [i for i, record in enumerate(records) if all(of(record) in values for of, values in wanted)]
        if seen:
            take([records[i] for i in seen], times[seen])

    return taken


def _values(
    tally: ValueTally, value: Callable[[Any], Any], is_input: bool, records: list[Any], times: Floats
) -> None:
    found = [
        value(record) if not record.error and (is_input or record.served_by == "primary") else None
        for record in records
    ]
    kept = [each for each in found if each is not None and not isinstance(each, list | tuple)]
    if kept:
        tally.add(times if len(kept) == len(found) else times[_there(found)], kept)


def _pairs(
    tally: PairTally,
    given: Callable[[Any], Any],
    value: Callable[[Any], Any],
    is_input: bool,
    records: list[Any],
    times: Floats,
) -> None:
    kept = [
        (time, one, tokens)
        for record, time in zip(records, times.tolist(), strict=True)
        if not record.error
        and (is_input or record.served_by == "primary")
        and (one := given(record)) is not None
        and (tokens := value(record)) is not None
    ]
    if kept:
        at, strata, tokens = zip(*kept, strict=True)
        tally.add(np.array(at), strata, tokens)


def _there(found: list[Any]) -> Any:
    return np.array([each is not None and not isinstance(each, list | tuple) for each in found])


class _Lone:
    """Leaves out of verdicts what one caller alone makes bad, as production does."""

    def __init__(self, caller: Callable[[Any], Any]) -> None:
        self._caller, self._calls = caller, LoneCaller()

    def leave_out(self, found: list[Any], good: bool, records: list[Any]) -> list[Any]:
        """The verdicts, None in the place of those."""
        judged = [i for i, each in enumerate(found) if each is not None]
        bad = [k for k, i in enumerate(judged) if bool(found[i]) is not good]
        kept, _ = self._calls.leave_out(judged, bad, lambda i: str(self._caller(records[i])))
        still = set(kept)
        return [each if i in still else None for i, each in enumerate(found)]


def _rate(
    tally: ShareTally,
    value: Callable[[Any], Any],
    good: bool,
    lone: _Lone | None,
    records: list[Any],
    times: Floats,
) -> None:
    found = [value(record) if record.served_by == "primary" else None for record in records]
    if lone is not None:
        found = lone.leave_out(found, good, records)
    judged = [each is not None for each in found]
    bad = np.array([bool(each) is not good for each in found if each is not None], np.bool_)
    tally.add(times if all(judged) else times[np.array(judged)], bad)


def _exceedance(
    tally: ShareTally, value: Callable[[Any], Any], limit: float, records: list[Any], times: Floats
) -> None:
    found = [
        value(record) if record.served_by == "primary" and not record.error else None for record in records
    ]
    judged = [each is not None and not isinstance(each, str) for each in found]
    values = np.array([each for each, there in zip(found, judged, strict=True) if there], np.float64)
    tally.add(times if all(judged) else times[np.array(judged)], values > limit, values)


class Gathered:
    """All that the files held, by route.

    Attributes:
        specs: what is learnt; `beside`: what is not in the contract and might be.
        shown: the first malformed rows.
    """

    def __init__(self, contract: Contract) -> None:
        self.specs = [spec for spec in contract.predicates.values() if spec.learnable]
        self.beside = candidates(contract)
        self.routes: dict[str, RouteTally] = {}
        self.records = self.malformed = self.beyond = 0
        self.shown: list[Malformed] = []

    def on(self, route: str) -> list[PredicateSpec]:
        """What is learnt on a route."""
        return [spec for spec in self.specs if spec.exists_on(route)]

    def take(self, rows: Iterable[Row]) -> None:
        """Read rows to their end."""
        rows = iter(rows)
        while batch := list(islice(rows, _BATCH)):
            groups: dict[str, list[TelemetryRecord]] = {}
            for row in batch:
                if isinstance(row, Malformed):
                    self.malformed += 1
                    self.shown += [row] if len(self.shown) < SHOWN else []
                else:
                    groups.setdefault(row.route, []).append(row)
            for route, records in groups.items():
                self._route(route, records)

    def _route(self, route: str, records: list[TelemetryRecord]) -> None:
        tally = self.routes.get(route)
        if tally is None:
            # Names that a contract could not hold, and more routes than it could, are only counted.
            if (
                len(self.routes) == _ROUTES
                or not route.isprintable()
                or route.strip() != route
                or route == "*"
            ):
                self.beyond += len(records)
                return
            tally = self.routes[route] = RouteTally(self.on(route), self.beside)
        self.records += len(records)
        tally.take(records)
