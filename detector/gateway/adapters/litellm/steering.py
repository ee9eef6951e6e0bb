"""Where a call of LiteLLM's goes: to the model group asked for, or to one that a fallback's name stands for.

Pure. What was decided travels in the call's own metadata, as plain JSON, to the hooks that come later.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from detector.gateway.decision import Decision

NOTE = "detector"  # the key in a call's metadata; LiteLLM leaves it out of what it logs

# The proxy's own metadata of a call, and what newer endpoints leave to the caller.
_METADATA = ("litellm_metadata", "metadata")

# Calls that ask for text. A fallback's plain name may stand for a group that answers these; that it can embed
# or draw as well nobody has said, so for other calls only groups made for their route count.
TEXT = frozenset(
    "completion acompletion text_completion atext_completion anthropic_messages aanthropic_messages "
    "responses aresponses".split()
)
# All that is decided about. Whatever else has a `model` is a provider's own body passed through, a batch, or
# about a call that was made before.
DECIDED = TEXT | frozenset(
    "embedding aembedding rerank arerank moderation amoderation image_generation aimage_generation "
    "transcription atranscription speech aspeech".split()
)
# What fails by what the caller brought along tells nothing of the primary: which statuses, for which fields.
_OF_ITS_OWN = {
    "client_side_timeout": (408,),  # LiteLLM's own mark of a time limit that the caller has set
    "api_key": (401, 403),
    "api_base": (401, 403, 404),
    "base_url": (401, 403, 404),
    "organization": (401, 403),
    "headers": (401, 403),
    "extra_headers": (401, 403),
    "provider_specific_header": (401, 403),
    "previous_response_id": (404,),
}
_TRACE = frozenset({"traceparent", "tracestate"})  # headers that the proxy itself may add


@dataclass(frozen=True, slots=True)
class Course:
    """What was decided about one call.

    Attributes:
        route: the model group asked for.
        input_class: of the caller's input.
        active: the route's own scope is.
        primary: the call goes there.
        probe: it does although the scope is active, or to a deployment that is to be kept off.
        probe_deployment: the deployment that the probe is for, else empty.
        avoid: deployments to keep off.
        groups: model groups to go to instead of the route's own, best first; where the call goes to the
            primary, those for the case that it fails.
        names: the fallback's name by group.
        scope, mode, event_id: of the control record obeyed.
    """

    route: str
    input_class: str = "default"
    active: bool = False
    primary: bool = True
    probe: bool = False
    probe_deployment: str = ""
    avoid: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    scope: str = ""
    mode: str = ""
    event_id: str = ""

    @property
    def course(self) -> str:
        """In a word: `probe`, `fallback`, `avoid` (some deployments); empty where the detector has no say."""
        if self.probe:
            return "probe"
        return "avoid" if self.primary and self.avoid else "" if self.primary else "fallback"

    def note(self) -> dict[str, Any]:
        """As JSON, for the metadata of the call."""
        return {
            "route": self.route,
            "input_class": self.input_class,
            "active": self.active,
            "course": self.course,
            "probe": self.probe,
            "probe_deployment": self.probe_deployment,
            "avoid": list(self.avoid),
            "names": dict(self.names),
            "scope": self.scope,
            "mode": self.mode,
            "event_id": self.event_id,
        }


def course_of(
    decision: Decision, route: str, input_class: str, call_type: str, existing: Container[str]
) -> Course:
    """Decide about one call.

    Args:
        decision: the client's, for this route and class.
        route: the model group that the caller asked for.
        call_type: LiteLLM's word for the kind of call.
        existing: the proxy's model groups.
    """
    found = list(_groups(decision.fallbacks, route, call_type, existing))
    names = {group: name for name, group in found}
    active = decision.state == "active"
    # Where this gateway has none of the fallbacks an impaired answer is better than none.
    primary = decision.use_primary or not found
    return Course(
        route=route,
        input_class=input_class,
        active=active,
        primary=primary,
        probe=decision.probe or (active and primary),
        probe_deployment=decision.probe_deployment,
        avoid=decision.avoid,
        groups=tuple(names),
        names=names,
        scope=decision.scope,
        mode=decision.mode,
        event_id=decision.event_id,
    )


def _groups(
    fallbacks: Sequence[str], route: str, call_type: str, existing: Container[str]
) -> Iterator[tuple[str, str]]:
    """Each fallback that this proxy has, with its group: `<route>/<name>`, else `<name>`; never the route."""
    for name in fallbacks:
        for group in (f"{route}/{name}", *((name,) if call_type in TEXT else ())):
            if group != route and group in existing:
                yield name, group
                break


def steer(data: dict[str, Any], course: Course) -> None:
    """Send a call on its course, in place."""
    if data.get("disable_fallbacks") or data.get("fallbacks") == []:
        course = _unaided(course)
    metadata_of(data)[NOTE] = course.note() | {"forgiven": _forgiven(data)}
    chain: list[Any] = list(course.groups)
    if not course.primary:
        data["model"] = chain.pop(0)
        chain.append(course.route)  # an impaired answer is better than none
    elif course.probe_deployment and not chain:
        # LiteLLM's retries do not reach a sibling where there are none of them, nor after a 404.
        chain = [{"model": course.route, "_excluded_deployment_ids": [course.probe_deployment]}]
    if chain and "fallbacks" not in data:
        data["fallbacks"] = chain
        if course.primary:
            data["num_retries"] = 0  # a probe is tried once


def _unaided(course: Course) -> Course:
    """No probe: nobody else would answer if it failed."""
    if course.primary and course.groups:
        return replace(course, primary=False, probe=False)
    if course.probe_deployment:
        avoid = (*course.avoid, course.probe_deployment)
        return replace(course, probe=False, probe_deployment="", avoid=avoid)
    return course


def _forgiven(data: Mapping[str, Any]) -> list[str]:
    """Statuses by which this call may fail without telling anything of the primary."""
    found: set[int] = set()
    for name, statuses in _OF_ITS_OWN.items():
        brought = data.get(name)
        if name == "extra_headers" and isinstance(brought, Mapping):
            brought = {str(header).lower() for header in brought} - _TRACE
        if brought:
            found.update(statuses)
    return sorted(map(str, found))


def metadata_of(data: dict[str, Any]) -> dict[str, Any]:
    """The proxy's own metadata of a call: newer endpoints keep them apart from the caller's."""
    name = _METADATA[0] if _METADATA[0] in data else _METADATA[1]
    found = data.get(name)
    if not isinstance(found, dict):
        found = data[name] = {}
    return found


def forget(data: Mapping[str, Any]) -> None:
    """Take out what the caller may have put where `steer` puts its note."""
    for name in _METADATA:
        metadata = data.get(name)
        if isinstance(metadata, dict):
            metadata.pop(NOTE, None)


def note_in(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `steer` left in the metadata of a call; None where it was not asked."""
    for name in _METADATA:
        metadata = data.get(name)
        note = metadata.get(NOTE) if isinstance(metadata, Mapping) else None
        if isinstance(note, dict):
            return note
    return None


def allowed(note: dict[str, Any] | None, ids: Sequence[str]) -> set[str]:
    """Which of these deployments an attempt at a call may go to: never none.

    The first attempt at a probe goes to the deployment that it is for, and the note keeps that it was made:
    another one is made where all is well, as a probe must cost nobody an answer.

    Args:
        note: of the call.
        ids: `model_info.id` of each deployment of a model group.
    """
    every = set(ids)
    if note is None:
        return every
    tried = note["probe_deployment"]
    if tried in every and not note.get("probed"):
        note["probed"] = True
        return {tried}
    return every - {*note["avoid"], tried} or every
