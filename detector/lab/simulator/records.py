"""Telemetry out of calls: what is measured, with noise, and what is missing."""

from collections.abc import Iterable
from itertools import repeat
from typing import Any

import numpy as np

from detector.lab.simulator.calls import ERRORS, NONE, Bools, Calls, Floats
from detector.lab.simulator.population import INPUT_CLASSES, TOPICS
from detector.lab.simulator.profiles import SPOTTY, Profile
from topics.telemetry import Evaluation, TelemetryRecord

JUDGE = "simulated-judge"
HALLUCINATION = "hallucination"
PROVIDER = "simulated"
_TEMPLATES = np.array([f"{topic}-v1" for topic in TOPICS], dtype=object)
_CLASSES = np.array(INPUT_CLASSES, dtype=object)
_ERRORS = np.array(ERRORS, dtype=object)
_VERDICTS = np.array([False, True, None], dtype=object)  # by the codes 0, 1, -1


class Collector:
    """Reports the calls of one route as far as the profile measures them.

    Args:
        route: name.
        deployments: names by index.
        tenants: how many.
        fallbacks: names by index, 0 is the primary; the list may grow.
        profile: what is measured.
        rng: of noise and missing values, used for nothing else.
    """

    def __init__(
        self,
        route: str,
        deployments: list[str],
        tenants: int,
        fallbacks: list[str],
        profile: Profile,
        rng: np.random.Generator,
    ) -> None:
        self._route = route
        self._deployments = np.array([*deployments, ""], dtype=object)  # index -1: none
        self._tenants = np.array([*(f"tenant-{n:03}" for n in range(tenants)), ""], dtype=object)
        self._fallbacks = fallbacks
        self._profile = profile
        self._rng = rng

    def records(self, calls: Calls) -> list[TelemetryRecord]:
        """One record per call that is not lost, in the same order."""
        size = len(calls)
        chance = self._rng.random((len(SPOTTY) + 1, size))  # drawn for lost calls too
        noise = self._rng.standard_normal(size)
        kept = ~calls["lost"]
        if not kept.all():
            calls, chance, noise = calls[kept], chance[:, kept], noise[kept]
        if not len(calls):
            return []
        columns = self._columns(calls, 1.0 + self._profile.noise * noise)
        shown = self._profile.fields
        missing = dict(zip(sorted(SPOTTY), chance < self._profile.missing, strict=False))
        for name in list(columns):
            if name not in shown and name not in _ALWAYS:
                del columns[name]
            elif name in missing:
                columns[name] = _without(columns[name], missing[name])
        return _records(
            columns,
            self._route,
            self._route if "model" in shown else "",
            PROVIDER if "provider" in shown else "",
        )

    def evaluations(self, calls: Calls) -> list[Evaluation]:
        """Verdicts that come later than their calls, in the order of the calls; none if inline."""
        if not self._profile.judge_lag_s:
            return []
        judged = calls[(calls["verdict"] != NONE) & ~calls["lost"]]
        names = (
            self._deployments
            if "deployment" in self._profile.fields
            else np.array([""] * len(self._deployments))
        )
        return [
            Evaluation(
                event_time=at + lag,
                route=self._route,
                name=HALLUCINATION,
                call_time=at,
                request_id=f"{self._route}-{serial}",
                deployment=deployment,
                failed=verdict == 1,
                judge=JUDGE,
            )
            for at, lag, serial, deployment, verdict in zip(
                (judged["done"] + judged["clock_offset"]).tolist(),
                judged["verdict_lag"].tolist(),
                judged["serial"].tolist(),
                names[judged["deployment"]].tolist(),
                judged["verdict"].tolist(),
                strict=True,
            )
        ]

    def _columns(self, calls: Calls, noise: Floats) -> dict[str, list[Any]]:
        """Values of all fields as Python objects, None where the call has no such thing."""
        served = calls["fallback"] == 0  # by the primary, whose engine and clock are known
        failed = calls["error"] != 0
        answered = ~failed
        reached = served & answered
        fallbacks = np.array(self._fallbacks, dtype=object)
        inline = answered & (calls["golden"] == NONE) & (self._profile.judge_lag_s == 0)
        is_golden = calls["golden"] != NONE
        finish = np.where(failed, "", np.where(calls["limited"], "length", "stop"))
        return {
            "event_time": (calls["done"] + calls["clock_offset"]).tolist(),
            "served_by": fallbacks[calls["fallback"]].tolist(),
            "probe": calls["probe"].tolist(),
            "request_id": [f"{self._route}-{serial}" for serial in calls["serial"].tolist()],
            "deployment": self._deployments[calls["deployment"]].tolist(),
            "tenant": self._tenants[calls["tenant"]].tolist(),
            "template": np.where(is_golden, "golden", _TEMPLATES[calls["topic"]]).tolist(),
            "finish_reason": finish.tolist(),
            "input_class": _CLASSES[calls["risky"].astype(np.int64)].tolist(),
            "latency_s": ((calls["done"] - calls["arrival"]) * noise).tolist(),
            "ttft_s": _some(calls["ttft"] * noise, answered),
            "queue_s": _some(calls["queue"] * noise, served),
            "upstream_s": _some(calls["upstream"] * noise, served & ~np.isnan(calls["upstream"])),
            "batch_size": _some(np.rint(calls["batch"]), served),
            "input_tokens": calls["input_tokens"].tolist(),
            "output_tokens": _some(calls["output_tokens"], answered),
            "error": _ERRORS[calls["error"]].tolist(),
            "hallucinated": _some(_VERDICTS[calls["verdict"]], inline),
            "refused": _some(calls["refused"], answered & ~is_golden),
            "logprob_mean": _some(calls["logprob"], reached),
            "token_ids": _some_lists(calls["tokens"], reached),
            "clock_ratio": _some(calls["clock"], served),
            "throttle_reasons": _some(calls["throttle"], served),
            "golden": [f"golden-{n:02}" if n >= 0 else "" for n in calls["golden"].tolist()],
            "golden_ok": _some(calls["golden_ok"], is_golden & answered),
        }


