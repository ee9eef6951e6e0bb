"""The latency budget: what a route's promise leaves for fallbacks, and whether they keep within it.

With e = p99_ms - primary_p99_ms of the tightest route: a call that the primary was given up on has e left,
so each fallback's p99 has to be at most e. Their mean weighted by share has to be at most e - monitoring_ms
of the route where that is least.
Stated figures come from the contract, measured ones from telemetry: calls by who served them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from detector.contract.envelope import envelope_ms
from detector.contract.model import Contract
from detector.windows.quantiles import LogBuckets
from topics.telemetry import TelemetryRecord

LEAST = 100  # calls; a 99 % point of fewer is their maximum
_ROUNDED, _EXACT = 0.01, 1e-9  # what rounding may add to a measured mean, and to a stated one


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that takes time; milliseconds.

    Attributes:
        stated_ms: p99 as the contract states it.
        limit_ms: what it may take.
        measured_ms: p99 of `n` successful calls; None for too few.
        ok: neither the stated nor the measured one exceeds the limit.
    """

    name: str
    stated_ms: float
    limit_ms: float
    n: int
    measured_ms: float | None
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Attributes:
    routes: the primaries, each against what its route states for it.
    fallbacks: each against what the tightest route leaves.
    mean: of the fallbacks by share, against the least that is left beside monitoring; measured where all
    shares are.
    """

    routes: tuple[Line, ...]
    fallbacks: tuple[Line, ...]
    mean: Line
    monitoring_ms: float
    records: int
    ok: bool


def budget(contract: Contract, records: Iterable[TelemetryRecord] = ()) -> Budget:
    """Hold a contract's promises, and what was measured, against each other."""
    primaries = [LogBuckets() for _ in contract.routes]
    served = {name: LogBuckets() for name in contract.fallbacks}
    known: dict[str, LogBuckets | None] = {}
    seen = 0
    for record in records:
        seen += 1
        if record.error or record.latency_s is None:
            continue
        if record.served_by != "primary":
            bucket = served.get(record.served_by)
        else:
            if record.route not in known:
                place = contract.routes.index(contract.route_rule(record.route))
                known[record.route] = primaries[place]
            bucket = known[record.route]
        if bucket is not None:
            bucket.add((record.latency_s,))
    tightest = min(map(envelope_ms, contract.routes))
    left, monitoring = min(
        (envelope_ms(rule) - rule.slo.monitoring_ms, rule.slo.monitoring_ms) for rule in contract.routes
    )
    routes = tuple(
        _line(rule.match, rule.slo.primary_p99_ms, rule.slo.primary_p99_ms, found)
        for rule, found in zip(contract.routes, primaries, strict=True)
    )
    fallbacks = tuple(
        _line(name, each.p99_ms, tightest, served[name]) for name, each in contract.fallbacks.items()
    )
    mean = _mean(contract, fallbacks, left)
    ok = all(line.ok for line in (*routes, *fallbacks, mean))
    return Budget(
        routes=routes, fallbacks=fallbacks, mean=mean, monitoring_ms=monitoring, records=seen, ok=ok
    )


def _line(name: str, stated: float, limit: float, found: LogBuckets) -> Line:
    p99 = found.quantile(0.99) if found.count >= LEAST else None
    measured = None if p99 is None else round(1000.0 * p99, 2)
    ok = stated <= limit and (measured is None or measured <= limit)
    return Line(name=name, stated_ms=stated, limit_ms=limit, n=found.count, measured_ms=measured, ok=ok)


def _mean(contract: Contract, lines: tuple[Line, ...], limit: float) -> Line:
    shares = [contract.fallbacks[line.name].share for line in lines]
    stated = sum(share * line.stated_ms for share, line in zip(shares, lines, strict=True))
    measured = None
    if sum(shares) and all(
        line.measured_ms is not None for line in lines if contract.fallbacks[line.name].share
    ):
        taken = [line.measured_ms or 0.0 for line in lines]
        measured = round(sum(share * ms for share, ms in zip(shares, taken, strict=True)), 2)
    ok = stated <= limit + _EXACT and (measured or 0.0) <= limit + _ROUNDED
    n = sum(line.n for line in lines)
    return Line(name="mean by share", stated_ms=stated, limit_ms=limit, n=n, measured_ms=measured, ok=ok)
