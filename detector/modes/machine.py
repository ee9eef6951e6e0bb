"""The state machine of one scope: from the predicates that hold to what gateways should do.

Modes are tried in the contract's order; the first that holds and is not a symptom of another is
acted on. A mode holds once its predicate has held for `hold_s`. The way back: when no acting mode
holds any more and `keep_s` is over, calls return in three steps of a second (10, 50, 100 %), every
detector armed; a relapse sends them back at once. While active an attempt to revert ends at least
every `revert_within_s`, and says how it ended.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from detector.contract.model import Contract, Mode
from detector.modes.catalog import meaning
from detector.modes.compose import evidence_of, holding
from detector.modes.decision import Decision, Kind, event_id
from detector.modes.state import State, legal
from topics.control import Disposition, Evidence
from topics.scope import split_scope

RAMP = (0.1, 0.5, 1.0)  # share of calls to the primary, a second each
RAMP_STEP_S = 1.0
PROBES_PER_S = 25.0
_NO_EVIDENCE = Evidence()


class Status(msgspec.Struct):
    """All that a scope remembers; times are Unix seconds of event time."""

    state: State = State.INACTIVE
    since: float = 0.0
    activated_at: float = 0.0
    transition: int = 0
    notices: int = 0
    mode: str = ""
    modes: tuple[str, ...] = ()
    muted: tuple[str, ...] = ()
    held_since: dict[str, float] = {}
    noticed: dict[str, str] = {}
    next_revert_at: float | None = None
    step: int = 0
    evidence: Evidence = _NO_EVIDENCE
    reason: str = ""


class ScopeMachine:
    """State machine of `scope`; `step` is told what holds and answers with the decisions that follow."""

    def __init__(self, contract: Contract, scope: str, partition: int) -> None:
        self._contract = contract
        self._scope = scope
        self._partition = partition
        self.status = Status()

    @property
    def engaged(self) -> bool:
        """Whether calls are being diverted."""
        return self.status.state in (State.ACTIVE, State.RECOVERING)

    @property
    def open(self) -> bool:
        """Whether anything is open or pending: references must not learn now."""
        return bool(self.status.held_since) or self.status.state is not State.INACTIVE

    def step(
        self,
        now: float,
        latched: Mapping[str, Evidence],
        progress: Callable[[str], str] = lambda predicate: "",
    ) -> list[Decision]:
        """Take note of the time and of the predicates that hold.

        Args:
            now: event time, Unix seconds; never goes back.
            latched: evidence of each predicate that holds, by name.
            progress: tells where a predicate's way back stands, in words.
        """
        status = self.status
        firing = self._firing(now, latched)
        muted = {
            name for mode in firing.values() for name in mode.mutes if name in firing and name != mode.name
        }
        decisions = self._notices(now, firing, muted, latched)
        acting = [name for name, mode in firing.items() if mode.severity == "act" and not mode.shadow]
        chosen = next((name for name in acting if name not in muted), acting[0] if acting else "")
        if status.state in (State.INACTIVE, State.PENDING):
            decisions += self._maybe_activate(now, chosen, acting, muted, latched)
        elif status.state is State.ACTIVE:
            decisions += self._while_active(now, chosen, acting, muted, latched, progress)
        else:
            decisions += self._while_recovering(now, chosen, acting, muted, latched)
        return decisions

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

    def _first_attempt_s(self, chosen: str) -> float:
        return max(self._contract.defaults.revert_within_s, self._contract.modes[chosen].keep_s)

    def _maybe_activate(
        self, now: float, chosen: str, acting: list[str], muted: set[str], latched: Mapping[str, Evidence]
    ) -> list[Decision]:
        status = self.status
        if chosen:
            self._enter(State.ACTIVE, now)
            status.activated_at = now
            status.next_revert_at = now + self._first_attempt_s(chosen)
            self._hold(chosen, acting, muted, latched)
            status.reason = f"{meaning(chosen)}: {self._because(chosen, latched)}"
            return [self._decide("activated", now)]
        modes = self._contract.modes
        waiting = any(modes[name].severity == "act" and not modes[name].shadow for name in status.held_since)
        wanted = State.PENDING if waiting else State.INACTIVE
        if wanted is not status.state:
            self._enter(wanted, now)
        return []

    def _while_active(
        self,
        now: float,
        chosen: str,
        acting: list[str],
        muted: set[str],
        latched: Mapping[str, Evidence],
        progress: Callable[[str], str],
    ) -> list[Decision]:
        status = self.status
        if chosen:
            before = (status.mode, status.modes, status.muted)
            old = status.evidence
            self._hold(chosen, acting, muted, latched)
            if before != (status.mode, status.modes, status.muted):
                status.reason = f"{meaning(chosen)}: {self._because(chosen, latched)}"
                return [self._decide("revised", now)]
            status.evidence = old
            if status.next_revert_at is not None and now >= status.next_revert_at:
                status.next_revert_at = now + self._contract.defaults.revert_within_s
                names = holding(self._contract.modes[chosen], latched)
                told = {name: said for name in names if (said := progress(name))}
                found = "; ".join(f"{name} {said}" if len(names) > 1 else said for name, said in told.items())
                status.reason = f"still held back by {chosen}: {found or 'no evidence of recovery yet'}"
                return [self._decide("extended", now)]
            return []
        keep_s = max((self._contract.modes[name].keep_s for name in status.modes), default=0.0)
        if now < status.activated_at + keep_s:
            return []
        self._enter(State.RECOVERING, now)
        status.step = 0
        status.next_revert_at = None
        status.reason = f"{status.mode} is over: calls return to the primary in steps"
        return [self._decide("revised", now)]

    def _while_recovering(
        self, now: float, chosen: str, acting: list[str], muted: set[str], latched: Mapping[str, Evidence]
    ) -> list[Decision]:
        status = self.status
        if chosen:
            self._enter(State.ACTIVE, now)
            status.activated_at = now
            status.next_revert_at = now + self._first_attempt_s(chosen)
            self._hold(chosen, acting, muted, latched)
            status.reason = f"relapse while recovering, {meaning(chosen)}: {self._because(chosen, latched)}"
            return [self._decide("revised", now)]
        steps = int((now - status.since) / RAMP_STEP_S)
        if steps <= status.step:
            return []
        status.step = steps
        if steps < len(RAMP):
            return [self._decide("revised", now)]
        self._enter(State.INACTIVE, now)
        status.reason = f"recovered from {status.mode}"
        decision = self._decide("deactivated", now)
        status.mode, status.modes, status.muted = "", (), ()
        return [decision]

    def _notices(
        self, now: float, firing: dict[str, Mode], muted: set[str], latched: Mapping[str, Evidence]
    ) -> list[Decision]:
        noticed = self.status.noticed
        decisions = []
        for name, mode in firing.items():
            if (mode.severity == "act" and not mode.shadow) or name in noticed or name in muted:
                continue
            noticed[name] = "shadow" if mode.shadow else "notice"
            decisions.append(self._aside("activated", now, name, evidence_of(mode, latched) or _NO_EVIDENCE))
        for name in [name for name in noticed if name not in firing]:
            decisions.append(self._aside("deactivated", now, name, _NO_EVIDENCE))
            del noticed[name]
        return decisions

    def notice(self, now: float, mode: str, evidence: Evidence, reason: str) -> Decision:
        """Say something about a mode that is not acted on, such as a predicate that is unusable."""
        return self._decide_for("revised", now, mode, evidence, "notice", reason)

    def remark(self, now: float, text: str) -> list[Decision]:
        """Add something to the reason of what is being acted on, such as that its cause is unknown."""
        if self.status.state is not State.ACTIVE:
            return []
        self.status.reason = f"{self.status.reason}; {text}"
        return [self._decide("revised", now)]

    def _aside(self, kind: Kind, now: float, mode: str, evidence: Evidence) -> Decision:
        said = f"{meaning(mode)}: {describe(evidence)}" if kind == "activated" else f"{mode} is over"
        disposition: Disposition = "shadow" if self.status.noticed[mode] == "shadow" else "notice"
        return self._decide_for(kind, now, mode, evidence, disposition, said)

    def _hold(self, chosen: str, acting: list[str], muted: set[str], latched: Mapping[str, Evidence]) -> None:
        status = self.status
        status.mode = chosen
        status.modes = tuple(acting)
        status.muted = tuple(name for name in acting if name in muted)
        status.evidence = evidence_of(self._contract.modes[chosen], latched) or _NO_EVIDENCE

    def _because(self, chosen: str, latched: Mapping[str, Evidence]) -> str:
        others = [
            name
            for name in holding(self._contract.modes[chosen], latched)
            if name != self.status.evidence.predicate
        ]
        return describe(self.status.evidence) + (f", with {', '.join(others)}" if others else "")

    def _enter(self, state: State, now: float) -> None:
        self.status.state = legal(self._scope, self.status.state, state)
        self.status.since = now

    def _share(self) -> float:
        if self.status.state is State.ACTIVE:
            return self._contract.defaults.probe_share
        if self.status.state is State.RECOVERING:
            return max(RAMP[min(self.status.step, len(RAMP) - 1)], self._contract.defaults.probe_share)
        return 1.0

    def present(self, now: float) -> Decision:
        """The present state as a decision, not a transition."""
        return self._build("revised", now, self.status.mode, self.status.evidence, "act", self.status.reason)

    def _decide(self, kind: Kind, now: float) -> Decision:
        if kind != "extended":
            self.status.transition += 1
        return (
            self.present(now)
            if kind == "revised"
            else self._build(kind, now, self.status.mode, self.status.evidence, "act", self.status.reason)
        )

    def _decide_for(
        self, kind: Kind, now: float, mode: str, evidence: Evidence, disposition: Disposition, reason: str
    ) -> Decision:
        self.status.notices += 1
        return self._build(kind, now, mode, evidence, disposition, reason)

    def _build(
        self, kind: Kind, now: float, mode: str, evidence: Evidence, disposition: Disposition, reason: str
    ) -> Decision:
        status, contract = self.status, self._contract
        route, deployment = split_scope(self._scope)
        acts = disposition == "act"
        number = status.transition if acts else status.notices
        active = self.engaged if acts else kind == "activated"
        stated = contract.modes.get(mode)
        return Decision(
            kind=kind,
            scope=self._scope,
            route=route,
            deployment=deployment,
            partition=self._partition,
            state="active" if active else "inactive",
            mode=mode,
            modes=status.modes if acts else (mode,),
            muted=status.muted if acts else (),
            fallbacks=contract.fallbacks_for(mode, route) if active else {},
            primary_share=self._share(),
            probes_per_s=PROBES_PER_S if acts and self.engaged else None,
            transition=number,
            event_id=event_id(self._scope if acts else f"{self._scope}/notice", number),
            at=now,
            on_expiry=stated.on_expiry if stated else "revert",
            hold_max_s=stated.hold_max_s if stated else 0.0,
            next_revert_at=status.next_revert_at if acts and status.state is State.ACTIVE else None,
            damped_until=None,
            evidence=evidence,
            disposition=disposition,
            reason=reason,
            contract=contract.digest,
        )

    def state(self) -> Any:
        """Plain values that `load` takes back."""
        return msgspec.to_builtins(self.status)

    def load(self, state: Any) -> None:
        """Take over what `state` returned; modes that the contract no longer has are let go."""
        status = msgspec.convert(state, Status)
        known = self._contract.modes
        status.held_since = {name: since for name, since in status.held_since.items() if name in known}
        status.noticed = {name: how for name, how in status.noticed.items() if name in known}
        status.modes = tuple(name for name in status.modes if name in known)
        status.muted = tuple(name for name in status.muted if name in known)
        self.status = status


def describe(evidence: Evidence) -> str:
    """One sentence of evidence, for people."""
    value = "?" if evidence.value is None else f"{evidence.value:.3g}"
    limit = "?" if evidence.threshold is None else f"{evidence.threshold:.3g}"
    window = f" in {evidence.window_s:g} s" if evidence.window_s else ""
    said = f"{evidence.predicate} at {value} against {limit} over {evidence.samples} records{window}"
    decided = evidence.detail.get("decided by")
    if decided is None:
        return said
    where = evidence.detail.get("deployment", "not localised")
    spoke = evidence.detail.get("also changed")
    return f"{said}; decided by {decided}{f'; also changed: {spoke}' if spoke else ''}; {where}"
