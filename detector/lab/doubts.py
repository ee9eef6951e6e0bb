"""What makes a recording doubtful as a whole, though every row of it can be read."""

import random
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from operator import attrgetter
from statistics import median

from detector.lab.coerce import DURATIONS, DurationUnit, TimeUnit
from detector.lab.columns import Columns
from detector.lab.files import Malformed, Row
from detector.lab.repeats import Repeats
from detector.lab.unread_columns import UnreadColumns
from topics.telemetry import TelemetryRecord

_LEAST_CALLS = 100
_NEARLY_ALL = 0.9
_VALUES = 20  # of errors that are told apart on a route: what nearly every call carries is among the first
_LISTED = 3
_LONG_S = 100.0  # the usual call of a model takes less, and any takes more in milliseconds
_SAMPLE = 100  # calls of a route whose durations are kept
_ROUTES = 1000  # of which any are
_LEAST_MEASURED = 10

# What durations that are too long look like, and the option that says so.
_FINER: dict[DurationUnit, tuple[str, str]] = {
    "s": ("milliseconds", "seconds on all routes: if so, say --duration-unit ms"),
    "ms": ("microseconds", "milliseconds on all routes: if so, say --duration-unit us"),
    "us": ("a finer unit", "microseconds on all routes: if so, divide them before they are read"),
}
_RARE_S = 20.0  # mean time between the calls of a recording: a thousandth of it is more like traffic
_DAY_S = 86_400.0
_FINER_TIMES: dict[TimeUnit, tuple[str, str]] = {"s": ("milliseconds", "ms"), "ms": ("microseconds", "us")}
_durations = attrgetter(*DURATIONS)


class _Sample:
    """Durations of one call in two, four, .. of a route: a few, drawn evenly from all that came."""

    def __init__(self, lots: random.Random) -> None:
        self._lots = lots  # calls may come in turns, of which every second one would see one half
        self.due = 1  # number of the next call that is taken
        self._every = 1
        self._taken: list[Sequence[float | None]] = []

    def take(self, record: TelemetryRecord) -> None:
        """Take the call that is due."""
        self._taken.append(_durations(record))
        if len(self._taken) > _SAMPLE:
            self._taken = self._taken[::2]
            self._every *= 2
        self.due += self._lots.randrange(1, 2 * self._every)

    def medians(self) -> Iterator[tuple[str, float]]:
        """Each duration that was measured often enough, and its median, seconds."""
        for field, values in zip(DURATIONS, zip(*self._taken, strict=True), strict=True):
            measured = [value for value in values if value is not None]
            if len(measured) >= _LEAST_MEASURED:
                yield field, median(measured)


class Doubts:
    """Sentences for whoever gave the files; filled while they are read, complete after the last row.

    Args:
        columns: how rows became records.

    Attributes:
        unread_columns: for the reader of the files to tell what it leaves aside.
    """

    def __init__(self, columns: Columns | None = None) -> None:
        self.unread_columns = UnreadColumns()
        self._columns = columns or Columns()
        self._first, self._last = inf, -inf
        self._repeats = Repeats()
        self._told: list[str] = []
        self._calls: dict[str, int] = {}
        self._errors: dict[str, dict[str, int]] = {}  # route -> error -> calls
        self._samples: dict[str, _Sample] = {}
        self._lots = random.Random(1)

    def tell(self, sentence: str) -> None:
        """Take what a reader of files found."""
        self._told.append(sentence)

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Hand rows on, looking at each."""
        calls, errors, samples = self._calls, self._errors, self._samples
        for row in rows:
            if not isinstance(row, Malformed):
                self._first, self._last = min(self._first, row.event_time), max(self._last, row.event_time)
                self._repeats.take(row)
                number = calls[row.route] = calls.get(row.route, 0) + 1
                sample = samples.get(row.route)
                if sample is None and len(samples) < _ROUTES:
                    sample = samples[row.route] = _Sample(self._lots)
                if sample is not None and number == sample.due:
                    sample.take(row)
                if row.error:
                    found = errors.setdefault(row.route, {})
                    if row.error in found or len(found) < _VALUES:
                        found[row.error] = found.get(row.error, 0) + 1
            yield row

    def said(self) -> tuple[str, ...]:
        """All of it, a sentence each."""
        aside = self.unread_columns.said(failed=bool(self._errors) or not self._calls)
        told = (*self._told, *filter(None, (aside, self._repeats.said())))
        return (*told, *self._too_rare(), *self._always_in_error(), *self._too_long())

    def _too_rare(self) -> Iterator[str]:
        """Relative times that lie too far apart: whatever their unit, they are times of a call."""
        unit, number = self._columns.time_unit, sum(self._calls.values())
        if self._columns.start is None or unit not in _FINER_TIMES or number < _LEAST_CALLS:
            return
        span_s = self._last - self._first
        gap_s = span_s / (number - 1)
        if gap_s > _RARE_S:
            looks, say = _FINER_TIMES[unit]
            yield (
                f"{number:,} calls over {span_s / _DAY_S:,.1f} days are one in {gap_s:,.0f} s; "
                f"if the times after --start are {looks}, say --time-unit {say}"
            )

    def _too_long(self) -> Iterator[str]:
        """Durations that most calls would take minutes by."""
        odd = [
            (value, f"the median {field} of route {route!r} is about {value:,.0f} s")
            for route, sample in sorted(self._samples.items())
            if self._calls[route] >= _LEAST_CALLS
            for field, value in sample.medians()
            if value > _LONG_S
        ]
        if odd:
            # One route is enough: a file has one unit, and a quick route's milliseconds pass for seconds.
            odd.sort(key=lambda each: -each[0])
            listed = "; ".join(said for _, said in odd[:_LISTED])
            more = f"; so are {len(odd) - _LISTED} more" if len(odd) > _LISTED else ""
            looks, read = _FINER[self._columns.duration_unit]
            yield f"{listed}{more}; that looks like {looks}, and durations are in {read}"

    def _always_in_error(self) -> Iterator[str]:
        """Status codes and flags that were taken for errors: what nearly every call carries is none."""
        odd = []
        for route, errors in sorted(self._errors.items()):
            error, count = max(errors.items(), key=lambda each: each[1])
            of_all = count / self._calls[route]
            if self._calls[route] >= _LEAST_CALLS and of_all > _NEARLY_ALL:
                share = "every call" if of_all == 1.0 else f"{of_all:.1%} of the calls"
                odd.append(f"{share} of route {route!r} carries error {error!r}")
        if odd:
            more = f"; so it is on {len(odd) - _LISTED} more routes" if len(odd) > _LISTED else ""
            yield (
                f"{'; '.join(odd[:_LISTED])}{more}; success is the empty string: if it is a code or a flag, "
                "leave the field empty where a call went well"
            )
