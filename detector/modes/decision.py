"""A decision: one change of a scope's judged state, before an owner gives it epoch and revision."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from topics.control import Disposition, Evidence, OnExpiry
from topics.control import State as Published

Kind = Literal["activated", "revised", "deactivated", "extended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Full judged state of a scope after a change.

    Attributes:
        kind: what happened; `extended`: an attempt to revert did not succeed, which is no transition.
        transition: count of the scope's transitions, this one included.
        event_id: hash of (scope, transition): the same if the transition is judged again after a restore.
            Notices are counted apart: they change nothing that a gateway sees.
        at: event time of the change, Unix seconds.
        hold_max_s: how long a gateway may hold the scope after its lease has lapsed, if told to hold.
        disposition: `act` goes to gateways; `notice` and `shadow` are only audited.
    """

    kind: Kind
    scope: str
    route: str
    deployment: str
    partition: int
    state: Published
    mode: str
    modes: tuple[str, ...]
    muted: tuple[str, ...]
    fallbacks: dict[str, list[str]]
    primary_share: float
    probes_per_s: float | None
    transition: int
    event_id: str
    at: float
    on_expiry: OnExpiry
    hold_max_s: float
    next_revert_at: float | None
    damped_until: float | None
    evidence: Evidence
    disposition: Disposition
    reason: str
    contract: str


def event_id(scope: str, transition: int) -> str:
    """Name of a scope's n-th transition, 16 hex digits.

    >>> event_id("chat", 1) == event_id("chat", 1), event_id("chat", 1) == event_id("chat", 2)
    (True, False)
    """
    return hashlib.sha256(f"{scope}\0{transition}".encode()).hexdigest()[:16]
