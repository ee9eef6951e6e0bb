"""States of a scope and the legal ways between them. Anything else raises.

    inactive <-> pending -> active <-> recovering -> inactive

`pending`: a mode's predicate holds, its hold time has not passed. `recovering`: the evidence says
the primary is well; calls come back in steps while every detector is armed. `withheld`: a mode holds
that would act, and the panic threshold keeps the scope with the primary; it activates once there is room.
"""

from enum import StrEnum


class State(StrEnum):
    """State of a scope; gateways see `pending` and `withheld` as inactive and `recovering` as active."""

    INACTIVE = "inactive"
    PENDING = "pending"
    ACTIVE = "active"
    RECOVERING = "recovering"
    WITHHELD = "withheld"


TRANSITIONS = frozenset(
    {
        (State.INACTIVE, State.PENDING),
        (State.INACTIVE, State.ACTIVE),
        (State.PENDING, State.INACTIVE),
        (State.PENDING, State.ACTIVE),
        (State.ACTIVE, State.RECOVERING),
        (State.INACTIVE, State.WITHHELD),
        (State.PENDING, State.WITHHELD),
        (State.WITHHELD, State.ACTIVE),
        (State.WITHHELD, State.PENDING),
        (State.WITHHELD, State.INACTIVE),
        (State.RECOVERING, State.ACTIVE),
        (State.RECOVERING, State.INACTIVE),
    }
)


class IllegalTransitionError(RuntimeError):
    """A program error: the machine tried to leave its table."""

    def __init__(self, scope: str, old: State, new: State) -> None:
        super().__init__(f"{scope}: {old} -> {new} is not a legal transition")


def legal(scope: str, old: State, new: State) -> State:
    """Return `new` if a scope may go there from `old`.

    Raises:
        IllegalTransitionError: it may not.
    """
    if (old, new) not in TRANSITIONS:
        raise IllegalTransitionError(scope, old, new)
    return new
