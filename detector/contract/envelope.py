"""Rules about numbers that depend on each other: the latency envelope and the run rule's false alarms."""

from math import ceil, fsum, log

from detector.contract.draft import Draft, shown
from detector.contract.grammar import VERSION
from detector.contract.model import Contract, PredicateSpec, RouteRule

LITERAL_RUN = 3  # `consecutive` where a literal exceedance does not say it
CORRELATION_MARGIN = 100.0  # neighbouring calls are slow together; independence flatters a run rule
_SECONDS_PER_DAY = 86_400.0
_SHARE_TOLERANCE = 0.001


def version(draft: Draft, contract: Contract) -> None:
    """The version is one that this program reads."""
    if draft.sound("version") and contract.version != VERSION:
        draft.report("wrong-version", ("version",), f"version {contract.version:g} is not known here")


def latency(draft: Draft, contract: Contract) -> None:
    """Each fallback fits between the primary's time and the promise, and so does their mean with monitoring.

    With e = p99_ms - primary_p99_ms of a route: each fallback's p99 <= e, and their mean, weighted by
    share, <= e - monitoring_ms.
    """
    routes = []
    for index, rule in enumerate(contract.routes):
        if not draft.sound("routes", index, "slo"):
            continue
        if envelope_ms(rule) - rule.slo.monitoring_ms <= 0:
            message = f"{rule.slo.p99_ms:g} ms less the primary's {rule.slo.primary_p99_ms:g} ms"
            advice = "p99_ms has to exceed primary_p99_ms + monitoring_ms"
            path = ("routes", index, "slo")
            draft.report(
                "slo-contradiction", path, f"{message} leaves nothing beside monitoring", advice, key=True
            )
        else:
            routes.append(rule)
    if not routes:
        return
    tightest = min(routes, key=envelope_ms)
    for name, fallback in contract.fallbacks.items():
        if draft.sound("fallbacks", name, "p99_ms") and fallback.p99_ms > envelope_ms(tightest):
            limit = f"{envelope_ms(tightest):g} ms (p99_ms - primary_p99_ms of route {shown(tightest.match)})"
            message = f"{fallback.p99_ms:g} ms is outside the envelope of {limit}"
            advice = (
                f"use a fallback of at most {envelope_ms(tightest):g} ms, or a longer p99_ms for that route"
            )
            draft.report("fallback-too-slow", ("fallbacks", name, "p99_ms"), message, advice)
    _mean(draft, contract, min(routes, key=lambda rule: envelope_ms(rule) - rule.slo.monitoring_ms))


def _mean(draft: Draft, contract: Contract, tightest: RouteRule) -> None:
    fallbacks = list(contract.fallbacks.values())
    if not draft.sound("fallbacks") or not any(
        draft.written("fallbacks", one.name, "share") for one in fallbacks
    ):
        return
    total = fsum(one.share for one in fallbacks)
    if abs(total - 1) > _SHARE_TOLERANCE:
        draft.report("shares-not-one", ("fallbacks",), f"the shares sum to {total:g}, not 1", key=True)
        return
    mean = fsum(one.share * one.p99_ms for one in fallbacks)
    limit = envelope_ms(tightest) - tightest.slo.monitoring_ms
    if mean > limit + 1e-9:
        message = f"the mean by share is {mean:.4g} ms, over {limit:g} ms for route {shown(tightest.match)}"
        advice = "the limit is p99_ms - primary_p99_ms - monitoring_ms; give the faster fallbacks more"
        draft.report("fallback-mean-too-slow", ("fallbacks",), message, advice, key=True)


def envelope_ms(rule: RouteRule) -> float:
    """Time that a route leaves for its fallback, milliseconds."""
    return rule.slo.p99_ms - rule.slo.primary_p99_ms


def promises(draft: Draft, contract: Contract) -> None:
    """Some limit on whole calls that is acted on lies within what a route's service level promises.

    Only of routes whose `p99_ms` is written: nobody else has promised anything.
    """
    acting = {name for mode in contract.modes.values() if mode.acts for name in mode.predicates}
    limits = {
        name: (spec, spec.above_ms)
        for name, spec in contract.predicates.items()
        if name in acting and spec.type == "exceedance" and spec.field == "latency_s"
        if spec.above_ms is not None and draft.sound("predicates", name)
    }
    told: set[str] = set()
    for index, rule in enumerate(contract.routes):
        if not draft.written("routes", index, "slo", "p99_ms") or not draft.sound("routes", index):
            continue
        there = {name: above for name, (spec, above) in limits.items() if _holds_for(contract, spec, rule)}
        if any(above <= rule.slo.p99_ms for above in there.values()):
            continue
        for name, above in there.items():
            if name not in told:
                told.add(name)
                message = (
                    f"{above:g} ms is more than the {rule.slo.p99_ms:g} ms that {shown(rule.match)} promises"
                )
                draft.report("limit-over-promise", ("predicates", name, "above_ms"), message)


def _holds_for(contract: Contract, spec: PredicateSpec, rule: RouteRule) -> bool:
    """Whether a predicate is judged on all routes, or on one that this rule is for."""
    return not spec.routes or any(contract.route_rule(route) == rule for route in spec.routes)


def runs(draft: Draft, contract: Contract) -> None:
    """A literal run rule is long enough that healthy traffic stays within the false-alarm budget.

    Runs of k calls, each bad with probability p, begin (1-p) p^k / (1-p^k) times per call, exact for
    independent calls by a renewal argument; times the calls of a day, times a margin for correlation.
    """
    if not draft.sound("defaults"):
        return
    for spec in contract.predicates.values():
        here = ("predicates", spec.name)
        if spec.type != "exceedance" or spec.method != "literal" or not draft.sound(*here):
            continue
        run = LITERAL_RUN if spec.consecutive is None else spec.consecutive
        budget = contract.defaults.false_alarms_per_week / 7
        records_per_s = contract.fleet_records_per_s
        alarms = false_runs_per_day(run, spec.ceiling, records_per_s)
        if alarms > budget:
            need = shortest_run(contract, spec)
            message = (
                f"{run} in a row at a ceiling of {spec.ceiling:g} and {records_per_s:g} records/s "
                f"is {alarms:.3g} false activations a day, over the budget of {budget:.2g}"
            )
            key = "consecutive" if draft.written(*here, "consecutive") else "method"
            draft.report(
                "run-too-short", (*here, key), message, f"consecutive: {need}, or leave out method: literal"
            )


def false_runs_per_day(run: int, bad_share: float, records_per_s: float) -> float:
    """False activations a day of `run` bad calls in a row, with the margin for correlation."""
    at_end = bad_share**run
    if at_end >= 1:
        return float("inf")
    return CORRELATION_MARGIN * _SECONDS_PER_DAY * records_per_s * (1 - bad_share) * at_end / (1 - at_end)


def shortest_run(contract: Contract, spec: PredicateSpec) -> int:
    """The least `consecutive` within the contract's budget: the formula above solved for p^k."""
    budget = contract.defaults.false_alarms_per_week / 7
    scale = CORRELATION_MARGIN * _SECONDS_PER_DAY * contract.fleet_records_per_s * (1 - spec.ceiling)
    ratio = budget / scale
    run = max(1, ceil((log(ratio) - log(1 + ratio)) / log(spec.ceiling))) if ratio > 0 else 1
    # Rounding can leave the solution one off either way, where the budget is all but spent.
    rate = contract.fleet_records_per_s
    near = (max(1, run - 1), run)
    return next((k for k in near if false_runs_per_day(k, spec.ceiling, rate) <= budget), run + 1)