_ALWAYS = frozenset({"event_time", "served_by", "probe"})
_TEXT = frozenset("request_id deployment tenant template finish_reason error golden".split())


def _some(values: Any, there: Bools) -> list[Any]:
    found: list[Any] = values.tolist()
    for index in np.flatnonzero(~there).tolist():
        found[index] = None
    return found


def _some_lists(values: Any, there: Bools) -> list[Any]:
    if there.all():
        found: list[Any] = values.tolist()
        return found
    return _some(values, there)


def _without(values: list[Any], missing: Bools) -> list[Any]:
    for index in np.flatnonzero(missing).tolist():
        values[index] = None
    return values


def _records(columns: dict[str, list[Any]], route: str, model: str, provider: str) -> list[TelemetryRecord]:
    def column(name: str) -> Iterable[Any]:
        if name in columns:
            return columns[name]
        return repeat("default" if name == "input_class" else "" if name in _TEXT else None)

    rows = zip(columns["event_time"], *(column(name) for name in _ORDER), strict=False)
    return [
        TelemetryRecord(
            event_time=event_time,
            route=route,
            model=model,
            provider=provider,
            served_by=served_by,
            probe=probe,
            request_id=request_id,
            deployment=deployment,
            tenant=tenant,
            template=template,
            finish_reason=finish_reason,
            input_class=input_class,
            latency_s=latency_s,
            ttft_s=ttft_s,
            queue_s=queue_s,
            upstream_s=upstream_s,
            batch_size=batch_size,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            error=error,
            hallucinated=hallucinated,
            refused=refused,
            logprob_mean=logprob_mean,
            token_ids=token_ids,
            clock_ratio=clock_ratio,
            throttle_reasons=throttle_reasons,
            golden=golden,
            golden_ok=golden_ok,
        )
        for (
            event_time,
            served_by,
            probe,
            request_id,
            deployment,
            tenant,
            template,
            finish_reason,
            input_class,
            latency_s,
            ttft_s,
            queue_s,
            upstream_s,
            batch_size,
            input_tokens,
            output_tokens,
            error,
            hallucinated,
            refused,
            logprob_mean,
            token_ids,
            clock_ratio,
            throttle_reasons,
            golden,
            golden_ok,
        ) in rows
    ]


_ORDER = (
    "served_by probe request_id deployment tenant template finish_reason input_class latency_s ttft_s "
    "queue_s upstream_s batch_size input_tokens output_tokens error hallucinated refused logprob_mean "
    "token_ids clock_ratio throttle_reasons golden golden_ok"
).split()
