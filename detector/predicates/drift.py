"""One stream of values against its own past: windows of several lengths, and when they have moved.

Every second, over all windows at once:

    breach  when the gate window (the shortest of >= 10 s with enough records) is beyond 0.7 of its threshold,
            so that it is still happening, and in some window with n >= 30 phi records the bias-corrected
            KL exceeds the threshold by more than calls that come or go may explain (`uneven`), and G its
            non-central chi-square bound at tolerance d0; not within 20 s of windows that were emptied
    over    when three evaluations in a row find the shortest window with enough records since the breach
            (else the whole longest one) under 0.7 of its threshold and of the breach's; enough is what keeps
            the breach's distance from looking so, see `records_apart`, between 30 phi and 300 phi; four times
            as many after each relapse that came within the longest window

A threshold is at least what the contract says. A calibrated stream takes reference, thresholds and
tolerance from its calibration and is armed at once; in the mode `trailing` its own last hour takes the
place of the calibrated reference as soon as it is as long as the longest window. Calibrated thresholds
say how far windows stray from the hour before them, so a reference that ended earlier than that is left
out at once: half an hour can be enough for healthy traffic to wander beyond them (measured).

Without calibration a threshold is also at least 1.25 times as far as windows of that length have
strayed on this very stream while nothing was wrong (half-life 1 h): a stream that wanders or cycles
beyond the wish would otherwise always fire. Likewise d0 is at least 1.5 times what the longest
window strayed while it was learnt. So it learns for three times the longest window: what the
windows hold, a reference of the same length, how far windows stray from it. Time shows how far a stream
strays: every threshold is also at least `further` times what the longest window strayed beyond chance
(half-life a week), five times in the first day, two and a half after a week. What has strayed twice within
a day and come back by itself is known from then on, see `Excursions`; so is what was shown to do no harm,
for an hour, and a way back to what was usual before a breach, for a day, see `KnownDrifts`.
"""

import math
from operator import sub
from typing import Any

import numpy as np

from detector.predicates.base import Outcome
from detector.predicates.creep import Creep, Crept
from detector.predicates.excursions import Excursions
from detector.predicates.given import tells_as_much, yardstick_of
from detector.predicates.known_drifts import KnownDrifts
from detector.predicates.limits import Limits
from detector.predicates.power import records_apart, smallest_found
from detector.predicates.uneven import uneven_nats
from detector.predicates.wander import WANDER_MARGIN, further
from detector.predicates.yardstick import LEAST_REFERENCE, Yardstick
from detector.windows.panes import Counts, PaneRing
from detector.windows.reference import BUCKET_S, SeasonalReference, TrailingReference

GATE_S = 10
GATE_SHARE = 0.7
CLEAR_EVALUATIONS = 3
RELAPSE_FACTOR = 4.0
SHORT_S = 20  # once windows were emptied only calls that began since count: until then mostly short ones
MOST_RELAPSES = 3
TOLERANCE_MARGIN = 1.5
WANDER_HALF_LIFE_S = 3600.0
SLOW_HALF_LIFE_S = 7 * 86_400.0  # `further` speaks of the farthest in all the time seen
CHANCE = 2.0  # times the bias: five standard deviations of 16 bins
_FORGET, _FORGET_SLOWLY = (0.5 ** (1.0 / half) for half in (WANDER_HALF_LIFE_S, SLOW_HALF_LIFE_S))


