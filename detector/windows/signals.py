"""What tells causes apart, as sums per second and per deployment of one route.

Each signal is a number per call. A plain one is kept as (n, sum y); one that has to be seen given
something else (time per token given the batch, the answer's length given the question's) as
(n, sum y, sum x, sum xx, sum xy), from which a regression and its residuals follow for any set of
seconds. Values are rounded to multiples of 2^-16, so that sums are exact: their order, and so the
batches in which calls came, makes no difference.

The last 10 seconds are what is asked about; blocks of 10 s of healthy seconds, at most four minutes
of them and none younger than 30 s when a fault was found, are what it is compared with.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.windows.segment import Segment

Sums = NDArray[np.float64]  # [row, column]: row 0 is the whole route, then one per deployment

# Columns of telemetry that the signals are made of.
FIELDS = (
    "deployment",
    "latency_s",
    "ttft_s",
    "queue_s",
    "upstream_s",
    "batch_size",
    "input_tokens",
    "output_tokens",
    "hallucinated",
    "refused",
    "logprob_mean",
    "token_ids",
    "clock_ratio",
    "throttle_reasons",
    "golden",
    "golden_ok",
)
PLAIN = (
    "error",  # 0 or 1; so are hallucinated, refused, throttle and golden (not as expected)
    "latency",  # ln s, whole call
    "own",  # ln s, whole call less the external time
    "upstream",  # ln s, external APIs and tools
    "queue",  # ln (s + 1 ms)
    "batch",  # log2 of sequences in the running batch
    "clock",  # share of the device's maximum
    "throttle",
    "hallucinated",
    "refused",
    "input",  # log2 (1 + tokens)
    "repetition",  # share of sampled token ids that had occurred before, 0..1
    "golden",
)
GIVEN = (
    "decode",  # ms per output token after the first, given the batch size
    "output",  # log2 (1 + tokens), given the input's
    "logprob",  # mean token log-probability, nats, given the input's length
)
WIDTH = 2 * len(PLAIN) + 5 * len(GIVEN)
_GOLDEN = slice(2 * PLAIN.index("golden"), 2 * PLAIN.index("golden") + 2)

RECENT_S = 10
BLOCK_S = 10
MOST_BLOCKS = 24
LAG_S = 30
GOLDEN_S = 60
MOST_DEPLOYMENTS = 16
GONE_S = 60  # not seen for so long, a deployment makes room for another
_SAMPLED_TOKENS = 32
_FINEST = 65536.0
_FARTHEST = 1e6  # beyond it sums were not exact
# Nats; some write the logarithm of nothing as the least number there is, which must not become the mean.
FARTHEST_LOGPROB = 30.0
_FASTEST_S = 1e-4
_MOST_MS_PER_TOKEN = 200.0
_FEWEST_TOKENS = 4
# Power cap, hardware slow-down, software and hardware thermal slow-down, power brake (NVML).
_THROTTLED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


def columns_of(signal: str) -> slice:
    """Where a signal's sums lie in a row."""
    if signal in PLAIN:
        start = 2 * PLAIN.index(signal)
        return slice(start, start + 2)
    start = 2 * len(PLAIN) + 5 * GIVEN.index(signal)
    return slice(start, start + 5)


