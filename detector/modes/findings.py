"""What holds on a route now, since which record: the evidence that decisions carry.

A sequential judge's evidence names the record at which it flipped. A window's names the last record,
in arrival order, of the panes that had been closed: the newest that the window could have held.
That of verdicts that come later names the last one that counted, on the topic where it lies.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from detector.predicates.base import Judge, Outcome
from detector.windows.segment import Place, Segment
from topics.control import Evidence

_HOUR_S, _DAY_S = 3600.0, 86_400.0
_WORTH_TELLING = 5  # bad calls of one caller that were left out since one looked last


class Findings:
    """Evidence of the predicates that hold on one route.

    Attributes:
        holds: evidence by predicate.
        unusable: predicates that cannot be used on this traffic.
        closed: the last record of all closed panes.
    """

    def __init__(self, judges: Mapping[str, Judge], topics: tuple[str, str], partition: int) -> None:
        self._judges = judges
        self._topics = topics  # of telemetry, of evaluations
        self._partition = partition
        self.holds: dict[str, Evidence] = {}
        self.unusable: set[str] = set()
        self._crept: dict[str, float] = {}  # when it was told
        self._alone: dict[str, dict[str, float]] = {}  # of whom it was told lately, and when
        self._left_out: dict[str, tuple[str, int]] = {}  # whose, and how many, when one looked last
        self.closed: Place = (-1, 0.0)
        self._open: dict[int, Place] = {}
        self._verdicts: dict[str, Place] = {}  # by evaluation, of those that are asked for

    def note(self, segment: Segment) -> None:
        """Remember the last record of each pane."""
        seconds = segment.seconds()
        if len(seconds) == 1:
            self._open[seconds[0]] = segment.last
        else:
            places = zip(segment.offsets, segment.times, strict=True)
            self._open.update(zip(seconds, places, strict=True))

    def close(self, boundary: int) -> None:
        """All panes before `boundary` are closed."""
        if self._open:
            for second in [second for second in self._open if second < boundary]:
                self.closed = max(self.closed, self._open.pop(second))

    def note_verdict(self, evaluation: str, place: Place) -> None:
        """Remember the last verdict that counted."""
        if any(judge.spec.evaluation == evaluation for judge in self._judges.values()):
            self._verdicts[evaluation] = place

    def refresh(self, place: Place | None = None) -> bool:
        """Bring what holds up to date and return whether it changed.

        `place`: the record that new evidence points at; None: the last one of the closed panes.
        """
        changed = False
        for name, judge in self._judges.items():
            if judge.latched == (name in self.holds):
                continue
            changed = True
            if judge.latched:
                self.holds[name] = self.evidence(name, place or self.closed)
            else:
                del self.holds[name]
        return changed

    def use_has_changed(self) -> bool:
        """Whether predicates have become unusable, or usable again, since `newly_unusable` was asked last."""
        told = self.unusable
        return any(
            (judge.verdict.outcome is Outcome.UNUSABLE) != (name in told)
            for name, judge in self._judges.items()
        )

    def newly_unusable(self) -> list[tuple[str, Evidence]]:
        """Predicates that have become unusable since this was asked last, and by what evidence."""
        now = {name for name, judge in self._judges.items() if judge.verdict.outcome is Outcome.UNUSABLE}
        fresh = sorted(now - self.unusable)
        self.unusable = now
        # In the first second no pane has been closed yet.
        place = self.closed if self.closed[0] >= 0 else max(self._open.values(), default=self.closed)
        return [(name, self.evidence(name, place)) for name in fresh]

    def newly_crept(self, now: float) -> list[tuple[str, Evidence, str]]:
        """Predicates whose healthy traffic has crept away, with evidence and from where; each once a day.

        Args:
            now: event time, Unix seconds.
        """
        told = []
        for name, judge in self._judges.items():
            crept = judge.crept
            if crept is not None and now - self._crept.get(name, -math.inf) >= _DAY_S:
                self._crept[name] = now
                found = self.evidence(name, self.closed)
                evidence = replace(found, value=crept.nats, threshold=crept.threshold, window_s=None)
                told.append((name, evidence, crept.since))
        return told

    def newly_alone(self, now: float) -> list[tuple[str, Evidence, str, int]]:
        """Predicates that leave out what one caller alone makes bad: evidence, whose, and how much lately.

        Of each caller once an hour; `now`: event time, Unix seconds.
        """
        news = []
        for name, judge in self._judges.items():
            whose, left_out = judge.alone
            if not whose:
                continue
            before, then = self._left_out.get(name, ("", 0))
            self._left_out[name] = whose, left_out
            lately = left_out - then if whose == before and left_out >= then else left_out
            told = {who: at for who, at in self._alone.get(name, {}).items() if now - at < _HOUR_S}
            if lately >= _WORTH_TELLING and whose not in told:
                told[whose] = now
                news.append((name, self.evidence(name, self.closed), whose, lately))
            self._alone[name] = told
        return news

    def accepted(self, names: Iterable[str]) -> None:
        """What has crept there is accepted: the next creep is news at once."""
        for name in names:
            self._crept.pop(name, None)

    def evidence(self, name: str, place: Place) -> Evidence:
        """A predicate's verdict as evidence that points at a record, or at the last of the late verdicts."""
        verdict, evaluation = self._judges[name].verdict, self._judges[name].spec.evaluation
        if evaluation:
            place = self._verdicts.get(evaluation, (-1, place[1]))
        return Evidence(
            predicate=name,
            value=verdict.value,
            threshold=verdict.threshold,
            samples=verdict.samples,
            window_s=verdict.window_s,
            event_time=place[1],
            topic=self._topics[bool(evaluation)],
            partition=self._partition,
            offset=place[0],
            detail=verdict.detail,
        )

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back."""
        return {
            "holds": self.holds,
            "unusable": sorted(self.unusable),
            "crept": self._crept,
            "alone": self._alone,
            "left_out": self._left_out,
            "closed": self.closed,
            "open": self._open,
            "verdicts": self._verdicts,
        }

    def load(self, state: dict[str, Any], holds: dict[str, Evidence]) -> None:
        """Take over what `state` returned, with the evidence decoded; after the judges have."""
        known = self._judges
        self.holds = {name: found for name, found in holds.items() if name in known and known[name].latched}
        self.unusable, self._crept = set(state["unusable"]), dict(state["crept"])
        self._alone = {name: dict(told) for name, told in state.get("alone", {}).items()}
        self._left_out = {name: (whose, n) for name, (whose, n) in state.get("left_out", {}).items()}
        self.closed = (state["closed"][0], state["closed"][1])
        self._open = {int(second): (place[0], place[1]) for second, place in state["open"].items()}
        self._verdicts = {name: (place[0], place[1]) for name, place in state["verdicts"].items()}
