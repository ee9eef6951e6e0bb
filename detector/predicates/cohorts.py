"""Alarms that hold for calls which began together, and not just for those which happened to end together.

A call is told of when it ends, and bad ones often take longest: those above a limit, those that time out.
Where traffic stops or falls steeply, with a batch job, a deployment or the day, the good calls that began
with them have long been counted, and what still comes in are the bad ones, in a row. By themselves they look
like a fault; any busy route would raise an alarm each time. So an alarm of the test along the calls as they
end has to be borne out along the calls as they began: bad calls by their start, against the good ones that
ended from the first of those starts until calls that began with the last one have usually ended.

Good calls are known by their counts at times when panes closed, and how long they take by those that ended
just before a bad one: nothing is done for a good call.
"""

import math
from collections.abc import Sequence
from statistics import median_high
from typing import Any, NamedTuple

import numpy as np

from detector.predicates.shiryaev_roberts import MixtureShiryaevRoberts
from detector.windows.array_segment import ArraySegment
from detector.windows.arrays import TIME
from detector.windows.segment import Positions, Segment

_APART_S = 2.0  # between two counts, at least
_COUNTS = 64
_LONGEST_S = 60.0  # counts reach back little more: who began with a call that took longer is not known
_STARTS = 128
_LAGS = 16
# Of the logarithm of the limit: the test along the ends has borne the false-alarm rate already.
_BORNE_OUT = 0.5
_UNKNOWN = -1.0


class Kept(NamedTuple):
    """What a walk remembers of the calls, beside the test's own state.

    Attributes:
        starts: of bad calls, as they ended: when each began, Unix seconds, how many good ones had ended when
            it did, and 1; of older ones some together: of the first to begin, the first to end, and how many.
        lags: how long the good calls just before them took, seconds.
        lag: of the last call, if it was good; else negative.
        ended: when the last call ended, Unix seconds; negative before the first.
        counts: (when a call ended, how many good ones until then), ascending.
    """

    starts: Sequence[tuple[float, int, int]] = ()
    lags: Sequence[float] = ()
    lag: float = _UNKNOWN
    ended: float = _UNKNOWN
    counts: Sequence[tuple[float, int]] = ()


_NOTHING = Kept()


