"""What a call is and what its answer is like, before the engine decides how long it takes.

Every call draws the same lots in the same order, whatever is wrong and wherever it is sent: with equal
seeds, a stream with a fault and one without differ in the calls that the fault strikes and in nothing else.
"""

from collections.abc import Callable, Sequence

import numpy as np

from detector.lab.simulator.calls import (
    CONNECTION_ERROR,
    NONE,
    RATE_LIMIT,
    SERVER_ERROR,
    TOKENS,
    Bools,
    Calls,
    Floats,
    Ints,
    blank,
)
from detector.lab.simulator.faults import Active
from detector.lab.simulator.population import (
    LONGEST_INPUT,
    LONGEST_OUTPUT,
    Population,
    Questions,
    as_tokens,
    high_risk,
    made_up_share,
    sureness,
)
from detector.lab.simulator.profiles import Profile
from detector.lab.simulator.regimes import Regime

ERROR_SHARE = 0.002
MADE_UP_SHARE = 0.008
REFUSED_SHARE = 0.005
GOLDEN_WRONG = 0.002  # batching and rounding change a greedy answer now and then
GOLDEN_PROMPTS = 20
_NETWORK_S = 0.004
_STALLED_STREAMS = 0.3
_BROWN_OUT_ERRORS = 0.05
_FIRST_TURN_CACHED, _LATER_TURN_CACHED = 0.1, 0.6
_DAMAGE_LOGPROB = -0.6
_DAMAGE_LENGTH = 0.25
_DAMAGE_MADE_UP = 0.4
_DAMAGE_REFUSED = 0.1


