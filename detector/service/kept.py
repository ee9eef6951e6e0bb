"""What a route's snapshot tells an operator, read without the contract that it was judged by.

One that another version wrote tells nothing.
"""

from contextlib import suppress

import msgspec

from detector.modes.deployments import named_in
from detector.modes.state import State

_ENGAGED = (State.ACTIVE, State.RECOVERING)
_NOT_READ = (msgspec.MsgspecError, LookupError, TypeError, AttributeError)


def deployments_of(snapshot: bytes) -> set[str]:
    """Names of a route's deployments."""
    with suppress(*_NOT_READ):
        return named_in(msgspec.msgpack.decode(snapshot, strict=False)["deployments"])
    return set()


def active_since(snapshot: bytes, deployment: str = "") -> float | None:
    """When the route, or one deployment of it, began to be active, Unix seconds; None: it was not then."""
    with suppress(*_NOT_READ):
        state = msgspec.msgpack.decode(snapshot, strict=False)
        judged = state["deployments"]["judges"][deployment] if deployment else state
        machine = judged["machine"]
        return float(machine["activated_at"]) if machine["state"] in _ENGAGED else None
    return None
