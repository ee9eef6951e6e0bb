"""Delays, run lengths and ways back, each against the law that it should follow.

    python -m benchmarks.evaluation.laws             # all tables, some minutes
    python -m benchmarks.evaluation.laws revert      # one of them

Streams are made here, seeds are fixed; nothing is tuned on them.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import brentq
from scipy.signal import lfilter
from scipy.stats import norm

from benchmarks.evaluation.protocol import calibrated
from detector.contract.model import Contract, Defaults, Fallback, MatrixRow, Mode, PredicateSpec
from detector.lab.calibrate import bootstrap, shares
from detector.lab.calibrate.silent import silent_ceiling
from detector.modes.decision import Decision
from detector.pipeline import Pipeline
from detector.predicates.divergence import SPANS_S
from detector.predicates.drift import DriftStream
from detector.predicates.limits import Limits
from detector.predicates.shiryaev_roberts import HIGHEST, MixtureShiryaevRoberts
from topics.telemetry import Evaluation, TelemetryRecord

T0 = 1_700_000_000.0
BINS = 16
Flags = np.ndarray


def drift() -> Iterator[str]:
    """Seconds and records until a drift of D nats is found: 16 bins, a reference of an hour."""
    yield "| D, nats | calls/s | median s | p95 s | median records | not within 300 s |"
    yield "|---|---|---|---|---|---|"
    usual = np.full(BINS, 1 / BINS)
    for nats in (0.15, 0.3, 0.7):
        for per_s in (100, 1000):
            delays = [_drift_delay(np.random.default_rng(seed), usual, nats, per_s) for seed in range(100)]
            found = [each for each in delays if each is not None]
            middle, late = np.quantile(found, [0.5, 0.95])
            yield (
                f"| {nats} | {per_s:,} | {middle:.0f} | {late:.0f} | {middle * per_s:,.0f} "
                f"| {len(delays) - len(found)} of {len(delays)} |"
            )


def _drift_delay(rng: np.random.Generator, usual: Flags, nats: float, per_s: int) -> int | None:
    spans = SPANS_S
    limits = Limits(
        threshold_nats=0.07,
        tolerance_nats=0.035,
        alpha=1e-9 / len(spans),
        design_effect=1.0,
        least=30.0,
        mode="fixed",
        calibrated=(0.07,) * len(spans),
        reference=tuple(rng.multinomial(3600 * per_s, usual).tolist()),
    )
    stream = DriftStream(BINS, spans, limits)
    stream.ring.start(0)
    drifted = _tilted(usual, nats)
    for second in range(700):
        share = usual if second < 400 else drifted
        stream.ring.add(second, rng.multinomial(per_s, share))
        stream.close(second + 1, frozen=False)
        if stream.latched:
            return second + 1 - 400 if second >= 400 else None
    return None


def _tilted(usual: Flags, nats: float) -> Flags:
    """The usual distribution, tilted until it diverges by so many nats."""

    def at(slope: float) -> Flags:
        weights = usual * np.exp(slope * np.arange(len(usual)))
        tilted: Flags = weights / weights.sum()
        return tilted

    def excess(slope: float) -> float:
        p = at(slope)
        return float((p * np.log(p / usual)).sum()) - nats

    return at(brentq(excess, 0, 20))


def jump() -> Iterator[str]:
    """Calls until a rate that jumps from half of its ceiling of 1 % is found, at a run length of 1e9."""
    yield "| jump to | median calls | p95 calls |"
    yield "|---|---|---|"
    for rate in (0.05, 0.1, 0.2, 0.5, 1.0):
        delays = []
        for seed in range(300):
            rng = np.random.default_rng(seed)
            test = MixtureShiryaevRoberts(0.01, 1e9)
            test.observe(5000, np.flatnonzero(rng.random(5000) < 0.005).tolist())
            found = test.observe(5000, np.flatnonzero(rng.random(5000) < rate).tolist())
            delays.append(5000 if found is None else found + 1)
        middle, late = np.quantile(delays, [0.5, 0.95])
        yield f"| {rate:.0%} | {middle:.0f} | {late:.0f} |"


def runs() -> Iterator[str]:
    """Mean run between false alarms, in records, of what `calibrate` makes of six hours of calls at 100/s.

    1 % exceed the limit, by an AR(1) of each autocorrelation, or 0.5 % and a stall of half a second every
    three minutes. `stated` is the run that the report promises; at least 2e7 records each.
    """
    yield (
        "| dependence | design effect | ceiling | "
        + " | ".join(f"stated {wanted:.0e}" for wanted in (1e4, 1e5, 1e6))
        + " |"
    )
    yield "|---|---|---|---|---|---|"
    for name, make in _DEPENDENCE.items():
        rng = np.random.default_rng(7)
        flags = make(rng, 2_160_000).reshape(-1, 100)
        judged, bad = np.full(len(flags), 100), flags.sum(axis=1)
        found = shares.measure(judged, bad)
        minutes = [(6000, np.flatnonzero(each)) for each in flags.reshape(-1, 6000)]
        cells = []
        for wanted in (1e4, 1e5, 1e6):
            ceiling = silent_ceiling(
                minutes, found.ceiling(shares.LEAST_SLOW), wanted, found.design_effect, HIGHEST / 2
            )
            threshold = wanted
            if found.design_effect > 1.05:
                needed = bootstrap.run_length_threshold(minutes, ceiling, found.design_effect, wanted)
                threshold = wanted if needed is None else needed
            cells.append(_measured_run(make, rng, ceiling, threshold, found.design_effect))
        yield f"| {name} | {found.design_effect:.2f} | {ceiling:.2%} | " + " | ".join(cells) + " |"


def _measured_run(
    make: "Callable[[np.random.Generator, int], Flags]",
    rng: np.random.Generator,
    ceiling: float,
    threshold: float,
    phi: float,
) -> str:
    alarms = records = 0
    test = MixtureShiryaevRoberts(ceiling, threshold, phi)
    while records < 2e7 and alarms < 1000:
        flags = make(rng, 360_000)
        bad, done = np.flatnonzero(flags), 0
        while (found := test.observe(len(flags) - done, (bad[bad >= done] - done).tolist())) is not None:
            alarms += 1
            done += found + 1
            test.restart()
        records += len(flags)
    return f"{records / alarms:.1e} ({alarms})" if alarms else f"> {records:.0e} (0)"


def _correlated(rho: float) -> "Callable[[np.random.Generator, int], Flags]":
    def make(rng: np.random.Generator, count: int) -> Flags:
        noise = rng.standard_normal(count) * np.sqrt(1 - rho**2)
        values = lfilter([1.0], [1.0, -rho], noise) if rho else rng.standard_normal(count)
        found: Flags = values > norm.ppf(0.99)
        return found

    return make


def _stalls(rng: np.random.Generator, count: int) -> Flags:
    flags = rng.random(count) < 0.005
    for start in np.flatnonzero(rng.random(count) < 1 / 18_000):
        flags[start : start + 50] = True
    return flags


_DEPENDENCE: dict[str, "Callable[[np.random.Generator, int], Flags]"] = {
    **{f"autocorrelation {rho}": _correlated(rho) for rho in (0.0, 0.4, 0.7, 0.9)},
    "stalls": _stalls,
}


def slow() -> Iterator[str]:
    """Seconds until calls that take three times as long are found, 100/s, calibrated on a healthy hour."""
    yield "| healthy traffic | median s | p95 s | missed |"
    yield "|---|---|---|---|"
    spec = PredicateSpec(name="slow", type="exceedance", field="latency_s", above_ms=200.0)
    for name, stalls in (("independent calls", 0.0), ("a stall of 0.5 s every three minutes", 1 / 180)):
        rng = np.random.default_rng(3)
        own = calibrated(_contract(spec), list(_latencies(rng, 3600, stalls)))
        delays = []
        for seed in range(40):
            rng = np.random.default_rng(seed)
            healthy = list(_latencies(rng, 120, stalls))
            faulty = _latencies(rng, 60, stalls, after=120.0, factor=3.0)
            delays.append(_until_active(own, [*healthy, *faulty]))
        found = [at - 120.0 for at in delays if at is not None and at >= 120.0]
        middle, late = np.quantile(found, [0.5, 0.95])
        yield f"| {name} | {middle:.2f} | {late:.2f} | {40 - len(found)} of 40 |"


def _latencies(
    rng: np.random.Generator, seconds: int, stalls_per_s: float, *, after: float = 0.0, factor: float = 1.0
) -> Iterator[TelemetryRecord]:
    stalled_until = -1.0
    for i in range(seconds * 100):
        at = after + i / 100
        if rng.random() < stalls_per_s / 100:
            stalled_until = at + 0.5
        latency = factor * 0.08 * float(np.exp(0.3 * rng.standard_normal()))
        waits = max(0.0, stalled_until - at)
        yield TelemetryRecord(event_time=T0 + at, route="r", latency_s=latency + waits)


def revert() -> Iterator[str]:
    """From recovery to the ramp's start and to the whole traffic, at 25 probes/s; false reverts in an hour.

    p95 of 40 runs each; a healthy rate of half the ceiling. Faults at or under the ceiling are none.
    """
    yield "| fault | ceiling | ramp p50 / p95 s | whole traffic p95 s | false reverts per hour | overdue |"
    yield "|---|---|---|---|---|---|"
    for ceiling in (0.005, 0.01, 0.02):
        spec = PredicateSpec(name="errors", type="rate", field="error", ceiling=ceiling, stated=("ceiling",))
        for rate in (0.02, 0.03, 0.05, 0.1, 0.2, 0.5):
            if rate < 2 * ceiling:
                continue
            done = [_way_back(_contract(spec), np.random.default_rng(s), rate, ceiling) for s in range(40)]
            ramps, wholes = (np.array([each[i] for each in done]) for i in (0, 1))
            hour = _way_back(_contract(spec), np.random.default_rng(99), rate, ceiling, faulty_s=3600.0)
            overdue = sum(each[3] for each in (*done, hour))
            yield (
                f"| {rate:.0%} | {ceiling:.1%} | {np.median(ramps):.1f} / {np.quantile(ramps, 0.95):.1f} "
                f"| {np.quantile(wholes, 0.95):.1f} | {hour[2]} | {overdue} |"
            )


def _way_back(
    contract: Contract, rng: np.random.Generator, rate: float, ceiling: float, faulty_s: float = 30.0
) -> tuple[float, float, int, int]:
    """(s to the ramp, s to the whole traffic, ramps while the fault lasted, overdue attempts)."""
    pipeline = Pipeline(contract)
    at, active, began = 0.0, False, 0.0
    ramp = whole = None
    false = 0
    while whole is None and at < 7200.0:
        faulty = at >= 60.0 and (not began or at < began + faulty_s)
        at += 0.04 if active else 0.01
        bad = rng.random() < (rate if faulty else ceiling / 2)
        call = TelemetryRecord(event_time=T0 + at, route="r", error="500" if bad else "", probe=active)
        for said in pipeline.step([call], [0], [T0 + at]):
            if said.disposition != "act" or said.kind == "extended":
                continue
            active = said.state == "active"
            began = began or at
            back = said.primary_share > contract.defaults.probe_share_max or not active
            healthy = at >= began + faulty_s
            false += back and not healthy and said.kind == "revised" and said.primary_share < 0.2
            if healthy and back and ramp is None:
                ramp = at - began - faulty_s
            if healthy and not active:
                whole = at - began - faulty_s
    overdue = pipeline.counts.overdue
    return ramp or np.inf, whole or np.inf, false, overdue


def lag() -> Iterator[str]:
    """Verdicts that come late on part of the calls: half of the answers made up for two minutes, ceiling 2 %.

    100 calls/s, as many to the primary as `primary_share` says, the rest answered by a fallback that makes
    everything up. `again`: activations after the first one was over, which old verdicts would cause; `back`:
    from the end of the fault to the whole traffic, which old verdicts would delay.
    """
    yield "| lag s | judged | found after s | back after s | again |"
    yield "|---|---|---|---|---|"
    spec = PredicateSpec(
        name="made_up", type="rate", evaluation="hallucination", ceiling=0.02, stated=("ceiling",)
    )
    for lag_s in (5.0, 30.0, 300.0):
        for judged in (0.01, 0.1, 1.0):
            found, back, again = _late(_contract(spec), np.random.default_rng(5), lag_s, judged)
            cells = ("not" if each is None else f"{each:.0f}" for each in (found, back))
            yield f"| {lag_s:.0f} | {judged:.0%} | {' | '.join(cells)} | {again} |"


def _late(
    contract: Contract, rng: np.random.Generator, lag_s: float, judged: float
) -> tuple[float | None, float | None, int]:
    # Long enough for what is judged to show the route healthy before, and again after the fault.
    begins = 60.0 + 20.0 / judged
    ends, lasts = begins + 120.0, begins + 1500.0
    pipeline = Pipeline(contract)
    waiting: deque[tuple[float, int, Evaluation]] = deque()
    share, began, back, again = 1.0, None, None, 0
    for i in range(int(100 * lasts)):
        at = T0 + i / 100
        primary = rng.random() < share
        bad = rng.random() < (0.5 if begins <= at - T0 < ends else 0.005) if primary else True
        call = TelemetryRecord(
            event_time=at,
            route="r",
            request_id=f"c{i}",
            served_by="primary" if primary else "rule",
            probe=primary and share < 1.0,
        )
        decisions = pipeline.step([call], [i], [at])
        if rng.random() < judged:
            verdict = Evaluation(
                event_time=at + lag_s,
                call_time=at,
                route="r",
                request_id=f"c{i}",
                name="hallucination",
                failed=bool(bad),
            )
            waiting.append((at + lag_s, i, verdict))
        while waiting and waiting[0][0] <= at:
            _, row, verdict = waiting.popleft()
            decisions += pipeline.step_evaluations([verdict], [row], [at])
        for each in decisions:
            if each.disposition != "act":
                continue
            share = each.primary_share
            if each.kind == "activated":
                again += began is not None
                began = began or at - T0
            if each.kind == "deactivated" and at - T0 > ends and back is None:
                back = at - T0 - ends
    return None if began is None else began - begins, back, again


def _until_active(contract: Contract, records: Sequence[TelemetryRecord]) -> float | None:
    pipeline = Pipeline(contract)
    for first in range(0, len(records), 50):
        some = records[first : first + 50]
        said: list[Decision] = pipeline.step(
            some, range(first, first + len(some)), [each.event_time for each in some]
        )
        for each in said:
            if each.kind == "activated" and each.disposition == "act":
                return (each.evidence.event_time or each.at) - T0
    return None


def _contract(spec: PredicateSpec) -> Contract:
    """One predicate, one mode, the budget of a false activation in seven weeks."""
    return Contract(
        defaults=replace(Defaults(), fleet_records_per_s=100.0),
        predicates={spec.name: spec},
        modes={spec.name: Mode(name=spec.name, when=spec.name)},
        fallbacks={"rule": Fallback(name="rule")},
        matrix=(MatrixRow(mode="*", input_class="*", fallbacks=("rule",)),),
    )


TABLES = {"drift": drift, "jump": jump, "runs": runs, "slow": slow, "revert": revert, "lag": lag}


def main() -> None:
    """Print the tables that were asked for, or all."""
    for name in sys.argv[1:] or TABLES:
        print(f"## {name}\n\n{TABLES[name].__doc__}\n")
        for line in TABLES[name]():
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