class DriftStream:
    """Windows, reference and latch of one stream of histograms.

    Attributes:
        outcome, value, threshold, samples, window: the last finding; `window` is an index into `spans`.
        latched: a breach is open.
        creep: how far healthy traffic has come from what it was at first.
        clear_run: evaluations in a row that found it over; `clear_span`: the window they rest on, seconds.
        settled: too little to judge, which stays so until records come.
    """

    def __init__(self, bins: int, spans: tuple[int, ...], limits: Limits) -> None:
        self.limits = limits
        self.spans = spans
        self.ring = PaneRing(bins, spans)
        self.reference = SeasonalReference(bins) if limits.mode == "seasonal" else TrailingReference(bins)
        made = limits.reference
        self.yardstick = None if made is None else self._measure(np.array(made, dtype=np.int64))
        self.creep = Creep(self.yardstick)
        self.latched = self.settled = False
        self.clear_run = self.clear_span = 0
        self.outcome = Outcome.LEARNING
        self.value: float | None = None
        self.threshold: float | None = None
        self.samples = 0
        self.window: int | None = None
        self._armed_from: int | None = None
        self._breach_nats, self._breach_line = 0.0, math.inf
        self._breach_at = self._emptied_at = -math.inf
        self._over_since = self._clean_since = -math.inf
        self._relapses = 0
        # Largest bias-corrected KL that each window has shown while nothing was wrong.
        self._wander = [0.0] * len(spans)
        self._seen_s = 0
        self._slow = 0.0  # how far the longest one has, beyond chance
        self._strayed = 0.0
        self._excursions, self._known = Excursions(len(spans)), KnownDrifts(limits.strata)
        # What it may come to later: a drift that creeps must not teach the detector to be deaf.
        self._most = [limits.threshold_nats / GATE_SHARE] * len(spans)

    def _measure(self, counts: Counts) -> Yardstick:
        return yardstick_of(counts, self.limits.strata)

    def close(self, boundary: int, *, frozen: bool) -> None:
        """Close the pane that ends at `boundary` and judge; see `Judge.close`."""
        ring = self.ring
        self._begin(boundary)
        self._seen_s += 1
        left = boundary - 1 - ring.longest
        evicted = ring.close()
        if frozen:
            self._clean_since = boundary
        elif evicted is not ring.nothing:
            self._admit(left, evicted)
        if ring.moved or not self.settled:
            self.judge(boundary, frozen=frozen)

    def _begin(self, boundary: int) -> None:
        """Before anything was seen: does the calibrated reference end where a trailing one would?"""
        old = boundary - self.limits.known_until > self.ring.longest + BUCKET_S
        if old and not self._seen_s and self.limits.mode == "trailing":
            self.yardstick = None

    def _admit(self, second: int, counts: Counts) -> None:
        """Let a pane that left the longest window into the reference, which counts from the next minute on.

        A reference shorter than the window it is compared with has not seen the stream's wander.
        """
        if second < self._clean_since or (self.limits.mode == "fixed" and self.yardstick is not None):
            return
        fresh = self.reference.admit(second, counts)
        if not fresh and self.yardstick is not None:
            return
        n = int(self.reference.totals.sum())
        if n >= LEAST_REFERENCE and self.reference.span_s >= self.ring.longest:
            usual = self._measure(self.reference.usual())
            if tells_as_much(usual, self.yardstick, self.ring.totals[-1:]):
                self.yardstick = usual
                self.creep.learn(usual, self.reference.span_s)

    def judge(self, boundary: int, *, frozen: bool) -> None:
        """Judge the windows that end at `boundary`."""
        yardstick = self.yardstick
        self.settled = yardstick is None
        if yardstick is None:
            self._say(Outcome.LEARNING, int(self.reference.totals.sum()))
            return
        limits, spans = self.limits, self.spans
        sizes = yardstick.judged(self.ring.totals, self.ring.sizes.tolist())
        if sizes[-1] < limits.least:
            self.settled = True
            self._say(Outcome.INSUFFICIENT, sizes[-1])
            self.clear_run = 0
            return
        if self._armed_from is None:
            self._armed_from = boundary + (0 if limits.calibrated else self.ring.longest)
        # Sizes ascend. After a breach a window is asked again once it holds nothing of the breach.
        since = boundary - self._over_since
        enough = [i for i, n in enumerate(sizes) if n >= limits.least and spans[i] <= since]
        if not enough:
            self._say(Outcome.INSUFFICIENT, sizes[-1])
            return
        first = next(i for i, n in enumerate(sizes) if n)
        raw = [0.0] * first + yardstick.distances(self.ring.totals[first:], sizes[first:])
        chance = [limits.design_effect * bias for bias in yardstick.biases(self.ring.totals, sizes)]
        corrected = list(map(sub, raw, chance))
        if boundary < self._armed_from:
            self._learn(corrected, enough, None, chance[-1])
            floor = limits.threshold_nats / GATE_SHARE
            self._strayed = self._wander[-1]
            self._most = [max(strayed, floor) for strayed in self._wander]
            self._say(Outcome.LEARNING, sizes[-1])
            return
        thresholds = self.thresholds()
        gate = next((i for i in enough if spans[i] >= GATE_S), enough[-1])
        if self.latched:
            self._excursions.note(corrected, enough)
            shown = self._clear(corrected, thresholds, sizes, gate, boundary)
        else:
            self.clear_run = 0
            known_s = boundary - self._emptied_at
            counted_s = min(known_s, self._seen_s)
            uneven, found = uneven_nats(sizes, spans, gate, counted_s), None
            if corrected[gate] - uneven > GATE_SHARE * thresholds[gate] and known_s >= SHORT_S:
                sure = [nats - uneven_nats(sizes, spans, i, counted_s) for i, nats in enumerate(corrected)]
                found = self._breaching(raw, sure, thresholds, sizes, enough)
            usual, totals, phi = yardstick.counts, self.ring.totals, limits.design_effect
            known = found is not None and self._known.is_known(
                totals[found], sizes[found], thresholds[found], phi, usual, boundary
            )
            if found is not None and not known:
                self.latched, self._breach_nats, self._breach_line = True, corrected[found], thresholds[found]
                self._breach_at = boundary
                self._excursions.begin()
                self._known.begin(usual, boundary)
                soon = boundary - self._over_since < self.ring.longest
                self._relapses = min(self._relapses + 1, MOST_RELAPSES) if soon else 0
            shown = max(enough, key=corrected.__getitem__) if found is None else found
            if found is None and not frozen and known_s >= spans[-1] and not uneven:
                self._learn(corrected, enough, self._most, chance[-1])
        self.value, self.threshold, self.window = corrected[shown], thresholds[shown], shown
        self.samples = sizes[shown]
        self.outcome = Outcome.BREACH if self.latched else Outcome.CLEAR

    def finds(self, per_s: float) -> float | None:
        """The smallest divergence, nats, that a window shows at `per_s` calls a second; None: none known."""
        yardstick, limits = self.yardstick, self.limits
        if yardstick is None or self.outcome is Outcome.LEARNING:
            return None
        if limits.strata > 1:  # not every call belongs to one that is known
            (judged,) = yardstick.judged(self.ring.totals[-1:], [0])
            per_s = min(per_s, judged / self.spans[-1])
        return smallest_found(yardstick, limits, self.spans, self.thresholds(), per_s)

    @property
    def crept(self) -> Crept | None:
        """See `Judge.crept`; held to what was known before, since a creep teaches windows to be deaf."""
        known = self._most[-1] if self.limits.calibrated is None else self.thresholds()[-1]
        return self.creep.crept(self.yardstick, known)

    def thresholds(self) -> list[float]:
        """Of each window, nats."""
        wished, calibrated = self.limits.threshold_nats, self.limits.calibrated
        if calibrated is not None:
            return [max(wished, learnt) for learnt in calibrated]
        wished = max(wished, further(self._seen_s) * self._slow)
        return [
            max(wished, WANDER_MARGIN * max(each))
            for each in zip(self._wander, self._excursions.usual, strict=True)
        ]

    def tolerance(self) -> float:
        """True distance that is no news, nats: calibrated, else by what it strayed while learning."""
        stated = self.limits.tolerance_nats
        return stated if self.limits.calibrated else max(stated, TOLERANCE_MARGIN * self._strayed)

    @property
    def threshold_from(self) -> str:
        """Where the threshold of the last finding came from."""
        if self.threshold is None or self.threshold <= self.limits.threshold_nats:
            return "contract"
        return "learnt wander" if self.limits.calibrated is None else "calibration"

    def _breaching(
        self,
        raw: list[float],
        corrected: list[float],
        thresholds: list[float],
        sizes: list[int],
        enough: list[int],
    ) -> int | None:
        """The shortest window that is beyond its threshold for certain."""
        limits, yardstick = self.limits, self.yardstick
        if yardstick is None:
            return None
        bounds = {"design_effect": limits.design_effect, "tolerance": self.tolerance(), "alpha": limits.alpha}
        for i in enough:
            beyond = corrected[i] > thresholds[i]
            if beyond and yardstick.certain(raw[i], sizes[i], self.ring.totals[i], **bounds):
                return i
        return None

    def _clear(
        self, corrected: list[float], thresholds: list[float], sizes: list[int], gate: int, boundary: int
    ) -> int:
        """Count an evaluation towards the end of the breach; return the window that it rests on."""
        line = GATE_SHARE * min(thresholds[gate], self._breach_line)
        freedom = 1 if self.yardstick is None else self.yardstick.freedom
        needed = self.limits.design_effect * records_apart(self._breach_nats, line, freedom)
        needed *= RELAPSE_FACTOR**self._relapses
        # What came before the breach looks healthy, and would make a window that still holds it look so.
        since = max(self._breach_at, self._emptied_at)
        fresh_s = math.inf if self._emptied_at >= self._breach_at else boundary - since
        sure = [i for i, n in enumerate(sizes) if n >= needed and self.spans[i] <= fresh_s]
        shown = sure[0] if sure else len(sizes) - 1
        whole = bool(sure) or boundary - since >= self.ring.longest
        self.clear_span = self.spans[shown]
        # Under a short window's own, higher line what a longer one found may go on.
        over = whole and corrected[shown] <= GATE_SHARE * min(thresholds[shown], self._breach_line)
        self.clear_run = self.clear_run + 1 if over else 0
        if self.clear_run == CLEAR_EVALUATIONS:
            self.latched = False
            self._over_since = boundary
            self._known.again(boundary)
            self._excursions.end(boundary)
        return shown

    def _learn(self, strayed: list[float], enough: list[int], most: list[float] | None, noise: float) -> None:
        """Remember how far each healthy window strays; old excursions fade with a half-life of an hour.

        `noise`: the bias of the longest window, which says how far it strays by chance.
        """
        slow = strayed[-1] if most is None else min(strayed[-1], most[-1])
        self._slow = max(_FORGET_SLOWLY * self._slow, slow - CHANCE * noise)
        wander = self._wander = [_FORGET * before for before in self._wander]
        for i in enough:
            new = strayed[i] if most is None else min(strayed[i], most[i])
            if new > wander[i]:
                wander[i] = new

    def _say(self, outcome: Outcome, samples: int) -> None:
        self.outcome, self.samples = outcome, samples
        self.value = self.threshold = self.window = None

    def empty(self) -> None:
        """Forget the windows: the primary's answers are counted anew, of which short ones come first."""
        if self.ring.boundary is not None:
            self._emptied_at = self.ring.boundary
        self.ring.clear()

    def rebase(self) -> None:
        """What the windows hold now is the new normal: learn from here on, armed again later."""
        self.reference = type(self.reference)(self.ring.bins)
        self.yardstick, self._armed_from = None, None
        self._wander = [0.0] * len(self.spans)
        self._most = [self.limits.threshold_nats / GATE_SHARE] * len(self.spans)
        self._slow = 0.0
        self.latched, self.clear_run = False, 0
        self._excursions, self._known = Excursions(len(self.spans)), KnownDrifts(self.limits.strata)
        self.creep.begin(None)
        self._clean_since = -math.inf
        if self.ring.boundary is not None:
            self.judge(self.ring.boundary, frozen=False)

    def tolerate(self) -> None:
        """What the window of the breach holds was shown to do no harm."""
        if self.yardstick is None or self.ring.boundary is None:
            return
        sizes = self.yardstick.judged(self.ring.totals, self.ring.sizes.tolist())
        # The shorter a window, the less it still holds of what was before.
        told = [i for i, n in enumerate(sizes) if n >= self.limits.least and self.spans[i] >= GATE_S]
        # While calls are diverted the windows may have run empty: then nobody knows where it went.
        if told:
            totals = self.ring.totals[told[0]]
            self._known.remember(totals, self.yardstick.counts, self.ring.boundary)

    def skip(self, boundary: int, *, frozen: bool) -> None:
        """Jump over empty panes; what leaves the longest window still enters the reference."""
        self._begin(boundary)
        if self.ring.boundary is not None:
            self._seen_s += boundary - self.ring.boundary
        for left, evicted in self.ring.jump(boundary):
            if not frozen:
                self._admit(left, evicted)
        if frozen:
            self._clean_since = boundary
        self.judge(boundary, frozen=frozen)

    def idle(self) -> bool:
        """No window has enough records, and closing empty panes can only take some away."""
        return not self.latched and self.ring.idle() and bool(self.ring.sizes[-1] < self.limits.least)

    def state(self) -> dict[str, Any]:
        """See `Judge.state`."""
        return {
            "ring": self.ring.state(),
            "reference": self.reference.state(),
            "compared": None if self.yardstick is None else self.yardstick.counts.tolist(),
            "latched": self.latched,
            "clear_run": self.clear_run,
            "clean_since": self._clean_since,
            "over_since": self._over_since,
            "relapses": self._relapses,
            "armed_from": self._armed_from,
            "breach": (self._breach_nats, self._breach_line, self._breach_at),
            "emptied_at": self._emptied_at,
            "clear_span": self.clear_span,
            "wander": self._wander,
            "most": self._most,
            "strayed": self._strayed,
            "slow": self._slow,
            "seen_s": self._seen_s,
            "excursions": self._excursions.state(),
            "known": self._known.state(),
            "creep": self.creep.state(),
            "outcome": self.outcome.value,
        }

    def load(self, state: dict[str, Any]) -> None:
        """See `Judge.load`."""
        self.ring.load(state["ring"])
        self.reference.load(state["reference"])
        compared = state["compared"]
        self.yardstick = None if compared is None else self._measure(np.array(compared, dtype=np.int64))
        self.latched, self.clear_run = state["latched"], state["clear_run"]
        self._clean_since, self._over_since = state["clean_since"], state["over_since"]
        self._armed_from, self._emptied_at = state["armed_from"], state["emptied_at"]
        self._breach_nats, self._breach_line, self._breach_at = state["breach"]
        self.clear_span, self._relapses = state["clear_span"], state["relapses"]
        self._wander, self._most = list(state["wander"]), list(state["most"])
        self._strayed, self._slow, self._seen_s = state["strayed"], state["slow"], state["seen_s"]
        self._excursions.load(state["excursions"])
        self._known.load(state["known"])
        self.creep.load(state["creep"], self.limits.strata)
        self.outcome = Outcome(state["outcome"])
