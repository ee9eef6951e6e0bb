"""The decisions of a replay as they would stand on `detector.transitions`."""

from collections.abc import Iterable, Iterator

from detector.modes.decision import Decision
from topics.control import ControlRecord

_CARRIED = (
    "scope route deployment partition state mode modes muted fallbacks primary_share probes_per_s transition "
    "on_expiry hold_max_s next_revert_at damped_until evidence disposition reason contract event_id"
).split()


def transitions_of(decisions: Iterable[Decision]) -> Iterator[ControlRecord]:
    """Transitions in the order of decisions; attempts to revert that did not succeed are none.

    Nobody owns a recording: `epoch` is 0, and `revision` counts a scope's transitions.
    """
    for each in decisions:
        if each.kind == "extended":
            continue
        values = {name: getattr(each, name) for name in _CARRIED}
        values |= {"modes": list(each.modes), "muted": list(each.muted)}
        yield ControlRecord(**values, epoch=0, revision=each.transition, issued_at=each.at)
