"""What a scope says: its status as decisions that gateways and auditors can use without asking back."""

from typing import Any

import msgspec
from msgspec.structs import replace

from detector.contract.model import Contract, Mode
from detector.modes.catalog import meaning
from detector.modes.decision import Decision, Kind, event_id
from detector.modes.state import State
from detector.modes.status import NO_EVIDENCE, Status
from detector.predicates.bernoulli import CALLS_BEFORE
from topics.control import USUAL_SHARE, Disposition, Evidence, Override
from topics.scope import split_scope

_NO_MODE = Mode(name="", when="")  # what holds where nothing is stated
RAMP = (0.1, 0.5, 1.0)  # share of calls to the primary, a second each


class ScopeVoice:
    """Status of a scope, and how it is told; `ScopeMachine` moves it."""

    def __init__(self, contract: Contract, scope: str, partition: int) -> None:
        self._contract = contract
        self.scope = scope
        self._partition = partition
        self.status = Status()

    @property
    def engaged(self) -> bool:
        """Whether calls are being diverted."""
        return self.status.state in (State.ACTIVE, State.RECOVERING)

    def _held_until(self) -> float:
        """The earliest time to return: least time active and damping count from the last bad probe."""
        status = self.status
        keep_s = max((self._contract.modes[name].keep_s for name in status.modes), default=0.0)
        return max(status.activated_at, status.last_bad) + max(keep_s, status.damping.hold_s)

    def _damped_until(self) -> float | None:
        return self._held_until() if self.status.damping.hold_s else None

    def notice(self, now: float, mode: str, evidence: Evidence, reason: str) -> Decision:
        """Say something about a mode that is not acted on, such as a predicate that is unusable."""
        return self._decide_for("revised", now, mode, evidence, "notice", reason)

    def unusable(self, now: float, mode: str, evidence: Evidence) -> Decision:
        """Say that a predicate cannot be used on this traffic."""
        spec = self._contract.predicates.get(evidence.predicate)
        calls, rate = evidence.detail.get(CALLS_BEFORE, 0), evidence.detail.get("rate_before", 1.0)
        # The ceiling that it was held to, which calibration may have learnt.
        if calls and float(rate) <= (evidence.threshold or 0.0):
            said = f"is unusable: the {calls} calls before this kept its limit, too few to call it a change"
        else:
            learnt = spec is None or spec.learnable
            advice = "calibrate or raise it" if learnt else "raise it, as calibration does not learn it"
            said = f"is unusable: traffic was never seen within its limit; {advice}"
        return self.notice(now, mode, evidence, f"{evidence.predicate} {said}")

    def crept(self, now: float, mode: str, evidence: Evidence, since: str) -> Decision:
        """Say that healthy traffic has slowly come to be another."""
        far, limit = evidence.value or 0.0, evidence.threshold or 0.0
        said = f"healthy traffic has crept {far:.2g} nats from {since}, beyond {limit:.2g}"
        return self.notice(now, mode, evidence, f"{evidence.predicate}: {said}; accept it, or calibrate anew")

    def alone(self, now: float, mode: str, evidence: Evidence, whose: str, left_out: int) -> Decision:
        """Say that one caller's calls fail while those of all others do not."""
        said = f"{left_out} bad calls of {whose!r} alone are left out, while those of all others are well"
        return self.notice(now, mode, evidence, f"{evidence.predicate}: {said}")

    def go_on_from(self, lost: Status, now: float) -> list[Decision]:
        """Go on counting where a judgement was that has been lost; what was active then is so no more."""
        self.status.go_on_from(lost.past)
        self.status.overdue = lost.overdue
        if lost.state not in (State.ACTIVE, State.RECOVERING):
            return []
        self.status.mode, self.status.reason = lost.mode, "judging this scope failed: it begins anew"
        return [self._decide("deactivated", now)]

    def remark(self, now: float, text: str) -> list[Decision]:
        """Add something to the reason of what is being acted on, such as that its cause is unknown."""
        if self.status.state is not State.ACTIVE:
            return []
        self.status.reason = f"{self.status.reason}; {text}"
        return [self._decide("revised", now)]

    def _say(self, kind: Kind, now: float, mode: str, reason: str) -> Decision:
        return self._decide_for(kind, now, mode, NO_EVIDENCE, "notice", reason)

    def _aside(self, kind: Kind, now: float, mode: str, evidence: Evidence) -> Decision:
        said = f"{meaning(mode)}: {describe(evidence)}" if kind == "activated" else f"{mode} is over"
        disposition: Disposition = "shadow" if self.status.noticed[mode] == "shadow" else "notice"
        return self._decide_for(kind, now, mode, evidence, disposition, said)

    def _share(self) -> float:
        if self.status.state is State.ACTIVE:
            return self.status.probe_share
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
        route, deployment = split_scope(self.scope)
        acts = disposition == "act"
        number = status.transition if acts else status.notices
        active = self.engaged if acts else kind == "activated"
        stated = contract.modes.get(mode, _NO_MODE)
        return Decision(
            kind=kind,
            scope=self.scope,
            route=route,
            deployment=deployment,
            partition=self._partition,
            state="active" if active else "inactive",
            mode=mode,
            modes=self._still_holding(status.modes) if acts else (mode,) if mode else (),
            muted=self._still_holding(status.muted) if acts else (),
            fallbacks=contract.fallbacks_for(mode, route) if active else {},
            primary_share=self._share() if active else 1.0,
            probes_per_s=status.probes_per_s if acts and self.engaged else None,
            transition=number,
            event_id=event_id(self.scope if acts else f"{self.scope}/notice", number),
            at=now,
            on_expiry=stated.on_expiry,
            hold_max_s=stated.hold_max_s,
            next_revert_at=status.next_revert_at if acts and status.state is State.ACTIVE else None,
            damped_until=self._damped_until() if acts and self.engaged else None,
            evidence=evidence if not deployment else _with_share(evidence, status.usual_share),
            disposition=disposition,
            reason=reason,
            contract=contract.digest,
        )

    def _still_holding(self, modes: tuple[str, ...]) -> tuple[str, ...]:
        """On the way back what was acted on may be over."""
        return tuple(name for name in modes if name in self.status.held_since)

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
        status.benign = tuple(name for name in status.benign if name in self._contract.predicates)
        self.status = status


def acceptance(order: Override) -> str:
    """How an audit tells of an order to take a drift for the new normal."""
    return f"accepted by {order.who or 'an operator'}: {order.reason}"


def _with_share(evidence: Evidence, usual: float) -> Evidence:
    """A deployment's evidence tells gateways what part of the route's calls is its own."""
    return replace(evidence, detail={**evidence.detail, USUAL_SHARE: round(usual, 4)})


def describe(evidence: Evidence) -> str:
    """One sentence of evidence, for people."""
    value = "?" if evidence.value is None else f"{evidence.value:.3g}"
    limit = "?" if evidence.threshold is None else f"{evidence.threshold:.3g}"
    window = f" in {evidence.window_s:g} s" if evidence.window_s else ""
    said = f"{evidence.predicate} at {value} against {limit} over {evidence.samples} records{window}"
    decided = evidence.detail.get("decided by")
    if "others_rate" in evidence.detail:
        rate, number = evidence.detail["others_rate"], evidence.detail["others_samples"]
        return f"{said} of {evidence.detail['deployment']} alone; all others at {rate:.3g} over {number:.0f}"
    if decided is None:
        return said
    where = evidence.detail.get("deployment", "not localised")
    spoke = evidence.detail.get("also changed")
    return f"{said}; decided by {decided}{f'; also changed: {spoke}' if spoke else ''}; {where}"
