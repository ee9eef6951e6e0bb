"""A person's word on an activation, as a row of the incidents that `sweep` reads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import msgspec

from detector.lab.incidents import LABELS, Incident, read_incidents, write_labels
from detector.lab.matching import MERGE_S
from detector.lab.outcome import Activation
from topics.control import ControlRecord, Evidence
from topics.scope import split_scope


class LabelError(ValueError):
    """No such activation, or more than one; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An activation that may be labelled; times in Unix seconds, `end` the last known moment of it.

    Attributes:
        id: place in the list of a replay, or event_id of the transition.
        acts: whether gateways were told of it; a notice is labelled by its id.
    """

    id: str
    scope: str
    mode: str
    start: float
    end: float
    evidence: Evidence
    acts: bool = True


class _Replay(msgspec.Struct):
    """What is needed of the document of `replay --json`."""

    activations: list[Activation]
    last_event_time: float | None = None


def candidates_of_replay(file: Path) -> list[Candidate]:
    """Activations of a document written by `detector replay --json`, by their place in it.

    Raises:
        LabelError: not such a document.
    """
    try:
        document = msgspec.json.decode(file.read_bytes(), type=_Replay)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LabelError(f"{file}: not the output of `detector replay --json`: {error}") from None
    return [
        _candidate(str(place), each, document.last_event_time)
        for place, each in enumerate(document.activations)
    ]


def _candidate(name: str, each: Activation, last: float | None) -> Candidate:
    end = each.deactivated_at if each.deactivated_at is not None else max(last or 0.0, each.activated_at)
    acts = each.disposition == "act"
    return Candidate(name, each.scope, each.mode, each.activated_at, end, each.evidence, acts)


def candidates_of_transitions(records: Iterable[ControlRecord]) -> list[Candidate]:
    """Activations among transitions in the topic's order; each is named by the event_id that began it.

    Transitions that were judged again after a restore, or came too late to act, count like all others; a
    scope's activation ends with the last transition of it that is still active, or with the one that is not.
    """
    found: list[Candidate] = []
    open_at: dict[tuple[str, str], int] = {}
    seen: set[str] = set()
    for record in records:
        if record.event_id in seen or record.source != "detector":
            continue
        seen.add(record.event_id)
        acts = record.disposition in ("act", "stale")
        whose = (record.scope, "" if acts else record.mode)
        at = record.evidence.event_time or record.issued_at
        if whose in open_at:
            place = open_at[whose]
            known = found[place]
            mode = (record.state == "active" and record.mode) or known.mode  # the cause as it is named last
            found[place] = replace(known, mode=mode, end=max(known.end, record.issued_at))
            if record.state == "inactive":
                del open_at[whose]
        elif record.state == "active":
            open_at[whose] = len(found)
            found.append(
                Candidate(
                    record.event_id, record.scope, record.mode, at, record.issued_at, record.evidence, acts
                )
            )
    return found


def choose(candidates: Sequence[Candidate], name: str, at: float | None = None) -> Candidate:
    """The activation that `name` means: its id, or its scope if one acted there, or one `at` a time.

    Raises:
        LabelError: there is none, or it could be several.
    """
    by_id = [each for each in candidates if each.id == name]
    found = by_id or [each for each in candidates if each.scope == name and each.acts]
    if at is not None:
        found = [each for each in found if each.start <= at <= each.end]
    if len(found) == 1:
        return found[0]
    if not candidates:
        raise LabelError("there are no activations")
    if not found:
        scopes = ", ".join(sorted({each.scope for each in candidates})[:16])
        raise LabelError(
            f"no activation {name!r}{'' if at is None else ' at that time'}; there are some of {scopes}"
        )
    listed = ", ".join(f"{each.id} at {each.start:.1f}" for each in found[:16])
    raise LabelError(
        f"{name!r} has {len(found)} activations: {listed}; name one of them, or a time with --at"
    )


def write_label(
    file: Path, activation: Candidate, label: str, *, start: float | None = None, end: float | None = None
) -> tuple[Incident, bool]:
    """Write what an activation was; labelling it again replaces the label.

    Args:
        file: csv of incidents; made if it is not there.
        label: `true`, `false` or `benign`.
        start: when it really began; None: as long before the activation as another setting might see it, but
            not before the end of another row of its route. What was false has nothing before it.
        end: when it really ended; None: with the activation.

    Returns:
        its row, and whether the file was changed.

    Raises:
        LabelError: no such label, or a row about the same time says something else.
        IncidentError: the file cannot be read.
    """
    known = next((each for each in LABELS if each == label), None)
    if known is None:
        raise LabelError(f"label {label!r}: expected true, false or benign")
    incidents = read_incidents(file) if file.exists() else []
    of_it = [each for each in incidents if start is None and end is None and _written_for(activation, each)]
    if start is None:
        start = _beginning(activation, known, [each for each in incidents if each not in of_it])
    ends = activation.end if end is None else end
    row = Incident(activation.scope, activation.mode, start, ends, known)
    if row.end < row.start:
        raise LabelError("it would end before it begins; give both --from and --to")
    for place, each in enumerate(incidents):
        same = (each.scope, each.mode, each.start, each.end) == (row.scope, row.mode, row.start, row.end)
        if same or each in of_it:
            if each.label == row.label:
                return each, False
            incidents[place] = replace(each, label=row.label, start=row.start)
            write_labels(file, incidents)
            return incidents[place], True
    for each in incidents:
        about = each.scope == row.scope and each.mode == row.mode
        if about and each.start <= activation.end and each.end >= activation.start:
            if each.label == row.label:
                return each, False
            raise LabelError(
                f"{file} says {each.label} of {each.scope} {each.mode} from {each.start!r} to {each.end!r}: "
                "give these as --from and --to to change that row, or remove it"
            )
    write_labels(file, [*incidents, row])
    return row, True


def _beginning(activation: Candidate, label: str, others: Iterable[Incident]) -> float:
    """When what an activation is labelled as is taken to have begun."""
    seen = _seen(activation)
    if label == "false":
        return seen
    route = split_scope(activation.scope)[0]
    # Each row has a word of its own on the time that it covers.
    covered = (min(each.end, seen) for each in others if each.route == route and each.start <= seen)
    return max(seen - _lead_s(activation), *covered, -inf)


def _written_for(activation: Candidate, row: Incident) -> bool:
    """Whether a row is what labelling this activation wrote, whatever the label was."""
    about = (row.scope, row.mode, row.end) == (activation.scope, activation.mode, activation.end)
    seen = _seen(activation)
    return about and seen - _lead_s(activation) <= row.start <= seen


def _seen(activation: Candidate) -> float:
    # A fault that was pending long before it was acted on began before its evidence did.
    return min(activation.start, activation.evidence.event_time or activation.start)


def _lead_s(activation: Candidate) -> float:
    return max(MERGE_S, activation.evidence.window_s or 0.0)