class SignalWindow:
    """Sums of one route's signals: seconds that are open, the last ten, golden prompts, healthy blocks.

    Attributes:
        evicted: deployments forgotten because there were more than MOST_DEPLOYMENTS.
        crowded_out: times that a deployment got no row, all others being busy; the route still counts it.
    """

    def __init__(self) -> None:
        self._open: dict[int, Sums] = {}
        self._panes: deque[Sums] = deque(maxlen=RECENT_S)
        self._golden: deque[Sums] = deque(maxlen=GOLDEN_S)
        self._blocks: list[tuple[int, Sums]] = []
        self._frozen = False
        self._rows: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self.evicted = 0
        self.crowded_out = 0

    def absorb(self, segment: Segment) -> None:
        """Add the primary's calls of a segment; one that is late counts in the pane that is open."""
        positions = segment.primary()
        if not positions:
            return
        rows = self._rows_of(segment.pick("deployment", positions), segment.boundary)
        values = _values(segment, positions)
        shared = segment.seconds()
        if len(shared) == 1:
            self._add(max(shared[0], segment.boundary), rows, values)
            return
        seconds = np.maximum(np.array(shared)[np.asarray(positions)], segment.boundary)
        for second in np.unique(seconds).tolist():
            mine = seconds == second
            self._add(second, rows[mine], values[mine])

    def _add(self, second: int, rows: NDArray[np.int64], values: Sums) -> None:
        height = len(self._rows) + 1
        member = (rows == np.arange(height)[:, None]).astype(np.float64)
        member[0] = 1.0
        sums = member @ values
        held = self._open.get(second)
        self._open[second] = sums if held is None else _plus(held, sums)

    def _rows_of(self, names: Sequence[str], boundary: int) -> NDArray[np.int64]:
        known = self._rows
        for name in dict.fromkeys(names):
            if name and name not in known:
                self._know(name, boundary)
            if name in known:
                self._seen[name] = boundary
        return np.array([known.get(name, 0) for name in names], dtype=np.int64)

    def _know(self, name: str, boundary: int) -> None:
        """Give a deployment a row: a free one, else that of the least recently seen one if it has gone."""
        if len(self._rows) < MOST_DEPLOYMENTS:
            self._rows[name] = len(self._rows) + 1
            return
        oldest = min(self._rows, key=lambda each: (self._seen[each], self._rows[each]))
        if self._seen[oldest] > boundary - GONE_S:
            self.crowded_out += 1
            return
        row = self._rows.pop(oldest)
        del self._seen[oldest]
        self.evicted += 1
        self._rows[name] = row
        for sums in (*self._open.values(), *self._panes, *self._golden, *(sums for _, sums in self._blocks)):
            if row < len(sums):
                sums[row] = 0.0

    def close(self, boundary: int, *, frozen: bool) -> None:
        """The pane before `boundary` is closed; while `frozen` nothing enters the reference."""
        pane = self._open.pop(boundary - 1, None)
        if pane is None:
            pane = np.zeros((1, WIDTH))
        self._panes.append(pane)
        self._golden.append(pane[:, _GOLDEN].copy())
        if frozen and not self._frozen:
            self._blocks = [block for block in self._blocks if block[0] <= boundary - LAG_S]
        self._frozen = frozen
        if boundary % BLOCK_S == 0 and not frozen:
            self._blocks.append((boundary, self.recent(BLOCK_S)))
            del self._blocks[:-MOST_BLOCKS]

    def only(self, deployment: str) -> "SignalWindow":
        """What is known of one deployment, as if it were a route; empty if it has no row."""
        made, row = SignalWindow(), self._rows.get(deployment)
        if row is None:
            return made

        def mine(sums: Sums) -> Sums:
            return sums[row : row + 1].copy() if row < len(sums) else np.zeros((1, sums.shape[1]))

        made._open = {second: mine(sums) for second, sums in self._open.items()}
        made._panes = deque(map(mine, self._panes), maxlen=RECENT_S)
        made._golden = deque(map(mine, self._golden), maxlen=GOLDEN_S)
        made._blocks = [(second, mine(sums)) for second, sums in self._blocks]
        made._frozen = self._frozen
        return made

    def skip(self) -> None:
        """Time has jumped: the last seconds are none of these."""
        self._panes.clear()
        self._golden.clear()
        self._open.clear()

    @property
    def known(self) -> bool:
        """Whether there is a healthy block to compare with."""
        return bool(self._blocks)

    @property
    def deployments(self) -> dict[str, int]:
        """Row of each deployment."""
        return self._rows

    def recent(self, seconds: int) -> Sums:
        """Sums of the last so many closed panes, at most RECENT_S."""
        return self._summed(list(self._panes)[-seconds:], WIDTH)

    def unclosed(self) -> Sums:
        """Sums of the panes that are still open: the newest there is."""
        return self._summed(list(self._open.values()), WIDTH)

    def golden(self) -> Sums:
        """(golden prompts, wrong answers among them) of the last minute, by row."""
        return self._summed(self._golden, 2)

    def reference(self) -> Sums:
        """Healthy blocks, [block, row, column], oldest first."""
        height = len(self._rows) + 1
        stacked = np.zeros((len(self._blocks), height, WIDTH))
        for index, (_, sums) in enumerate(self._blocks):
            stacked[index, : len(sums)] = sums
        return stacked

    def _summed(self, parts: Sequence[Sums] | deque[Sums], width: int) -> Sums:
        total = np.zeros((len(self._rows) + 1, width))
        for part in parts:
            total[: len(part)] += part
        return total

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back; sums as little-endian doubles."""
        return {
            "open": [(second, _packed(sums)) for second, sums in sorted(self._open.items())],
            "panes": [_packed(sums) for sums in self._panes],
            "golden": [sums.tolist() for sums in self._golden],
            "blocks": [(second, _packed(sums)) for second, sums in self._blocks],
            "frozen": self._frozen,
            "rows": self._rows,
            "seen": self._seen,
            "evicted": self.evicted,
            "crowded_out": self.crowded_out,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self._open = {second: _unpacked(sums) for second, sums in state["open"]}
        self._panes = deque(map(_unpacked, state["panes"]), maxlen=RECENT_S)
        self._golden = deque(map(np.array, state["golden"]), maxlen=GOLDEN_S)
        self._blocks = [(second, _unpacked(sums)) for second, sums in state["blocks"]]
        self._frozen = state["frozen"]
        self._rows, self._seen = dict(state["rows"]), dict(state["seen"])
        self.evicted, self.crowded_out = state["evicted"], state["crowded_out"]


def _values(segment: Segment, positions: Sequence[int]) -> Sums:
    """One row of columns per call; a signal that was not measured adds nothing, not even to its n."""
    n = len(positions)
    values = np.zeros((n, WIDTH))

    def numbers(field: str) -> NDArray[np.float64]:
        return np.array(segment.pick(field, positions), dtype=np.float64)

    failed = np.array([error != "" for error in segment.pick("error", positions)])
    asked = np.array([name == "" for name in segment.pick("golden", positions)])  # by somebody, no test
    ok = asked & ~failed

    def plain(signal: str, y: NDArray[np.float64], among: NDArray[np.bool_]) -> None:
        at = columns_of(signal).start
        there = among & np.isfinite(y)
        values[there, at] = 1.0
        values[there, at + 1] = _rounded(y[there])

    def given(signal: str, y: NDArray[np.float64], x: NDArray[np.float64], among: NDArray[np.bool_]) -> None:
        at = columns_of(signal).start
        there = among & np.isfinite(y) & np.isfinite(x)
        y, x = _rounded(y[there]), _rounded(x[there])
        values[there, at : at + 5] = np.column_stack(
            [np.ones(len(x)), y, x, _rounded(x * x), _rounded(x * y)]
        )

    latency, upstream, batch = numbers("latency_s"), numbers("upstream_s"), numbers("batch_size")
    outputs = numbers("output_tokens")
    own = latency - np.nan_to_num(upstream)
    questions, answers = np.log2(1.0 + numbers("input_tokens")), np.log2(1.0 + outputs)
    throttle = numbers("throttle_reasons")
    throttled = np.where(
        np.isfinite(throttle), (np.nan_to_num(throttle).astype(np.int64) & _THROTTLED) != 0, np.nan
    )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        per_token = 1000.0 * (latency - numbers("ttft_s")) / (outputs - 1.0)
        per_token = np.where(outputs >= _FEWEST_TOKENS, np.minimum(per_token, _MOST_MS_PER_TOKEN), np.nan)
        sequences = np.log2(batch)
    plain("error", failed.astype(np.float64), asked)
    plain("latency", np.log(np.maximum(latency, _FASTEST_S)), ok)
    plain("own", np.log(np.maximum(own, _FASTEST_S)), ok)
    plain("upstream", np.log(np.maximum(upstream, _FASTEST_S)), ok)
    plain("queue", np.log(numbers("queue_s") + 1e-3), ok)
    plain("batch", sequences, ok)
    plain("clock", numbers("clock_ratio"), asked)
    plain("throttle", throttled, asked)
    plain("hallucinated", numbers("hallucinated"), ok)
    plain("refused", numbers("refused"), ok)
    plain("input", questions, ok)
    plain("repetition", _repetition(segment.pick("token_ids", positions)), ok)
    plain("golden", 1.0 - numbers("golden_ok"), ~asked)
    given("decode", per_token, batch, ok)
    given("output", answers, questions, ok)
    given("logprob", np.clip(numbers("logprob_mean"), -FARTHEST_LOGPROB, FARTHEST_LOGPROB), questions, ok)
    return values


def _repetition(samples: Sequence[Any]) -> NDArray[np.float64]:
    shares = np.full(len(samples), np.nan)
    for index, sample in enumerate(samples):
        if sample:
            some = sample[:_SAMPLED_TOKENS]
            shares[index] = 1.0 - len(set(some)) / len(some)
    return shares


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.rint(np.clip(values, -_FARTHEST, _FARTHEST) * _FINEST) / _FINEST


def _plus(a: Sums, b: Sums) -> Sums:
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    total = longer.copy()
    total[: len(shorter)] += shorter
    return total


def _packed(sums: Sums) -> bytes:
    return sums.astype("<f8").tobytes()


def _unpacked(data: bytes) -> Sums:
    return np.frombuffer(data, dtype="<f8").reshape(-1, WIDTH).astype(np.float64)
