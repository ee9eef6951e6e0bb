"""Which late verdicts count against the primary.

A verdict counts if it speaks of a call that the primary answered and that was made after the scope's
last change of state: a slow judge, still at work on calls from before, neither opens a scope again
nor keeps it open. A second verdict of the same name on the same request does not count.

While fallbacks answer as well, a verdict has to be joined to its call by request id. One that comes
before its call waits for it, 30 s of the route's time at most; one whose call is then unknown, or has
been forgotten, is counted as unjoined and not judged. While no fallback answers there is nothing to
tell apart, and verdicts are judged as they come.

A verdict without `call_time` on a call that is not remembered is taken to be up to ten minutes late.
Memory is bounded: the oldest calls and verdicts are forgotten first. Where verdicts are so late that the
primary's calls would be forgotten before theirs come, every second, fourth, .. call alone is remembered,
chosen by its request id, and verdicts on the others are skipped: a slow judge must not block a revert.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from detector.predicates.base import Judge
from detector.predicates.evaluation_rate import EvaluationRate
from detector.windows.watermark import FUTURE_S
from topics.telemetry import PRIMARY, Evaluation, TelemetryRecord

CALLS = 4096
PROBES = 8192  # calls of the primary: 27 a second through five minutes
HORIZON_S = 600.0  # a verdict is no later after its call
WAIT_S = 30.0  # a call comes no later after its verdict
_WAITING = 1024
_WIDEST = 0xFF


class Standing(Enum):
    """What becomes of a verdict."""

    COUNTS = "counts"
    SKIPPED = "skipped"
    WAITS = "waits"
    UNJOINED = "unjoined"


class Coming(NamedTuple):
    """A verdict, where it lies on its topic, and the route's time when it came, Unix seconds."""

    evaluation: Evaluation
    offset: int
    came: float


