"""Would time to first token show slowness that the whole call hides?

A whole call takes as long as its answer, so a limit on it that healthy traffic keeps lies far above the
typical call. The first token waits for the way there, the queue and the engine alone. Measured on simulated
traffic at 20 calls/s, of bouts of 30 and 90 s in which calls took half a second or a second longer: the whole
call found 4 of 32, the first token all of them.

Where the wait in the queue is measured it is better taken off: queues grow faster than the load.
"""

from dataclasses import replace

from detector.contract.model import Contract, PredicateSpec
from detector.lab.calibrate import limit
from detector.lab.calibrate.tally import Ints, ShareTally

NAME, FIELD, WHOLE = "slow_first_token", "ttft_s", "latency_s"
UNQUEUED = "ttft_unqueued_s"
_WORTH = 2.0  # times less that calls have to slow down
_WAITS = (
    "Queues grow faster than the load: where queue_s is measured too the wait can be taken off, else let the "
    "mode on it only say so (severity: notice) until a week has been recorded. "
)


def candidates(contract: Contract) -> list[PredicateSpec]:
    """What could be judged beside the whole call, the better one last.

    Empty if one of them is judged, or if the whole call is not.
    """
    specs = contract.predicates.values()
    whole = next((spec for spec in specs if judges_whole(spec)), None)
    judged = any(spec.field in (FIELD, UNQUEUED) for spec in specs)
    if whole is None or NAME in contract.predicates or judged:
        return []
    return [
        replace(whole, name=NAME, field=FIELD, routes=()),
        replace(
            whole, name=f"{NAME} of {UNQUEUED}", field=UNQUEUED, routes=()
        ),  # no contract can hold such a name
    ]


def judges_whole(spec: PredicateSpec) -> bool:
    """Whether a predicate holds all whole calls to a limit."""
    asked = spec.type == "exceedance" and spec.method == "default" and spec.field == WHOLE
    return asked and spec.above_ms is not None and not spec.where


def advice(
    spec: PredicateSpec, first: ShareTally, whole: ShareTally, whole_above_ms: float, left_out: Ints
) -> str | None:
    """In plain words, where the typical call would be over a limit on its first token much sooner."""
    kept = limit.kept(first, spec, left_out)
    usual, usual_first = limit.typical(whole), limit.typical(first)
    if kept is None or usual is None or usual_first is None:
        return None
    above_ms = kept.above_ms
    needed, needed_first = whole_above_ms / 1000.0 - usual, above_ms / 1000.0 - usual_first
    if needed_first <= 0 or needed < _WORTH * needed_first:
        return None
    field = spec.field
    what = f"{FIELD} less the wait in queue_s" if field == UNQUEUED else FIELD
    waits = "" if field == UNQUEUED else _WAITS
    return (
        f"The typical call is over {whole_above_ms:g} ms only when it takes {needed:.2g} s longer than "
        f"usual, for answers differ in length. {what} is measured and judged by nothing: over {above_ms:g} "
        f"ms, which this traffic keeps, is the typical call when it takes {needed_first:.2g} s longer. "
        f"{waits}Consider {NAME}: {{type: exceedance, field: {field}, above_ms: {above_ms:g}{spec.only}}}."
    )