class Asking:
    """Makes calls out of arrivals on one route.

    Args:
        regime, population: who asks.
        profile: of the judge, and how often golden prompts are sent.
        deployments: how many.
        weights: the tenants' shares that count as typical.
        rng: for a sample of typical calls, used for nothing else.
    """

    def __init__(
        self,
        regime: Regime,
        population: Population,
        profile: Profile,
        deployments: int,
        weights: Floats,
        rng: np.random.Generator,
    ) -> None:
        self._regime = regime
        self._population = population
        self._profile = profile
        self._deployments = deployments
        self._shift_nats: dict[tuple[str, float], float] = {}
        self._sample = self._sampled(20_000, weights / weights.sum(), rng)

    def typical(self) -> tuple[float, float]:
        """Mean input and output tokens of a call."""
        inputs, outputs = self._sample
        return float(as_tokens(inputs, LONGEST_INPUT).mean()), float(
            as_tokens(outputs, LONGEST_OUTPUT).mean()
        )

    def make(
        self,
        time: Floats,
        asked: Questions,
        faults: Sequence[Active],
        rng: np.random.Generator,
        send: Callable[[Calls], None],
    ) -> Calls:
        """One row per arrival, with everything but what the engine decides.

        `send` is the gateway: it may change where a call goes, before anything depends on that.
        """
        count = len(time)
        calls = blank(count)
        chance = rng.random((15, count))
        normal = rng.standard_normal((5, count))
        words = rng.integers(0, self._population.words.shape[1], (count, TOKENS))
        calls["arrival"], calls["lot"] = time, chance[14]
        calls["tenant"], calls["topic"], calls["turn"] = asked.tenant, asked.topic, asked.turn
        calls["deployment"] = (chance[0] * self._deployments).astype(np.int64)
        calls["risky"] = high_risk(asked.topic, chance[1])
        send(calls)
        self._lengths(calls, asked, normal, faults)
        self._ways(calls, chance, normal, faults)
        self._errors(calls, chance, faults)
        self._content(calls, chance, normal, words, faults)
        self._judged(calls, chance)
        self._reported(calls, chance, faults)
        return calls

    def golden(
        self, time: Floats, deployment: Ints, faults: Sequence[Active], rng: np.random.Generator
    ) -> Calls:
        """Golden prompts to given deployments: always the same few questions, of typical length."""
        count = len(time)
        prompt = rng.integers(0, GOLDEN_PROMPTS, count)
        topic = prompt % self._population.topic_mix.shape[1]
        asked = Questions(
            np.zeros(count, dtype=np.int64), topic, np.zeros(count, dtype=np.int64), np.zeros(count)
        )

        def pinned(rows: Calls) -> None:
            rows["deployment"] = deployment
            rows["risky"] = False

        calls = self.make(time, asked, faults, rng, pinned)
        calls["tenant"], calls["golden"] = NONE, prompt
        calls["verdict"] = NONE
        calls["input_tokens"] = np.rint(self._regime.input_median * (0.5 + prompt / GOLDEN_PROMPTS))
        calls["output_tokens"] = 16
        calls["limited"] = False
        wrong = rng.random(count) < GOLDEN_WRONG
        chance = rng.random(count)
        for fault in faults:
            if fault.kind == "parameter_corruption":
                struck = fault.hits(time, calls["deployment"])
                wrong |= struck & (chance < fault.size)
                _mark(calls, struck & (chance < fault.size), fault)
        calls["golden_ok"] = ~wrong & (calls["error"] == 0)
        return calls

    def shift(self, which: str, nats: float) -> float:
        """By how much log lengths must move, all of them alike, to diverge by so many nats in 16 bins."""
        key = (which, nats)
        if key not in self._shift_nats:
            logs = self._sample[0] if which == "input" else self._sample[1]
            self._shift_nats[key] = _shift_for(logs, nats)
        return self._shift_nats[key]

    def _sampled(self, size: int, shares: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        regime, population = self._regime, self._population
        tenant = rng.choice(regime.tenants, size, p=shares)
        topic = population.topics(tenant, rng.random(size))
        turn = rng.geometric(1 / regime.session_turns, size) - 1
        asked = Questions(tenant, topic, turn, rng.standard_normal(size))
        inputs = population.inputs(asked, rng.standard_normal(size))
        risky = high_risk(topic, rng.random(size))
        return inputs, population.outputs(asked, inputs, risky, rng.standard_normal(size))

    def _lengths(self, calls: Calls, asked: Questions, normal: Floats, faults: Sequence[Active]) -> None:
        population, time = self._population, calls["arrival"]
        inputs = population.inputs(asked, normal[0])
        for fault in faults:
            if fault.kind == "input_drift":
                struck = fault.at(time)
                inputs = inputs + struck * self.shift("input", fault.size)
                _mark(calls, struck, fault)
        outputs = population.outputs(asked, inputs, calls["risky"], normal[1])
        for fault in faults:
            if fault.kind == "token_drift":
                struck = fault.hits(time, calls["deployment"])
                outputs = outputs - struck * self.shift("output", fault.size)
                _mark(calls, struck, fault)
        calls["input_tokens"] = as_tokens(inputs, LONGEST_INPUT)
        calls["output_tokens"] = as_tokens(outputs, LONGEST_OUTPUT)
        calls["limited"] = calls["output_tokens"] == LONGEST_OUTPUT
        calls["logprob"] = sureness(asked.topic, inputs)

    def _ways(self, calls: Calls, chance: Floats, normal: Floats, faults: Sequence[Active]) -> None:
        """What happens on the way to the engine and back: API, network, cache, jitter, standstill."""
        regime, time = self._regime, calls["arrival"]
        asks = chance[2] < regime.upstream_share
        calls["upstream"] = np.where(asks, regime.upstream_s * np.exp(0.4 * normal[2]), np.nan)
        network = _NETWORK_S * np.exp(0.5 * normal[3])
        cached = np.where(calls["turn"] > 0, _LATER_TURN_CACHED, _FIRST_TURN_CACHED) * 2 * chance[3]
        cached = np.minimum(cached, 0.95)
        for fault in faults:
            struck = fault.hits(time, calls["deployment"])
            if fault.kind == "external_api_latency":
                calls["upstream"][struck] *= fault.size
                _mark(calls, struck & asks, fault)
            elif fault.kind == "latency_spike":
                network = network + struck * fault.size * np.exp(0.3 * normal[3])
                _mark(calls, struck, fault)
            elif fault.kind == "cache_change":
                cached = np.where(struck, cached * (1.0 - fault.size), cached)
                _mark(calls, struck, fault)
            elif fault.kind == "mid_stream_stall":
                hangs = struck & (chance[4] < _STALLED_STREAMS)
                calls["hold"] += hangs * fault.size * (0.5 + chance[4] / _STALLED_STREAMS)
                _mark(calls, hangs, fault)
        calls["network"], calls["cached"] = network, cached
        calls["jitter"] = np.exp(0.08 * normal[4])
        calls["ready"] = time + np.nan_to_num(calls["upstream"])

    def _errors(self, calls: Calls, chance: Floats, faults: Sequence[Active]) -> None:
        usual = np.where(
            chance[6] < 0.6, SERVER_ERROR, np.where(chance[6] < 0.8, RATE_LIMIT, CONNECTION_ERROR)
        )
        calls["error"] = np.where(chance[5] < ERROR_SHARE, usual, 0)
        for fault in faults:
            share = {"error_spike": fault.size, "brown_out": _BROWN_OUT_ERRORS}.get(fault.kind)
            if share is None:
                continue
            struck = fault.hits(calls["arrival"], calls["deployment"]) & (chance[5] < share)
            calls["error"][struck] = np.where(chance[6][struck] < 0.7, SERVER_ERROR, RATE_LIMIT)
            _mark(calls, struck, fault)

    def _content(
        self, calls: Calls, chance: Floats, normal: Floats, words: Ints, faults: Sequence[Active]
    ) -> None:
        topic, time = calls["topic"], calls["arrival"]
        calls["tokens"] = self._population.words[topic[:, None], words]
        calls["logprob"] = calls["logprob"] + 0.12 * normal[4] / np.sqrt(
            np.maximum(calls["output_tokens"], 1) / 64
        )
        made_up = chance[7] < made_up_share(MADE_UP_SHARE, topic, calls["risky"])
        refused = chance[8] < REFUSED_SHARE * np.where(calls["risky"], 3.0, 1.0)
        for fault in faults:
            struck = fault.hits(time, calls["deployment"])
            if fault.kind == "hallucination_spike":
                made_up |= struck & (chance[7] < fault.size)
                _mark(calls, struck & (chance[7] < fault.size), fault)
            elif fault.kind == "parameter_corruption":
                damaged = struck & (chance[9] < fault.size)
                made_up |= damaged & (chance[7] < _DAMAGE_MADE_UP)
                refused |= damaged & (chance[8] < _DAMAGE_REFUSED)
                _damage(calls, damaged)
                _mark(calls, damaged, fault)
        calls["made_up"], calls["refused"] = made_up, refused

    def _judged(self, calls: Calls, chance: Floats) -> None:
        """The judge's verdict: wrong now and then, on some of the answers, and after a while."""
        profile = self._profile
        said = np.where(
            calls["made_up"], chance[10] < profile.judge_sensitivity, chance[10] >= profile.judge_specificity
        )
        seen = (chance[11] < profile.judge_coverage) & (calls["error"] == 0)
        calls["verdict"] = np.where(seen, said.astype(np.int64), NONE)
        calls["verdict_lag"] = profile.judge_lag_s * (0.5 + chance[12])

    def _reported(self, calls: Calls, chance: Floats, faults: Sequence[Active]) -> None:
        for fault in faults:
            struck = fault.hits(calls["arrival"], calls["deployment"])
            if fault.kind in ("telemetry_silence", "telemetry_gap"):
                calls["lost"] |= struck & (chance[13] < fault.size)
                _mark(calls, struck & (chance[13] < fault.size), fault)
            elif fault.kind == "clock_skew":
                calls["clock_offset"] += struck * fault.size
                _mark(calls, struck, fault)


def _damage(calls: Calls, damaged: Bools) -> None:
    """Damaged weights: short, unsure answers that say the same two words over and over."""
    calls["logprob"][damaged] += _DAMAGE_LOGPROB
    shorter = np.rint(calls["output_tokens"][damaged] * _DAMAGE_LENGTH)
    calls["output_tokens"][damaged] = np.maximum(1, shorter)
    calls["limited"][damaged] = False
    pair = calls["tokens"][damaged][:, :2]
    calls["tokens"][damaged] = np.tile(pair, (1, TOKENS // 2))


def _mark(calls: Calls, struck: Bools, fault: Active) -> None:
    calls["affected"][struck] |= fault.bit


def _shift_for(logs: Floats, nats: float) -> float:
    edges = np.quantile(logs, np.arange(1, 16) / 16)
    q = np.bincount(np.searchsorted(edges, logs), minlength=16) / len(logs)

    def moved(shift: float) -> float:
        p = np.bincount(np.searchsorted(edges, logs + shift), minlength=16) / len(logs)
        some = p > 0
        return float((p[some] * np.log(p[some] / q[some])).sum())

    low, high = 0.0, 8.0
    if moved(high) < nats:
        raise ValueError(f"lengths cannot diverge by {nats} nats in 16 bins; the most is {moved(high):.2f}")
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if moved(middle) < nats else (low, middle)
    return high
