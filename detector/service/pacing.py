"""How the next fetch asks: for whatever is there, or for what comes together in some milliseconds.

A fetch costs as much as a hundred records do, and at 20,000 records/s there would be a thousand of them a
second. So where records come briskly, but few at a time, the broker is asked to gather some before answering.
It adds half of that time to the latency of a decision; where records are sparse it would only add fetches.
"""

from typing import NamedTuple

BRISK_PER_S = 500
FEW = 500
GATHER_BYTES = 256 * 1024
GATHER_MS = 1
GATHER_MORE_MS = 3
WAIT_MS = 1500
QUIET_S = 0.05


class Ask(NamedTuple):
    """What a fetch waits for.

    Attributes:
        min_bytes, wait_ms: the broker answers once it has so much, or after so long.
        timeout_s: without records for so long, the next one asks for whatever is there.
    """

    min_bytes: int
    wait_ms: int
    timeout_s: float


WHATEVER = Ask(1, WAIT_MS, 1.0)


def next_ask(count: int, elapsed_s: float, lying: int) -> Ask:
    """What to ask for after a fetch.

    Args:
        count: records that it brought.
        elapsed_s: since the one before it, seconds.
        lying: records fetched and not yet taken by the event loop, which more fetches would only disturb.
    """
    if not BRISK_PER_S * elapsed_s < count < FEW:
        return WHATEVER
    return Ask(GATHER_BYTES, GATHER_MS if lying < FEW else GATHER_MORE_MS, QUIET_S)
