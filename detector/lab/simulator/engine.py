"""Deployments: a queue in front of slots, and continuous batching in them.

A call waits, first come first served, until one of the deployment's slots is free, holds it while its prompt
is read and its answer decoded, and leaves it. Every token takes longer the fuller the batch is, and the
slower the clock is. So overload shows as waiting with a full batch, a throttled device as slow tokens at the
same batch, and a slow external API as neither.
"""

from heapq import heapify, heappop, heappush

import numpy as np

from detector.lab.simulator.calls import TIMEOUT, Calls, Floats

PREFILL_S = 15e-6  # per token of the prompt that is not cached, at full clock
DECODE_S = 0.9e-3  # per token of the answer, alone in the batch, at full clock
SCHEDULING_S = 1.5e-3  # mean time until the scheduler sees a call
CROWDING = 1.2  # a full batch takes 1 + CROWDING times as long per token as an empty one
BATCH_LIMIT = 32  # sequences that one engine runs at once
PATIENCE_S = 10.0  # a call that has waited so long fails
_HOT, _HOT_FOR_S = 0.6, 60.0
_IDLE, _IDLE_FOR_S = 0.15, 300.0
_STEP, _MOST = 1.3, 6.0


def decode_factor(filled: float) -> float:
    """Time per token relative to an empty batch; `filled` is the share of the batch in use, 0..1."""
    return 1.0 + CROWDING * filled


class Autoscaler:
    """Adds engines when all have been busy for a minute, takes some away when they have idled for five.

    Attributes:
        factor: slots relative to what there was at the start.
    """

    def __init__(self) -> None:
        self.factor = 1.0
        self._hot_s = self._idle_s = 0.0

    def see(self, busy: float, length_s: float) -> None:
        """Note the share of slots in use, 0..1, and for how long."""
        self._hot_s = self._hot_s + length_s if busy > _HOT else 0.0
        self._idle_s = self._idle_s + length_s if busy < _IDLE else 0.0
        if self._hot_s >= _HOT_FOR_S:
            self.factor, self._hot_s = min(self.factor * _STEP, _MOST), 0.0
        elif self._idle_s >= _IDLE_FOR_S:
            self.factor, self._idle_s = max(self.factor / _STEP, 1 / _MOST), 0.0


class Deployment:
    """Slots of one deployment, and what runs in them.

    Attributes:
        slots: sequences that may run at once; a change takes effect on the calls that come after it.
        engines: how many share them, each as large as those there were first; batch sizes are per engine,
            so what a batch costs per token does not depend on how many engines there are.
        blocked_until: no call is taken up before (the engine stands still).
    """

    def __init__(self, slots: int) -> None:
        self._full = slots / -(-slots // BATCH_LIMIT)
        self.resize(slots)
        self.blocked_until = 0.0
        self._ends: list[float] = []  # a heap: when each slot in use gets free

    def resize(self, slots: int) -> None:
        """Grow or shrink; what runs already runs on."""
        self.slots = max(1, slots)
        self.engines = self.slots / self._full

    def busy(self, now: float) -> float:
        """Share of the slots in use; after a shrinking it can be above 1 for a while."""
        return sum(end > now for end in self._ends) / self.slots

    def stall(self, at: float, length_s: float) -> None:
        """Stand still for `length_s` from `at` on: everything that runs then ends so much later."""
        self.blocked_until = max(self.blocked_until, at + length_s)
        self._ends = [end + length_s if end > at else end for end in self._ends]
        heapify(self._ends)

    def serve(self, calls: Calls) -> None:
        """Take calls up in the order of `ready`; fills in times, batch, and errors of waiting."""
        clock = calls["clock"]
        prefill = PREFILL_S * calls["input_tokens"] * (1.0 - calls["cached"]) / clock
        decode = DECODE_S * calls["output_tokens"] * calls["jitter"] / clock
        ready = calls["ready"]
        # The scheduler looks at new calls between two steps of the batch.
        noticed = ready - SCHEDULING_S * np.log1p(-calls["lot"])
        start, batch, waited_out = self._take_up(noticed, prefill + calls["hold"], decode)
        per_token = DECODE_S * calls["jitter"] / clock * (1.0 + CROWDING * batch * self.engines / self.slots)
        first = start + prefill + per_token
        calls["start"] = start
        calls["queue"] = start - ready
        calls["batch"] = np.maximum(1.0, batch)
        calls["ttft"] = first - calls["arrival"] + calls["network"]
        ends = start + prefill + calls["hold"] + per_token * calls["output_tokens"]
        calls["done"] = ends + calls["network"]
        self._give_up(calls, waited_out)

    def _take_up(self, ready: Floats, fixed: Floats, decode: Floats) -> tuple[Floats, Floats, list[int]]:
        """When each call starts, the batch that it finds then, and which of them lost patience.

        One call at a time: when one may start depends on when those before it end.
        """
        ends, slots, engines = self._ends, self.slots, self.engines
        starts: list[float] = []
        batches: list[float] = []
        waited_out: list[int] = []
        blocked, crowding = self.blocked_until, CROWDING / slots
        rows = zip(ready.tolist(), fixed.tolist(), decode.tolist(), strict=True)
        for index, (at, first, rest) in enumerate(rows):
            start = at if at > blocked else blocked
            while ends and ends[0] <= start:
                heappop(ends)
            if len(ends) >= slots:
                if ends[0] > at + PATIENCE_S:
                    waited_out.append(index)
                    starts.append(at + PATIENCE_S)
                    batches.append(slots / engines)
                    continue
                while len(ends) >= slots:
                    start = heappop(ends)
            running = len(ends) + 1
            heappush(ends, start + first + rest * (1.0 + crowding * running))
            starts.append(start)
            batches.append(running / engines)
        return np.array(starts), np.array(batches), waited_out

    def _give_up(self, calls: Calls, rows: list[int]) -> None:
        if rows:
            calls["error"][rows] = TIMEOUT
            calls["done"][rows] = calls["start"][rows] + calls["network"][rows]
            calls["ttft"][rows] = np.nan


def stretch(calls: Calls, at: float, length_s: float) -> None:
    """Postpone calls of a deployment that stands still from `at` on, as far as they were not over by then."""
    waiting = calls["start"] >= at
    calls["queue"][waiting] += length_s
    calls["start"][waiting] += length_s
    unanswered = calls["arrival"] + calls["ttft"] - calls["network"] > at
    calls["ttft"][unanswered] += length_s
    calls["done"][calls["done"] - calls["network"] > at] += length_s
