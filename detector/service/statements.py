"""What an owner says of a scope: contents made from decisions and orders, messages that carry them. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from msgspec.structs import replace

from topics import cloudevents
from topics.cloudevents import Headers
from topics.codec import encode
from topics.control import (
    ControlRecord,
    Disposition,
    Evidence,
    OnExpiry,
    Override,
    OwnerRecord,
    State,
    owner_key,
)
from topics.scope import split_scope


class Judged(Protocol):
    """One change of a scope's judged state, as the pipeline hands it out."""

    @property
    def kind(self) -> Literal["activated", "revised", "deactivated", "extended"]: ...
    @property
    def scope(self) -> str: ...
    @property
    def route(self) -> str: ...
    @property
    def deployment(self) -> str: ...
    @property
    def state(self) -> State: ...
    @property
    def mode(self) -> str: ...
    @property
    def modes(self) -> Sequence[str]: ...
    @property
    def muted(self) -> Sequence[str]: ...
    @property
    def fallbacks(self) -> Mapping[str, list[str]]: ...
    @property
    def primary_share(self) -> float: ...
    @property
    def probes_per_s(self) -> float | None: ...
    @property
    def transition(self) -> int: ...
    @property
    def event_id(self) -> str: ...
    @property
    def at(self) -> float: ...
    @property
    def on_expiry(self) -> OnExpiry: ...
    @property
    def hold_max_s(self) -> float: ...
    @property
    def next_revert_at(self) -> float | None: ...
    @property
    def damped_until(self) -> float | None: ...
    @property
    def evidence(self) -> Evidence: ...
    @property
    def disposition(self) -> Disposition: ...
    @property
    def reason(self) -> str: ...
    @property
    def contract(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Message:
    """One message to write, to the control topic or to the audit. `record` None is a tombstone."""

    topic: Literal["control", "transitions"]
    key: bytes
    record: ControlRecord | OwnerRecord | None
    headers: Headers

    @property
    def value(self) -> bytes | None:
        """The record as JSON."""
        return None if self.record is None else encode(self.record)


def _kind(record: ControlRecord, turned: bool) -> str:
    if not turned:
        return cloudevents.REVISED
    return cloudevents.ACTIVATED if record.state == "active" else cloudevents.DEACTIVATED


def control_message(record: ControlRecord, *, turned: bool) -> Message:
    """A scope's record; `turned`: its state is another than before, which a step of a ramp's is not."""
    headers = cloudevents.control_headers(record, _kind(record, turned))
    return Message("control", record.scope.encode(), record, headers)


def transition_message(
    record: ControlRecord, disposition: Disposition, *, turned: bool, number: int | None = None
) -> Message:
    """The same for the audit, with what came of it; `number`: for one that has no revision of its own."""
    said = replace(record, disposition=disposition)
    headers = cloudevents.control_headers(said, _kind(said, turned), number)
    return Message("transitions", said.scope.encode(), said, headers)


def owner_message(partition: int, owner: str, epoch: int, now: float, lease_s: float) -> Message:
    """A claim or heartbeat."""
    record = OwnerRecord(partition=partition, owner=owner, epoch=epoch, issued_at=now, lease_s=lease_s)
    return Message("control", owner_key(partition), record, cloudevents.owner_headers(record))


def tombstone_message(scope: str, epoch: int, revision: int) -> Message:
    """The end of a scope."""
    return Message("control", scope.encode(), None, cloudevents.tombstone_headers(scope, epoch, revision))


def content_of(decision: Judged) -> ControlRecord:
    """A decision as a record; epoch, revision and partition are the owner's to fill in."""
    return ControlRecord(
        scope=decision.scope,
        route=decision.route,
        deployment=decision.deployment,
        state=decision.state,
        mode=decision.mode,
        modes=list(decision.modes),
        muted=list(decision.muted),
        fallbacks=dict(decision.fallbacks),
        primary_share=decision.primary_share,
        probes_per_s=decision.probes_per_s,
        transition=decision.transition,
        issued_at=decision.at,
        on_expiry=decision.on_expiry,
        hold_max_s=decision.hold_max_s,
        next_revert_at=decision.next_revert_at,
        damped_until=decision.damped_until,
        evidence=decision.evidence,
        reason=decision.reason,
        contract=decision.contract,
        event_id=decision.event_id,
    )


class Terms(Protocol):
    """What an owner needs of the contract."""

    @property
    def digest(self) -> str: ...
    def fallbacks_at_will(self, route: str) -> Mapping[str, list[str]]:
        """By input class, what an order uses where nothing is judged wrong."""


def nothing_wrong(scope: str, now: float, contract: str) -> ControlRecord:
    """What is said of a scope that nobody judges to be at fault; `contract`: its digest."""
    route, deployment = split_scope(scope)
    return ControlRecord(
        scope=scope,
        route=route,
        deployment=deployment,
        state="inactive",
        issued_at=now,
        reason="The owner of this scope knows of no fault in it.",
        contract=contract,
    )


def forced(order: Override, base: ControlRecord, fallbacks: Mapping[str, list[str]]) -> ControlRecord:
    """An operator's order over what would be said without it.

    Args:
        base: what is judged; an active one lends its mode, fallbacks, probes and evidence.
        fallbacks: input class -> names, for a scope that nothing is judged to be wrong with.
    """
    active = order.state == "active"
    lent = active and base.state == "active"
    who = order.who or "an operator"
    return ControlRecord(
        scope=base.scope,
        route=base.route,
        deployment=base.deployment,
        state=order.state,
        mode=base.mode if lent else "",
        modes=base.modes,
        muted=base.muted,
        fallbacks=base.fallbacks if lent else dict(fallbacks) if active else {},
        primary_share=(base.primary_share if lent else 0.0) if active else 1.0,
        probes_per_s=base.probes_per_s if lent else None,
        issued_at=order.issued_at,
        on_expiry=base.on_expiry,
        hold_max_s=base.hold_max_s,
        override_until=order.until,
        # A deployment's says of how many calls to take a share.
        evidence=base.evidence if lent else Evidence(),
        source="operator",
        reason=f"Set by {who}: {order.reason}" if order.reason else f"Set by {who}.",
        contract=base.contract,
    )


def counted_on(
    content: ControlRecord, before: ControlRecord | None, event_id: Callable[[str, int], str]
) -> ControlRecord:
    """Let transitions go on counting from the greater of what is judged and what readers hold (`before`).

    A change of state is a transition even where the judged count lags: after an order, or after the
    loss of the snapshots. An event keeps its identity for as long as it keeps its number.
    """
    if before and (before.source, content.source) == ("operator", "detector"):
        # What was judged long before the order would read as if it had just happened.
        content = replace(content, reason=f"the order of an operator is over; judged: {content.reason}")
    state, number, identity = (
        (before.state, before.transition, before.event_id) if before else ("inactive", 0, "")
    )
    count = max(content.transition, number + (content.state != state))
    if count == content.transition:
        return content
    return replace(
        content, transition=count, event_id=identity if count == number else event_id(content.scope, count)
    )


_RENEWED = ("primary_share", "probes_per_s", "next_revert_at", "damped_until")  # by an attempt that failed
_COMPARED = (
    "state",
    "mode",
    "modes",
    "muted",
    "fallbacks",
    "on_expiry",
    "hold_max_s",
    "override_until",
    "source",
    "contract",
    *_RENEWED,
)


def renews(published: ControlRecord, wanted: ControlRecord) -> bool:
    """Whether `wanted` is the same transition, with at most other probes and times."""
    return says_the_same(published, replace(wanted, **{name: getattr(published, name) for name in _RENEWED}))


def says_the_same(published: ControlRecord, wanted: ControlRecord) -> bool:
    """Whether a reader of `published` needs nothing of `wanted`: content equal, no transition lacking."""
    return wanted.transition <= published.transition and all(
        getattr(published, name) == getattr(wanted, name) for name in _COMPARED
    )
