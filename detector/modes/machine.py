"""The state machine of one scope: from the predicates that hold to what gateways should do.

Modes are tried in the contract's order; the first that holds and is not a symptom of another is
acted on. A mode holds once its predicate has held for `hold_s`. The way back: when no acting mode
holds any more and `keep_s` is over, calls return in three steps of a second (10, 50, 100 %), every
detector armed; a relapse sends them back at once. While active an attempt to revert ends at least
every `revert_within_s`, and says how it ended.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from detector.contract.model import Contract, Mode
from detector.modes.catalog import meaning
from detector.modes.compose import evidence_of, holding
from detector.modes.decision import Decision, Kind
from detector.modes.outlook import Outlook, Unknown, attempt
from detector.modes.panic import PANIC, Panic
from detector.modes.probing import VERDICTS_PER_S, is_input_drift, tells_harm
from detector.modes.state import State, legal
from detector.modes.status import NO_EVIDENCE
from detector.modes.voice import RAMP, ScopeVoice, acceptance, describe
from topics.control import Evidence, Override

RAMP_STEP_S = 1.0
NEW_NORMAL_S = 900.0
ON_TIME_S = 1.5  # an attempt is made when a pane closes: within a second of being due


class _Now(NamedTuple):
    """What one step looks at."""

    at: float
    latched: Mapping[str, Evidence]
    outlook: Outlook
    chosen: str
    acting: list[str]
    muted: set[str]


class ScopeMachine(ScopeVoice):
    """State machine of `scope`; `step` is told what holds and answers with the decisions that follow."""

    def __init__(self, contract: Contract, scope: str, partition: int, panic: Panic | None = None) -> None:
        super().__init__(contract, scope, partition)
        self._panic = panic or Panic(1.0)
        self._unknown = Unknown(contract.defaults.probe_share, VERDICTS_PER_S)
        self._inputs = frozenset(name for name in contract.predicates if is_input_drift(contract, name))
        self._harms = frozenset(name for name in contract.predicates if tells_harm(contract, name))
        drifts = {name: spec for name, spec in contract.predicates.items() if spec.type == "divergence"}
        # Other answers to the same questions are harm for as long as they last: no other mix explains them.
        self._other_answers = frozenset(
            name for name, spec in drifts.items() if spec.given and name not in self._inputs
        )
        self._drifts = drifts.keys() - self._other_answers

    @property
    def open(self) -> bool:
        """Whether anything is open or pending, be it only to be said."""
        return bool(self.status.held_since) or self.wrong

    @property
    def wrong(self) -> bool:
        """Whether something that acts is open or pending: references must not learn now."""
        return self.status.state is not State.INACTIVE

    def step(
        self, at: float, latched: Mapping[str, Evidence], outlook: Outlook | None = None
    ) -> list[Decision]:
        """Take note of the time and of the predicates that hold.

        Args:
            at: event time, Unix seconds; never goes back.
            latched: evidence of each predicate that holds, by name.
            outlook: how the way back goes, and what probes can show.
        """
        status = self.status
        if status.benign:
            status.benign = tuple(name for name in status.benign if name in latched)
        firing = self._firing(at, latched)
        acting = [name for name, mode in firing.items() if self._acts(mode, latched)]
        # What is only said, or tried out, leaves alone what acts.
        muted = _muted(firing[name] for name in acting)
        decisions = self._notices(at, firing, acting, latched)
        chosen = next((name for name in acting if name not in muted), acting[0] if acting else "")
        now = _Now(at, latched, outlook or self._unknown, chosen, acting, muted)
        if status.state is State.ACTIVE:
            return decisions + self._while_active(now)
        if status.state is State.RECOVERING:
            return decisions + self._while_recovering(now)
        return decisions + self._while_inactive(now)

    def accept(
        self,
        at: float,
        order: Override,
        drifts: Sequence[str],
        crept: Sequence[str] = (),
        held: Sequence[str] = (),
    ) -> list[Decision]:
        """Note that an operator took drifts and creeps of predicates for the new normal; say so.

        `held`: drifts that hold all the same, as their judges cannot learn anew.
        """
        status = self.status
        status.accepted_at = order.issued_at
        status.benign = tuple(name for name in status.benign if name not in drifts)
        learnt = f"{' and '.join(drifts)} learnt anew" if drifts else ""
        begins = f"what {' and '.join(crept)} has crept to is its beginning" if crept else ""
        still = f"{' and '.join(held)} cannot be learnt anew and holds on" if held else ""
        what = "; ".join(filter(None, (learnt, begins, still))) or "nothing drifts"
        return [self.notice(at, status.mode, NO_EVIDENCE, f"{acceptance(order)}; {what}")]

    def quiet_until(self) -> float:
        """Time up to which steps say nothing while what holds, and how the way back goes, stay as they are.

        Unix seconds; -inf where each second may bring something.
        """
        status = self.status
        modes = self._contract.modes
        held = status.held_since
        if status.state is State.INACTIVE and status.noticed.keys() >= held.keys():
            return math.inf  # what holds has been said
        names = [name for mode in status.modes for name in modes[mode].predicates]
        known = set(status.modes) | set(status.noticed)
        settled = status.mode in held and known.issuperset(held) and self._drifts.isdisjoint(names)
        if status.state is not State.ACTIVE or status.next_revert_at is None or not settled:
            return -math.inf
        return status.next_revert_at

    def _firing(self, now: float, latched: Mapping[str, Evidence]) -> dict[str, Mode]:
        held = self.status.held_since
        firing = {}
        for mode in self._contract.modes.values():
            if evidence_of(mode, latched) is None:
                held.pop(mode.name, None)
                continue
            # A relapse needs no second hold: the fault had been held for once.
            hold_s = 0.0 if self.engaged and mode.name in self.status.modes else mode.hold_s
            if now - held.setdefault(mode.name, now) >= hold_s:
                firing[mode.name] = mode
        return firing

    def _acts(self, mode: Mode, latched: Mapping[str, Evidence]) -> bool:
        if not mode.acts:
            return False
        benign = set(self.status.benign)
        if not benign or not set(holding(mode, latched)) <= benign:
            return True
        # What does no harm by itself is part of the harm while there is some.
        return not (self._harms - benign).isdisjoint(latched)

    def _while_inactive(self, now: _Now) -> list[Decision]:
        if now.chosen:
            if self._panic.admits(self.scope):
                return [self._activate("activated", now)]
            return self._withhold(now)
        modes = self._contract.modes
        waiting = any(self._acts(modes[name], now.latched) for name in self.status.held_since)
        wanted = State.PENDING if waiting else State.INACTIVE
        if wanted is self.status.state:
            return []
        withheld = self.status.state is State.WITHHELD
        self._enter(wanted, now.at)
        return (
            [self._say("deactivated", now.at, PANIC, "panic threshold: nothing is withheld any more")]
            if withheld
            else []
        )

    def _activate(self, kind: Kind, now: _Now, prefix: str = "") -> Decision:
        """Send calls to fallbacks: a first activation, or a relapse on the way back."""
        status = self.status
        keep_s = self._contract.modes[now.chosen].keep_s
        self._panic.enter(self.scope)
        self._enter(State.ACTIVE, now.at)
        status.damping.activated(now.at)
        status.activated_at = status.last_bad = now.at
        status.next_revert_at = now.at + max(self._contract.defaults.revert_within_s, keep_s)
        status.attempt = {}
        self._hold(now)
        self._ask_for_probes(now)
        limited, damped = self._limited(now), status.damping.said()
        said = f"{prefix}{meaning(now.chosen)}: {self._because(now)}"
        status.reason = "; ".join(filter(None, (said, damped, limited)))
        return self._decide(kind, now.at)

    def _withhold(self, now: _Now) -> list[Decision]:
        """Too many routes are in fallback: stay with the primary, and say so once."""
        if self.status.state is State.WITHHELD:
            return []
        self._enter(State.WITHHELD, now.at)
        reason = f"{self._panic.said()}; {now.chosen} is withheld"
        return [self._say("activated", now.at, PANIC, reason)]

    def _while_active(self, now: _Now) -> list[Decision]:
        status, modes = self.status, self._contract.modes
        names = {name for mode in status.modes for name in modes[mode].predicates}
        status.last_bad = max([status.last_bad, *(now.outlook.way_back(name).last_bad for name in names)])
        if status.next_revert_at is not None:  # however this step ends, an attempt that is due ends with it
            status.overdue += now.at - status.next_revert_at > ON_TIME_S
        if now.chosen:
            before = (status.mode, status.modes, status.muted)
            old = status.evidence
            harmless = self._harmless_drift(now)
            if harmless:
                return harmless
            self._hold(now)
            revised = []
            if before != (status.mode, status.modes, status.muted):
                status.reason = f"{meaning(now.chosen)}: {self._because(now)}"
                revised.append(self._decide("revised", now.at))
            elif old.predicate in now.latched:  # else what it told of is over, and another one holds
                status.evidence = old
            return revised + self._maybe_extend(now, f"still held back by {now.chosen}")
        if now.at < self._held_until():
            return self._maybe_extend(now, f"{status.mode} is over, and held")
        self._enter(State.RECOVERING, now.at)
        status.step = 0
        status.next_revert_at = None
        status.reason = f"{status.mode} is over: calls return to the primary in steps"
        return [self._decide("revised", now.at)]

    def _maybe_extend(self, now: _Now, said: str) -> list[Decision]:
        """End an attempt to revert that is due, with how it ended."""
        status = self.status
        if status.next_revert_at is None or now.at < status.next_revert_at:
            return []
        status.next_revert_at = now.at + self._contract.defaults.revert_within_s
        found = []
        names = holding(self._contract.modes[now.chosen], now.latched) if now.chosen else ()
        for name in names:
            back = now.outlook.way_back(name)
            how = attempt(status.attempt.get(name, (0, 0)), back, now.outlook.progress(name))
            found.append(f"{name} {how}" if len(names) > 1 else how)
            status.attempt[name] = (back.probes, back.bad)
        self._ask_for_probes(now)
        shown = f"{said}: {', '.join(found)}" if found else said
        more = (
            now.outlook.slow_probes(),
            status.damping.said(),
            self._limited(now),
            self._may_be_accepted(now, names),
        )
        status.reason = "; ".join(filter(None, (shown, *more)))
        return [self._decide("extended", now.at)]

    def _may_be_accepted(self, now: _Now, names: Iterable[str]) -> str:
        """What can be done about other answers that have lasted: nothing else ends them."""
        if now.at - self.status.activated_at < NEW_NORMAL_S or self._other_answers.isdisjoint(names):
            return ""
        return "if these answers are to stay, `detector accept` ends it"

    def _ask_for_probes(self, now: _Now) -> None:
        names = self._acting_predicates(now)
        self.status.probe_share = now.outlook.probe_share(names)
        self.status.probes_per_s = now.outlook.probes_per_s(names)

    def _acting_predicates(self, now: _Now) -> tuple[str, ...]:
        modes = self._contract.modes
        found = (name for mode in now.acting for name in holding(modes[mode], now.latched))
        return tuple(name for name in dict.fromkeys(found) if name not in self._inputs)

    def _limited(self, now: _Now) -> str:
        """What to say where the traffic does not carry the evidence for a way back in time."""
        carried_s, take_s = now.outlook.bound_s(self._acting_predicates(now)), now.outlook.bad_take_s
        bound_s = (carried_s or 0.0) + take_s
        if bound_s <= self._contract.defaults.revert_within_s:
            return ""
        carried = bound_s < NEW_NORMAL_S
        seen = f"is seen within {bound_s:.0f} s" if carried else "cannot be seen within a quarter of an hour"
        at_least = "" if take_s < self._contract.defaults.revert_within_s else " or more"
        long = f"as bad calls take {take_s:.0f} s{at_least}"
        why = long if 2 * take_s > bound_s else "at this rate of probes"
        return f"evidence_limited: {why} a recovery {seen}"

    def _harmless_drift(self, now: _Now) -> list[Decision]:
        """The exit of a drift: it acts no more if the primary is unharmed, or if nothing shows harm for long.

        Without it a mix that has moved for good would hold its route in fallback for ever: the reference is
        frozen meanwhile, and nobody but an operator could end it.
        """
        status, modes = self.status, self._contract.modes
        names = {name for mode in now.acting for name in holding(modes[mode], now.latched)}
        if not names or not self._harms.isdisjoint(set(now.latched) - self._drifts):
            return []
        lasted_s = now.at - status.activated_at
        long = lasted_s >= NEW_NORMAL_S
        unharmed = None
        if self._harms.isdisjoint(now.latched):
            if names.isdisjoint(self._inputs):
                return []
            unharmed = now.outlook.unharmed(lasted_s)
        elif not names <= self._drifts:
            return []
        if unharmed:
            why = "benign drift: probes show the primary unharmed on the new inputs"
        elif unharmed is None and long:
            what = "nothing else shows harm" if names & self._harms else "nothing measures harm"
            why = f"new_normal_proposed: {what}, {lasted_s / 60:.0f} minutes of drift"
        else:
            return []
        status.benign = tuple(
            name for name in self._contract.predicates if name in names | set(status.benign)
        )
        told = []
        for mode in now.acting:
            status.noticed[mode] = "notice"
            evidence = evidence_of(modes[mode], now.latched) or NO_EVIDENCE
            told.append(self._decide_for("activated", now.at, mode, evidence, "notice", why))
        self._enter(State.RECOVERING, now.at)
        status.step, status.next_revert_at = 0, None
        status.reason = f"{why}: calls return to the primary in steps"
        return [*told, self._decide("revised", now.at)]

    def _while_recovering(self, now: _Now) -> list[Decision]:
        status = self.status
        if now.chosen:
            return [self._activate("revised", now, "relapse while recovering, ")]
        steps = int((now.at - status.since) / RAMP_STEP_S)
        if steps <= status.step:
            return []
        status.step = steps
        if steps < len(RAMP):
            return [self._decide("revised", now.at)]
        self._enter(State.INACTIVE, now.at)
        self._panic.leave(self.scope)
        status.damping.deactivated(now.at)
        mode = self._contract.modes.get(status.mode)
        harmless = mode is not None and not set(mode.predicates).isdisjoint(status.benign)
        status.reason = f"{status.mode} does no harm" if harmless else f"recovered from {status.mode}"
        decision = self._decide("deactivated", now.at)
        status.mode, status.modes, status.muted = "", (), ()
        return [decision]

    def _hold(self, now: _Now) -> None:
        status = self.status
        status.mode = now.chosen
        status.modes = tuple(now.acting)
        status.muted = tuple(name for name in now.acting if name in now.muted)
        status.evidence = evidence_of(self._contract.modes[now.chosen], now.latched) or NO_EVIDENCE

    def _because(self, now: _Now) -> str:
        evidence = self.status.evidence
        names = holding(self._contract.modes[now.chosen], now.latched)
        others = [name for name in names if name != evidence.predicate]
        return describe(evidence) + (f", with {', '.join(others)}" if others else "")

    def _enter(self, state: State, now: float) -> None:
        self.status.state = legal(self.scope, self.status.state, state)
        self.status.since = now

    def _notices(
        self, now: float, firing: dict[str, Mode], acting: list[str], latched: Mapping[str, Evidence]
    ) -> list[Decision]:
        noticed = self.status.noticed
        decisions = []
        tried, muted = _muted(firing.values()), _muted(mode for mode in firing.values() if not mode.shadow)
        for name, mode in firing.items():
            if name in acting or name in noticed or name in (tried if mode.shadow else muted):
                continue
            noticed[name] = "shadow" if mode.shadow else "notice"
            decisions.append(self._aside("activated", now, name, evidence_of(mode, latched) or NO_EVIDENCE))
        for name in [name for name in noticed if name not in firing]:
            decisions.append(self._aside("deactivated", now, name, NO_EVIDENCE))
            del noticed[name]
        return decisions

    def load(self, state: Any) -> None:
        """See `ScopeVoice.load`; whoever is in fallback counts against the panic threshold again."""
        super().load(state)
        if self.engaged:
            self._panic.enter(self.scope)


def _muted(modes: Iterable[Mode]) -> set[str]:
    return {name for mode in modes for name in mode.mutes if name != mode.name}
