"""Calls for a drill: healthy ones by a contract's own limits, and ones that show one of its failure modes.

Nothing is known of the user's traffic, so healthy calls are made to keep every limit that the contract
states, and a spike does what the predicates of its mode look for.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from detector.contract.model import Contract, Mode, PredicateSpec
from detector.predicates.rate import GOOD_WHEN_TRUE
from detector.windows.columns import FEATURE
from topics.telemetry import Evaluation, TelemetryRecord

Fields = dict[str, Any]
Change = Callable[[Fields], None]

SPIKE_SHARE = 0.8  # of the calls of a spike are bad
GOLDEN_EVERY = 5
_KEPT_LIMIT = 0.4  # healthy calls take so much of a limit
_FAR_BEYOND = 3.0
_KNOWN_HEALTHY = 1.3 * math.log(1e5)
_THERMAL = 0x40
_FAILED = "drill"
_TEXT = frozenset({"template", "tenant", "finish_reason", "model", "provider", "input_class", "deployment"})


class CannotDrillError(ValueError):
    """A mode that no spike is known for; the message says why."""


def predicates_of(contract: Contract, mode: Mode, route: str) -> list[PredicateSpec]:
    """The predicates that a spike of a mode makes hold: as many as it takes, of those that can be made to.

    Of those that exist on the route.

    Raises:
        CannotDrillError: too few of them can.
    """
    known = [contract.predicates[name] for name in mode.predicates]
    can = [
        spec
        for spec in known
        if spec.type != "absence" and spec.method != "log_cusum" and spec.exists_on(route)
    ]
    needed = 1 if isinstance(mode.when, str) else mode.when.least
    if len(can) < needed:
        raise CannotDrillError(f"no spike is known for {', '.join(spec.name for spec in known)}")
    return can[:needed]


@dataclass
class Caller:
    """Makes the calls of one drilled route.

    Args:
        contract: whose limits healthy calls keep.
        mode: what its spikes show.
        route: name.
        seed: of its lots.

    Raises:
        CannotDrillError: as `predicates_of`.
    """

    contract: Contract
    mode: Mode
    route: str
    seed: int = 0
    specs: list[PredicateSpec] = field(init=False)
    _draw: random.Random = field(init=False)
    _changes: list[Change] = field(init=False)
    _count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.specs = predicates_of(self.contract, self.mode, self.route)
        self._draw = random.Random(self.seed)
        self._changes = [change for spec in self.specs for change in self._spike(spec)]

    def call(self, at: float, *, spike: bool = False, **more: Any) -> TelemetryRecord:
        """A call that ended at `at` (Unix seconds); of those of a `spike`, most are bad."""
        self._count += 1
        fields = self._healthy()
        if spike and self._draw.random() < SPIKE_SHARE:
            for change in self._changes:
                change(fields)
        for spec in self.specs:
            fields |= {name: values[0] for name, values in spec.where if not name.startswith(FEATURE)}
        fields |= {"request_id": f"{self.route}-{self.seed}-{self._count}"} | more
        return TelemetryRecord(event_time=at, route=self.route, **fields)

    def verdicts(self, call: TelemetryRecord, *, spike: bool = False) -> list[Evaluation]:
        """What judges say of a call later, as far as the mode rests on that."""
        found = []
        for spec in self.specs:
            if spec.evaluation:
                bad = spike and self._draw.random() < SPIKE_SHARE
                found.append(
                    Evaluation(
                        event_time=call.event_time,
                        call_time=call.event_time,
                        route=self.route,
                        request_id=call.request_id,
                        name=spec.evaluation,
                        failed=bad,
                        score=_score(spec, bad=bad),
                    )
                )
        return found

    @property
    def history_s(self) -> float:
        """Seconds of healthy calls after which the mode's predicates and all causes are armed."""
        windows = [spec.window_s for spec in self.specs if spec.type == "divergence"]
        return max([150.0, *(3.5 * window for window in windows)])

    @property
    def history_per_s(self) -> float:
        """Calls a second in that time, so that the ceilings are known to have been kept."""
        parts = [GOLDEN_EVERY if spec.field == "golden_ok" else 1 for spec in self.specs]
        ceilings = [
            _KNOWN_HEALTHY * part / spec.ceiling
            for spec, part in zip(self.specs, parts, strict=True)
            if spec.type not in ("divergence", "attribution")
        ]
        return min(200.0, max([20.0, *(needed / self.history_s for needed in ceilings)]))

    def _healthy(self) -> Fields:
        draw = self._draw
        upstream = self._below("upstream_s", 0.02) * draw.lognormvariate(0, 0.15)
        soonest = min(self._below("ttft_s", 0.03), self._below("ttft_unqueued_s", 0.03))
        first = soonest * draw.lognormvariate(0, 0.15)
        tokens = max(8, round(draw.lognormvariate(4.5, 0.4)))
        # Each token after the first takes its time, so that the whole call is within its limit.
        rest = max(0.01, self._below("latency_s", 0.2) - first - upstream)
        per_token = min(rest / 110.0, self._below("tpot_s", 1.0)) * draw.lognormvariate(0, 0.05)
        fields: Fields = {
            "input_tokens": round(draw.lognormvariate(5.5, 0.5)),
            "output_tokens": tokens,
            "upstream_s": upstream,
            "ttft_s": upstream + first,
            "latency_s": upstream + first + per_token * min(tokens, 110),
            "queue_s": min(self._below("queue_s", 0.005), first / 2) * draw.uniform(0.5, 1.0),
            "batch_size": float(draw.choice((6, 8, 10))),
            "logprob_mean": draw.gauss(-0.8, 0.05),
            "token_ids": draw.sample(range(1000), 24),
            "clock_ratio": draw.uniform(0.97, 1.0),
            "throttle_reasons": 0,
            "hallucinated": False,
            "refused": False,
            "finish_reason": "stop",
            "tenant": f"tenant-{draw.randrange(4)}",
            "deployment": "drill",
            "features": self._features(),
        }
        if self._count % GOLDEN_EVERY == 0:
            fields |= {"golden": "drill", "golden_ok": True}
        return fields

    def _features(self) -> dict[str, float | str]:
        names = {
            spec.field.removeprefix(FEATURE)
            for spec in self.contract.predicates.values()
            if spec.field.startswith(FEATURE)
        }
        return {name: self._below(FEATURE + name, 1.0) * self._draw.uniform(0.8, 1.2) for name in names}

    def _below(self, name: str, otherwise: float) -> float:
        """A value, in the field's unit, that keeps every limit on it."""
        limits = [
            spec.above_ms / 1000.0
            for spec in self.contract.predicates.values()
            if spec.field == name and spec.above_ms is not None
        ]
        return _KEPT_LIMIT * min(limits) if limits else otherwise

    def _spike(self, spec: PredicateSpec) -> list[Change]:
        """What a predicate of the mode looks for."""
        name = spec.field
        if spec.evaluation:
            return []
        if spec.type == "attribution":
            cause = _CAUSES[spec.cause]
            return [cause, lambda fields: self._slow_enough(fields, spec.cause)]
        if spec.type == "exceedance":
            limit = (spec.above_ms or 0.0) / 1000.0
            return [lambda fields: _exceed(fields, name, _FAR_BEYOND * limit)]
        if spec.type == "rate":
            if name == "error":
                return [lambda fields: fields.update(error=_FAILED)]
            bad = name not in GOOD_WHEN_TRUE
            return [lambda fields: fields.update({name: bad} | ({} if bad else {"golden": "drill"}))]
        if spec.type == "repetition":
            return [lambda fields: fields.update(token_ids=[7] * 24)]
        if spec.type == "shortfall":
            if spec.below_nats is not None:
                less = 4 * spec.below_nats
                return [lambda fields: fields.update({name: fields[name] - less})]
            share = (spec.below_share or 0.5) / 4
            return [lambda fields: fields.update({name: type(fields[name])(fields[name] * share)})]
        return [lambda fields: _drift(fields, name)]

    def _slow_enough(self, fields: Fields, cause: str) -> None:
        """Let what a cause costs in time exceed every limit on the whole call."""
        limits = [
            spec.above_ms / 1000.0
            for spec in self.contract.predicates.values()
            if spec.field == "latency_s" and spec.above_ms is not None
        ]
        short = 2.0 * max(limits, default=0.0) - fields["latency_s"]
        if short > 0 and cause in _TAKEN_IN:
            for name in _TAKEN_IN[cause]:
                fields[name] += short