class CohortTest(MixtureShiryaevRoberts):
    """`MixtureShiryaevRoberts` whose alarms have to be borne out by the starts of the calls.

    Attributes:
        kept: replaced, never changed in place, so that to remember it is to hold on to it.
    """

    __slots__ = ("kept",)

    def restart(self) -> None:
        """See `MixtureShiryaevRoberts.restart`."""
        super().restart()
        self.kept = _NOTHING

    def close(self) -> None:
        """A pane is closed: what was walked is what has ended."""
        kept = self.kept
        if kept.counts and kept.ended - kept.counts[-1][0] >= _APART_S:
            counts = (*kept.counts, (kept.ended, self.seen + self.gap - self.bad))
            self.kept = kept._replace(counts=counts[-_COUNTS:])

    def passed(self, segment: Segment, judged: Positions) -> None:
        """The judged calls of a segment are about to be passed over."""
        if len(judged):
            kept, last = self.kept, judged[-1]
            self.kept = kept._replace(
                lag=_latency(segment, last),
                ended=_time(segment, last),
                counts=kept.counts or self._first_count(segment, judged),
            )

    def walk(self, segment: Segment | None, judged: Positions, bad: Sequence[int]) -> int | None:
        """Walk judged calls, bad ones at these ascending indices; see `observe`.

        Args:
            segment: where they are; None: nobody knows when they began.
        """
        if segment is None:
            return self.observe(len(judged), bad)
        kept = self.kept
        counts = kept.counts or self._first_count(segment, judged)
        notes = _Notes(segment, judged, bad, kept, self.seen + self.gap - self.bad)
        done = 0
        while (
            found := self.observe(len(judged) - done, [index - done for index in bad[notes.taken :]])
        ) is not None:
            index = done + found
            notes.take(bad.index(index) + 1)
            done, position = index + 1, judged[index]
            unknown = not 0.0 <= _latency(segment, position) <= _LONGEST_S
            if unknown or self._is_borne_out(notes, counts, _time(segment, position)):
                self.kept = _NOTHING  # from here on it is about recovery
                return index
        notes.take(len(bad))
        end = judged[-1]
        lag = notes.lag if bad[-1] == len(judged) - 1 else _latency(segment, end)
        self.kept = Kept(tuple(notes.starts), tuple(notes.lags), lag, _time(segment, end), counts)
        return None

    def _first_count(self, segment: Segment, judged: Positions) -> Sequence[tuple[float, int]]:
        """Before the first call there was none, whenever it began."""
        ended, good = _time(segment, judged[0]), self.seen + self.gap - self.bad
        return (ended - _LONGEST_S, good), (ended, good)

    def _is_borne_out(self, notes: "_Notes", counts: Sequence[tuple[float, int]], now: float) -> bool:
        """Whether the bad calls that began last, however many, are too many of those that began with them."""
        times, goods = np.array([*counts, (max(now, counts[-1][0]), self.seen - self.bad)]).T
        began, at_end, sizes = np.array(notes.starts).T
        at_start = np.where(began >= times[0], np.interp(began, times, goods), at_end)
        lag = median_high(notes.lags) if notes.lags else 0.0
        until = np.interp(began.max() + lag, times, goods)
        order = began.argsort()
        good = np.maximum(until - at_start[order], 0.0)
        bad = sizes[order][::-1].cumsum()[::-1]
        evidence = np.outer(bad, self._factors.up) + np.outer(good, self._factors.down)
        return bool(evidence.max() >= _BORNE_OUT * math.log(self.limit))

    def take_over(self, kept: Sequence[Any]) -> None:
        """Go on from what another one's `kept` was, plain lists included."""
        starts, lags, lag, ended, counts = kept
        self.kept = Kept(
            tuple((start, good, size) for start, good, size in starts),
            tuple(lags),
            lag,
            ended,
            tuple((time, good) for time, good in counts),
        )


class _Notes:
    """What is remembered of bad calls, taken note of one by one."""

    def __init__(
        self, segment: Segment, judged: Positions, bad: Sequence[int], kept: Kept, good: int
    ) -> None:
        """Args: `good`: calls that were so before the segment."""
        self._segment, self._judged, self._bad, self._good = segment, judged, bad, good
        self.starts, self.lags, self.lag = list(kept.starts), list(kept.lags), kept.lag
        self.taken = 0

    def take(self, until: int) -> None:
        """Take note of the bad calls up to this one of the segment."""
        segment, judged, bad = self._segment, self._judged, self._bad
        for number in range(self.taken, until):
            index = bad[number]
            if index - (bad[number - 1] if number else -1) > 1:
                self.lag = _latency(segment, judged[index - 1])
            if self.lag >= 0:
                self.lags = [*self.lags[1 - _LAGS :], self.lag]
            self.lag = _UNKNOWN
            self.starts.append((_start(segment, judged[index]), self._good + index - number, 1))
            if len(self.starts) > _STARTS:
                older = self.starts[: _STARTS // 2]
                pairs = zip(older[::2], older[1::2], strict=True)
                self.starts[: len(older)] = [
                    (min(one[0], other[0]), one[1], one[2] + other[2]) for one, other in pairs
                ]
        self.taken = until


def _time(segment: Segment, position: int) -> float:
    if isinstance(segment, ArraySegment):
        return float(segment.array(TIME)[position])
    return segment.times[position]


def _latency(segment: Segment, position: int) -> float:
    """How long a call took, seconds; negative if that is not known."""
    if isinstance(segment, ArraySegment):
        latency = float(segment.array("latency_s")[position])
        return _UNKNOWN if math.isnan(latency) else latency
    known: float | None = segment.columns["latency_s"][position]
    return _UNKNOWN if known is None else known


def _start(segment: Segment, position: int) -> float:
    latency, end = _latency(segment, position), _time(segment, position)
    return end - latency if 0.0 <= latency <= _LONGEST_S else end