class LateVerdicts:
    """Late verdicts of one route: the judges of them, and what tells which ones count.

    Attributes:
        judges: those of the route's judges that rest on evaluations.
        since: the scope's last change of state, Unix seconds: calls made earlier do not count.
        judged: verdicts that counted; `skipped` say nothing of the primary as it is now.
        unjoined: verdicts whose call was not found where it had to be; not judged.
    """

    def __init__(self, judges: Iterable[Judge]) -> None:
        self.judges = [judge for judge in judges if isinstance(judge, EvaluationRate)]
        self.since = -math.inf
        self.judged = self.skipped = self.unjoined = 0
        self._waiting: list[Coming] = []
        self._by_fallback: dict[bytes, None] = {}
        self._by_primary: dict[bytes, float] = {}  # when each call was made
        self._mask = 0  # calls in whose digest one of these bits is set are not remembered
        self._lag = 0.0  # the longest from call to verdict, seconds; 0: unknown
        self._seen: dict[bytes, None] = {}
        self._from, self._to = math.inf, -math.inf  # when fallbacks answered, as far as it still matters

    def remember(self, records: Sequence[TelemetryRecord], *, engaged: bool) -> None:
        """Take note of who answered which call, while that is not the primary every time.

        Args:
            records: calls.
            engaged: the scope is active, so that fallbacks may answer.
        """
        for record in records:
            if not record.request_id:
                continue
            if record.served_by != PRIMARY:
                if record.event_time > self._to + HORIZON_S:
                    self._from = record.event_time
                self._from = min(self._from, record.event_time)
                self._to = max(self._to, record.event_time)
                _add(self._by_fallback, _digest(record.request_id), None)
            elif engaged or record.event_time <= max(self._to, self.since + HORIZON_S):
                made = record.event_time - (record.latency_s or 0.0)
                self._remember_primary(_digest(record.request_id), made)

    def leave_out(self, records: Iterable[TelemetryRecord]) -> None:
        """Verdicts on these calls say nothing of the route: a deployment answered that is judged apart."""
        for record in records:
            if record.request_id:
                _add(self._by_fallback, _digest(record.request_id), None)

    def _remember_primary(self, call: bytes, made: float) -> None:
        known = self._by_primary
        if self._passed_over(call):
            return
        known[call] = made
        needed = self._lag or HORIZON_S
        spans = made - next(iter(known.values()))
        if len(known) > PROBES:
            if spans < needed and self._mask < _WIDEST:
                self._mask = 2 * self._mask + 1
                for each in [each for each in known if self._passed_over(each)]:
                    del known[each]
            else:
                del known[next(iter(known))]
        elif self._mask and spans > needed and len(known) < PROBES // 4:
            self._mask >>= 1

    def _passed_over(self, call: bytes) -> bool:
        return bool(self._mask & call[0])

    def take(self, verdict: Coming, now: float, *, engaged: bool) -> bool | None:
        """Judge a verdict, skip it or let it wait for its call; return whether a judge flipped.

        None: it was not judged.

        Args:
            verdict: a new one, or one that has waited.
            now: the route's time, Unix seconds.
            engaged: as for `remember`.
        """
        evaluation = verdict.evaluation
        standing = self._standing(evaluation, now - verdict.came, engaged=engaged)
        if standing is Standing.WAITS:
            self._waiting.append(verdict)
            if len(self._waiting) > _WAITING:
                del self._waiting[0]
                self.unjoined += 1
        self.skipped += standing is Standing.SKIPPED
        self.unjoined += standing is Standing.UNJOINED
        self.judged += standing is Standing.COUNTS
        if standing is not Standing.COUNTS:
            return None
        flips = [
            judge.judge_verdicts((0,), (evaluation,))
            for judge in self.judges
            if judge.spec.evaluation == evaluation.name
        ]
        return any(flip is not None for flip in flips)

    @property
    def waiting(self) -> bool:
        """Whether verdicts wait for their calls."""
        return bool(self._waiting)

    def take_waiting(self) -> list[Coming]:
        """Hand over the verdicts that wait, to be taken again."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def _standing(self, evaluation: Evaluation, waited: float, *, engaged: bool) -> Standing:
        """What becomes of a verdict that has waited so many seconds; one that counts is noted."""
        if not self.judges:
            return Standing.SKIPPED
        if evaluation.failed is None and evaluation.score is None:
            return Standing.SKIPPED
        call = _digest(evaluation.request_id) if evaluation.request_id else None
        if call is not None and call in self._by_fallback:
            return Standing.SKIPPED
        joined = None if call is None else self._by_primary.get(call)
        ended = evaluation.call_time
        made = (
            joined
            if joined is not None
            else ended
            if ended is not None
            else evaluation.event_time - HORIZON_S
        )
        if joined is not None or ended is not None:
            self._lag = max(self._lag, min(HORIZON_S, evaluation.event_time - made))
        if made < self.since:
            return Standing.SKIPPED
        if call is None:
            return Standing.COUNTS
        if joined is None and self._mixed(ended, evaluation.event_time, engaged=engaged):
            if self._passed_over(call):
                return Standing.SKIPPED
            return Standing.WAITS if waited < WAIT_S else Standing.UNJOINED
        identity = _digest(f"{evaluation.name}\0{evaluation.request_id}")
        if identity in self._seen:
            return Standing.SKIPPED
        _add(self._seen, identity, None)
        return Standing.COUNTS

    def _mixed(self, ended: float | None, judged: float, *, engaged: bool) -> bool:
        """Whether a fallback may have answered a call that ended then, or some time before it was judged."""
        latest = judged if ended is None else ended
        earliest = judged - HORIZON_S if ended is None else ended
        return latest >= self._from and (engaged or earliest <= self._to)

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back."""
        return {
            "since": self.since,
            "counts": [self.judged, self.skipped, self.unjoined],
            "waiting": [(msgspec.to_builtins(each), offset, came) for each, offset, came in self._waiting],
            "by_fallback": list(self._by_fallback),
            "by_primary": list(self._by_primary.items()),
            "seen": list(self._seen),
            "mixed": (self._from, self._to),
            "kept": (self._mask, self._lag),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.since = state["since"]
        self.judged, self.skipped, self.unjoined = state["counts"]
        self._waiting = [
            Coming(msgspec.convert(each, Evaluation), offset, came) for each, offset, came in state["waiting"]
        ]
        self._by_fallback = dict.fromkeys(state["by_fallback"])
        self._by_primary = dict(state["by_primary"])
        self._seen = dict.fromkeys(state["seen"])
        self._from, self._to = state["mixed"]
        self._mask, self._lag = state["kept"]


def _digest(name: str) -> bytes:
    """Eight bytes for a name of any length: a snapshot holds thousands of them."""
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def _add(known: dict[bytes, Any], name: bytes, value: Any) -> None:
    known[name] = value
    if len(known) > CALLS:
        del known[next(iter(known))]


def believed(evaluation: Evaluation, arrival: float) -> Evaluation:
    """The evaluation, its time no further ahead of its arrival than a record's may be."""
    latest = arrival + FUTURE_S
    return evaluation if evaluation.event_time <= latest else replace(evaluation, event_time=latest)