def _score(spec: PredicateSpec, *, bad: bool) -> float | None:
    if spec.score_below is not None:
        return spec.score_below - 1.0 if bad else spec.score_below + 1.0
    if spec.score_above is not None:
        return spec.score_above + 1.0 if bad else spec.score_above - 1.0
    return None


def _exceed(fields: Fields, name: str, value: float) -> None:
    """Let a time, or a feature, be `value`; the whole call takes at least as long as its parts."""
    if name.startswith(FEATURE):
        fields["features"] = fields["features"] | {name.removeprefix(FEATURE): value}
        return
    more = value - fields.get(name, 0.0)
    if name == "tpot_s":
        fields["latency_s"] = fields["ttft_s"] + value * (fields["output_tokens"] - 1)
    elif name == "latency_s":
        fields["latency_s"] = value
    elif name == "ttft_unqueued_s":
        fields["ttft_s"] += more
        fields["latency_s"] += more
    else:
        fields[name] = value
        fields["latency_s"] += more
        if name != "ttft_s":
            fields["ttft_s"] += more


def _drift(fields: Fields, name: str) -> None:
    if name == "token_ids":
        fields[name] = [each % 32 for each in fields[name]]  # ids are hashed: they have to become fewer
    elif name.startswith(FEATURE):
        feature = name.removeprefix(FEATURE)
        fields["features"] = fields["features"] | {feature: 8.0 * fields["features"][feature]}
    elif name in _TEXT:
        fields[name] = _FAILED
    elif name == "logprob_mean":
        fields[name] -= 4.0
    elif isinstance(fields.get(name), int):
        fields[name] *= 8
    else:
        _exceed(fields, name, 8.0 * fields.get(name, 0.1))


