"""A call as the simulator knows it: one row, the whole truth, before anybody has measured anything."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

NONE = -1
TOKENS = 16  # token ids sampled per call, at most 32

# Error types, by code; 0 is success.
ERRORS = ("", "server_error", "rate_limit_exceeded", "timeout", "connection_error")
SERVER_ERROR, RATE_LIMIT, TIMEOUT, CONNECTION_ERROR = range(1, 5)

# Times are Unix seconds, durations seconds; NaN and -1 say that there is no such thing for this call.
CALL = np.dtype(
    [
        ("arrival", "f8"),
        ("ready", "f8"),  # when it reaches the engine: after the external API has answered
        ("start", "f8"),  # when the engine takes it up
        ("done", "f8"),
        ("serial", "i8"),
        ("lot", "f8"),  # drawn with the call, 0..1, for whatever happens to it at the engine
        ("affected", "u8"),  # bit i: fault i of the scenario had a hand in it
        ("tenant", "i4"),  # -1: a golden prompt
        ("topic", "i4"),
        ("turn", "i4"),
        ("deployment", "i4"),  # -1: never sent to one
        ("risky", "?"),
        ("probe", "?"),
        ("fallback", "i4"),  # 0: primary, else the index of the fallback that answered
        ("input_tokens", "i8"),
        ("output_tokens", "i8"),
        ("limited", "?"),  # the answer was cut at the longest output
        ("cached", "f8"),  # share of the prompt found in the prefix cache
        ("upstream", "f8"),
        ("network", "f8"),
        ("hold", "f8"),  # time that the stream stands still in the middle
        ("jitter", "f8"),  # multiplies the decode time
        ("queue", "f8"),
        ("batch", "f8"),
        ("ttft", "f8"),
        ("error", "i4"),
        ("made_up", "?"),  # the truth, which no judge knows
        ("verdict", "i4"),  # of the judge: 1 made up, 0 not, -1 not judged
        ("verdict_lag", "f8"),
        ("refused", "?"),
        ("logprob", "f8"),
        ("clock", "f8"),
        ("throttle", "i4"),
        ("golden", "i4"),
        ("golden_ok", "?"),
        ("clock_offset", "f8"),  # how far the clock of whoever reports the call is off
        ("lost", "?"),  # its telemetry never arrives
        ("tokens", "i4", (TOKENS,)),
    ]
)

Calls = NDArray[Any]  # of dtype CALL
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def blank(count: int) -> Calls:
    """`count` calls of which nothing is known yet."""
    calls = np.zeros(count, dtype=CALL)
    for field in ("upstream", "batch", "ttft", "queue", "logprob", "clock", "verdict_lag"):
        calls[field] = np.nan
    for field in ("golden", "verdict", "deployment"):
        calls[field] = NONE
    return calls


def joined(parts: list[Calls]) -> Calls:
    """The rows of all parts, in that order."""
    parts = [part for part in parts if len(part)]
    if len(parts) == 1:
        return parts[0]
    # Copied piece by piece: numpy's concatenate compares the types field by field each time.
    whole = np.empty(sum(map(len, parts)), dtype=CALL)
    filled = 0
    for part in parts:
        whole[filled : filled + len(part)] = part
        filled += len(part)
    return whole
