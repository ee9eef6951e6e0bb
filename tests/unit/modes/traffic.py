"""What the tests of modes share: four predicates, and calls of three deployments."""

import numpy as np

from detector.contract.model import Mode
from tests.builders import in_order, record, spec

PER_S = 40
ERRORS = spec("rate", name="errors", field="error", ceiling=0.01)
SLOW = spec("exceedance", name="slow", ceiling=0.01)
ANSWERS = spec("divergence", name="answers", field="output_tokens", window_s=60.0)
QUESTIONS = spec("divergence", name="questions", field="input_tokens", window_s=60.0)


def mode(name, when, **more):
    return Mode(name=name, when=when, keep_s=0.0, **more)


def stream(seconds, call, seed=1):
    """Calls of three deployments; `call(at, deployment, draw)`: what is measured of one."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(seconds * PER_S):
        at, name = i / PER_S, f"d{draw.integers(3)}"
        fields = {"latency_s": 0.1, "output_tokens": int(draw.lognormal(4, 0.6)) + 1} | call(at, name, draw)
        made.append(record(at, request_id=f"q{i}", deployment=name, **fields))
    return in_order(made)