def _upstream(fields: Fields) -> None:
    _exceed(fields, "upstream_s", 10.0 * fields["upstream_s"])


def _throttling(fields: Fields) -> None:
    decode = fields["latency_s"] - fields["ttft_s"]
    fields |= {"clock_ratio": 0.5, "throttle_reasons": _THERMAL}
    fields["latency_s"] += 3.0 * decode


def _overload(fields: Fields) -> None:
    waited = max(1.0, 100.0 * fields["queue_s"])
    fields["queue_s"] += waited
    fields["ttft_s"] += waited
    fields["latency_s"] += waited
    fields["batch_size"] *= 4.0


def _corruption(fields: Fields) -> None:
    fields |= {"hallucinated": True, "logprob_mean": fields["logprob_mean"] - 2.0, "token_ids": [7] * 24}
    if "golden" in fields:
        fields["golden_ok"] = False


def _longer(fields: Fields) -> None:
    fields["output_tokens"] *= 8


def _asked(fields: Fields) -> None:
    fields["input_tokens"] *= 8


# Where the time goes that a cause costs.
_TAKEN_IN = {
    "external_api_latency": ("upstream_s", "ttft_s", "latency_s"),
    "hardware_throttling": ("latency_s",),
    "inference_overload": ("queue_s", "ttft_s", "latency_s"),
}
_CAUSES: dict[str, Change] = {
    "external_api_latency": _upstream,
    "hardware_throttling": _throttling,
    "inference_overload": _overload,
    "parameter_corruption": _corruption,
    "token_drift": _longer,
    "input_drift": _asked,
}
