"""Who calls and what about: tenants, topics, and the token counts that follow from both."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from detector.lab.simulator.regimes import Regime

TOPICS = ("chat", "code", "extract", "summary", "translate", "support")
INPUT_CLASSES = ("default", "high_risk")
LONGEST_INPUT = 128_000
LONGEST_OUTPUT = 2048
VOCABULARY = 4096
_TABLE = 8192  # entries of a topic's unigram table: word probabilities are multiples of 1 / _TABLE
# Log offsets of each topic: summaries read much and say little, code is long both ways.
_INPUT_OFFSET = np.array([-0.3, 0.3, 0.4, 0.9, -0.2, 0.0])
_OUTPUT_OFFSET = np.array([0.1, 0.5, -0.7, -0.1, 0.2, -0.2])
_RISK = np.array([0.05, 0.05, 0.2, 0.1, 0.05, 0.4])
_MADE_UP = np.array([1.0, 1.2, 0.6, 0.9, 0.4, 1.5])  # times the base rate of hallucination
_SURE = np.array([-0.5, -0.3, -0.25, -0.45, -0.35, -0.5])  # mean log-probability, nats
_TURN_GROWTH = 0.25
_FOLLOWS_INPUT = 0.15
_RISK_OUTPUT = -0.15

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Questions:
    """What was asked: one entry per call.

    Attributes:
        tenant, topic: indices.
        turn: how many calls of the session came before.
        session: standard normal effect that the calls of a session share.
    """

    tenant: Ints
    topic: Ints
    turn: Ints
    session: Floats


class Population:
    """The tenants of one route; drawn once, they stay what they are.

    Attributes:
        comes_and_goes: by tenant, whether it is away at times.
        topic_mix: by tenant, shares of the topics.
        words: by topic, token ids to draw from evenly.
    """

    def __init__(self, regime: Regime, rng: np.random.Generator) -> None:
        self._regime = regime
        self.topic_mix: Floats = rng.dirichlet(np.full(len(TOPICS), 0.7), regime.tenants)
        self._topic_cdf = np.cumsum(self.topic_mix, axis=1)
        self.comes_and_goes = rng.random(regime.tenants) < regime.burst_share
        self.comes_and_goes[0] = False
        offsets = _scattered(regime.tenants, 2, rng) * np.where(self.comes_and_goes, regime.burst_spread, 1.0)
        self._input = np.log(regime.input_median) + regime.input_spread * offsets
        self._output = np.log(regime.output_median) + regime.output_spread * _scattered(
            regime.tenants, 3, rng
        )
        self.words = _unigrams(rng)

    def topics(self, tenant: Ints, uniform: Floats) -> Ints:
        """The topic of each call, by its tenant's mix."""
        found: Ints = (self._topic_cdf[tenant] < uniform[:, None]).sum(axis=1)
        return np.minimum(found, len(TOPICS) - 1)

    def inputs(self, asked: Questions, noise: Floats) -> Floats:
        """Log of the input tokens: tenant, topic, session, and what the session has piled up."""
        regime = self._regime
        logs: Floats = (
            self._input[asked.tenant]
            + _INPUT_OFFSET[asked.topic]
            + regime.session_sd * asked.session
            + regime.call_sd * noise
            + np.log1p(_TURN_GROWTH * asked.turn)
        )
        return logs

    def outputs(
        self, asked: Questions, log_inputs: Floats, high_risk: NDArray[np.bool_], noise: Floats
    ) -> Floats:
        """Log of the output tokens, given the input's length, class, tenant and topic."""
        regime = self._regime
        logs: Floats = (
            self._output[asked.tenant]
            + _OUTPUT_OFFSET[asked.topic]
            + _FOLLOWS_INPUT * (log_inputs - np.log(regime.input_median))
            + _RISK_OUTPUT * high_risk
            + regime.call_sd * noise
        )
        return logs


def high_risk(topic: Ints, uniform: Floats) -> NDArray[np.bool_]:
    """Whether the gateway calls an input high-risk: a matter of its topic."""
    return uniform < _RISK[topic]


def made_up_share(base: float, topic: Ints, risky: NDArray[np.bool_]) -> Floats:
    """Probability that an answer is made up, by topic and input class; `base` is the mean over topics."""
    return base * _MADE_UP[topic] * np.where(risky, 1.3, 1.0)


def sureness(topic: Ints, log_inputs: Floats) -> Floats:
    """Expected mean log-probability of the answer's tokens, nats: long inputs make for surer answers."""
    logprobs: Floats = _SURE[topic] + 0.03 * (log_inputs - np.log(500.0))
    return logprobs


def as_tokens(logs: Floats, longest: int) -> Ints:
    """Whole token counts, 1..longest."""
    return np.clip(np.rint(np.exp(np.minimum(logs, 20.0))), 1, longest).astype(np.int64)


def _scattered(count: int, base: int, rng: np.random.Generator) -> Floats:
    """Normal scores in the order of rank, so scattered that the largest tenants are never all alike.

    The radical inverse of the rank, shifted at random: drawn freely, a seed's wander would be decided by
    whether its two or three largest tenants happen to resemble each other.
    """
    shift = rng.random()
    places = [(_radical_inverse(rank + 1, base) + shift) % 1.0 for rank in range(count)]
    return np.array([NormalDist().inv_cdf(min(max(place, 1e-3), 1 - 1e-3)) for place in places])


def _radical_inverse(number: int, base: int) -> float:
    """The digits of `number` mirrored at the point: 0..1, each next one far from those before."""
    result, unit = 0.0, 1.0 / base
    while number:
        number, digit = divmod(number, base)
        result += digit * unit
        unit /= base
    return result


def _unigrams(rng: np.random.Generator) -> NDArray[np.int32]:
    """Per topic a table of token ids to draw from evenly: Zipf's law, half of the words shared."""
    weights = 1.0 / np.arange(1, VOCABULARY + 1)
    counts = np.maximum(1, np.floor(_TABLE * weights / weights.sum())).astype(np.int64)
    ranks = np.repeat(np.arange(VOCABULARY), counts)[:_TABLE]
    ranks = np.concatenate([ranks, np.zeros(_TABLE - len(ranks), dtype=np.int64)])
    own = np.arange(VOCABULARY) % 2 == 1
    tables = []
    for _ in TOPICS:
        identity = np.arange(VOCABULARY)
        identity[own] = rng.permutation(identity[own])
        tables.append(identity[ranks])
    return np.array(tables, dtype=np.int32)
