"""What one call is to do, answered from memory: state, fallbacks, deployments to avoid, probes.

Answers are built once per (route, input class, deployment) and kept until a message or a lapse changes
them. Which calls are probes is counted, not drawn: of n calls, n times the share go to the primary,
to within one.
"""

from dataclasses import dataclass, replace
from typing import Literal
from zlib import crc32

from detector.gateway.view import ControlView
from topics.control import USUAL_SHARE, ControlRecord

_ONE = 1 << 32
_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with one call.

    Attributes:
        state: `active`: use a fallback, unless `probe`; `inactive`: use the primary.
        fallbacks: names to try, best first; also where only the asked-for deployment is at fault and
            no sibling can be had.
        avoid: deployments of the primary to keep off.
        probe: this call goes to the primary although its scope is active; its telemetry says `probe`. So do
            all calls of a route that the gateway has no fallback for: an impaired answer is better than none.
        probe_deployment: which avoided deployment a probe goes to; empty for the route's own primary.
        primary_share: share of the scope's calls that go to the primary, in [0, 1].
        mode, reason, scope, epoch, revision, event_id: of the control record obeyed, for logs and telemetry.
        stale: the detector has not been heard for longer than the lease of an active scope that is asked for,
            or was never heard.
    """

    state: Literal["active", "inactive"] = "inactive"
    fallbacks: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    probe: bool = False
    probe_deployment: str = ""
    primary_share: float = 1.0
    mode: str = ""
    reason: str = ""
    scope: str = ""
    epoch: int = 0
    revision: int = 0
    event_id: str = ""
    stale: bool = False

    @property
    def use_primary(self) -> bool:
        """Whether this call goes to the primary, be it as a probe; else to a fallback."""
        return self.state == "inactive" or self.probe


class _Turns:
    """Counts calls so that `share` of them are probes. Gateways start at different points of the count."""

    __slots__ = ("_at", "_step", "share")

    def __init__(self, seed: str) -> None:
        self._at = crc32(seed.encode())
        self._step = 0
        self.share = -1.0

    def set_share(self, share: float) -> None:
        if share != self.share:
            self.share, self._step = share, round(share * _ONE)

    def count(self) -> None:
        # At most one probe is due: debts of a scope that others were preferred to are not all paid at once.
        self._at = min(self._at + self._step, 2 * _ONE - 1)

    def take(self) -> bool:
        """Whether a probe is due; one that another scope's was preferred to stays due."""
        if self._at < _ONE or not self._step:
            return False
        self._at -= _ONE
        return True


@dataclass(slots=True)
class _Answer:
    """A decision that is kept: without a probe, and with a probe of each scope that has turns."""

    generation: int
    until: float
    usual: Decision
    probes: tuple[tuple[_Turns, Decision], ...]


@dataclass(slots=True)
class DecisionCounts:
    """`unknown_fallbacks`: names left out because the gateway has none of that name, per answer built."""

    unknown_fallbacks: int = 0


class Decider:
    """Turns a view into decisions.

    Args:
        view: what the control topic says.
        gateway_id: sets where this gateway starts counting to its next probe.
        known_fallbacks: names that the gateway has; others are left out and counted. None: all.
    """

    def __init__(
        self, view: ControlView, gateway_id: str, known_fallbacks: frozenset[str] | None = None
    ) -> None:
        self.counts = DecisionCounts()
        self.heard = False
        self._view = view
        self._gateway_id = gateway_id
        self._known = known_fallbacks
        self._answers: dict[tuple[str, str, str], _Answer] = {}
        self._turns: dict[tuple[str, bool], _Turns] = {}

    def decide(self, route: str, input_class: str, deployment: str, now: float) -> Decision:
        """Answer for one call; `now`: the view's monotonic clock."""
        if not self.heard:
            return UNHEARD
        asked = (route, input_class, deployment)
        answer = self._answers.get(asked)
        if answer is None or answer.generation != self._view.generation or now >= answer.until:
            answer = self._build(asked, now)
        for turns, _ in answer.probes:
            turns.count()
        for number, (turns, probe) in enumerate(answer.probes):
            if turns.take():
                # Whoever was taken is asked last from now on.
                answer.probes = (*answer.probes[:number], *answer.probes[number + 1 :], (turns, probe))
                return probe
        return answer.usual

    def _build(self, asked: tuple[str, str, str], now: float) -> _Answer:
        route, input_class, deployment = asked
        generation = self._view.generation  # before the view is looked at: it may change meanwhile
        effective = self._view.effective(route, deployment, now)
        record = effective.record
        avoid = tuple(record.deployment for record in effective.avoid)
        if record is None:
            usual = Decision(avoid=avoid, stale=effective.stale)
        else:
            fallbacks = self._fallbacks(record, input_class)
            usual = Decision(
                state="active",
                fallbacks=fallbacks,
                avoid=avoid,
                probe=not fallbacks and not record.deployment,  # of a deployment there are siblings
                primary_share=record.primary_share,
                mode=record.mode,
                reason=record.reason,
                scope=record.scope,
                epoch=record.epoch,
                revision=record.revision,
                event_id=record.event_id,
                stale=effective.stale,
            )
        # One turn a call for each scope concerned: the route's own, or that of every avoided deployment.
        concerned = effective.avoid if record is None or record.deployment else (record,)
        if deployment:
            concerned = tuple(one for one in concerned if one.deployment in ("", deployment))
        probes = tuple((self._turns_of(one, deployment), self._probe(usual, one)) for one in concerned)
        answer = _Answer(generation, effective.until, usual, probes)
        if len(self._answers) >= _KEPT:
            self._answers.clear()
        self._answers[asked] = answer
        return answer

    def _turns_of(self, record: ControlRecord, asked: str) -> _Turns:
        """Counts calls that the scope would get; unless a deployment was asked for, all of the route."""
        part = 1.0 if asked or not record.deployment else record.evidence.detail.get(USUAL_SHARE, 1.0)
        key = (record.scope, bool(asked))
        turns = self._turns.get(key)
        if turns is None:
            if len(self._turns) >= _KEPT:
                self._turns.clear()
            turns = self._turns[key] = _Turns(f"{self._gateway_id}/{record.scope}")
        usual = part if isinstance(part, float) and 0.0 <= part <= 1.0 else 1.0
        turns.set_share(record.primary_share * usual)
        return turns

    @staticmethod
    def _probe(usual: Decision, record: ControlRecord) -> Decision:
        others = tuple(name for name in usual.avoid if name != record.deployment)
        return replace(usual, probe=True, probe_deployment=record.deployment, avoid=others)

    def _fallbacks(self, record: ControlRecord, input_class: str) -> tuple[str, ...]:
        names = record.fallbacks.get(input_class)
        if names is None:
            names = record.fallbacks.get("*", [])
        if self._known is None:
            return tuple(names)
        known = tuple(name for name in names if name in self._known)
        self.counts.unknown_fallbacks += len(names) - len(known)
        return known


UNHEARD = Decision(stale=True, reason="The control topic has not been read to its end yet.")
