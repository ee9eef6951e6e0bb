"""States of a scope and the legal ways between them. Anything else raises.

    inactive <-> pending -> active <-> recovering -> inactive

`pending`: a mode's predicate holds, its hold time has not passed. `recovering`: the evidence says
the primary is well; calls come back in steps while every detector is armed.
"""

from enum import StrEnum


class State(StrEnum):
    """State of a scope; gateways see `pending` as inactive and `recovering` as active."""

    INACTIVE = "inactive"
    PENDING = "pending"
    ACTIVE = "active"
    RECOVERING = "recovering"


TRANSITIONS = frozenset(
    {
        (State.INACTIVE, State.PENDING),
        (State.INACTIVE, State.ACTIVE),
        (State.PENDING, State.INACTIVE),
        (State.PENDING, State.ACTIVE),
        (State.ACTIVE, State.RECOVERING),
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
