"""From a log record named `gen_ai.evaluation.result` to an evaluation, once its call is known. Pure."""

from enum import StrEnum

from msgspec import Struct

from detector.service.otlp.attributes import LeftOut, number, text
from detector.service.otlp.model import RESPONSE_ID, Attributes, Log
from topics.codec import encode
from topics.errors import DecodeError
from topics.telemetry import Evaluation, decode_evaluation
from topics.types import LONGEST_NAME

EVENT = "gen_ai.evaluation.result"
_NAME, _VALUE, _LABEL = (
    "gen_ai.evaluation.name",
    "gen_ai.evaluation.score.value",
    "gen_ai.evaluation.score.label",
)
_RESPONSE, _ERROR, _EVENT_NAME = RESPONSE_ID, "error.type", "event.name"
# The explanation is not among them: it may quote the answer.
OF_LOG = frozenset({_NAME, _VALUE, _LABEL, _RESPONSE, _ERROR, _EVENT_NAME})

# What judges call good and bad. True and false are not here: whether "true" is good depends on the name.
_PASSED = frozenset(
    "pass passed ok correct relevant factual faithful grounded safe "
    "not_hallucinated non_toxic not_toxic".split()
)
_FAILED = frozenset(
    "fail failed incorrect not_relevant irrelevant unrelated not_factual unfaithful ungrounded not_grounded "
    "unsafe hallucinated toxic".split()
)


class Outcome(StrEnum):
    """What became of a log record.

    Published; of something else than an evaluation; of a judge that failed, which is no verdict; not usable;
    or never joined to a call.
    """

    PUBLISHED = "published"
    OTHER = "other"
    NO_VERDICT = "no_verdict"
    MALFORMED = "malformed"
    UNJOINED = "unjoined"


class Call(Struct, frozen=True, gc=False):
    """What is remembered of a call for verdicts that come later; `ended` in Unix seconds.

    Attributes:
        answered: the request id is that of its response, as its span has it.
    """

    route: str
    request_id: str
    deployment: str
    ended: float
    answered: bool = True


class Verdict(Struct, kw_only=True, gc=False):
    """An evaluation whose route is not known yet; `event_time` in Unix seconds.

    Attributes:
        ids: of the span of the call, 24 bytes or empty.
        response_id: of the call's response, or empty.
    """

    ids: bytes
    response_id: str
    event_time: float
    name: str
    failed: bool | None
    score: float | None


def event_name(own: str, attributes: Attributes) -> str:
    """The name of an event: the record's `own`, else the older attribute."""
    older = attributes.get(_EVENT_NAME, "")
    return own or (older if isinstance(older, str) else "")


def verdict_of(log: Log) -> Verdict | None:
    """The verdict of a log record named `EVENT`; None where the judge failed, so that there is none.

    Raises:
        DecodeError: it has a value that is no use or cannot be read, no name, no score and no label that is
            known, or nothing that names a call.
    """
    if log.fault is not None:
        raise DecodeError(*log.fault)
    attributes, unusable = log.attributes, LeftOut()
    for key, value in attributes.items():
        # Thousands may wait, each with its record.
        if isinstance(value, tuple) or (isinstance(value, str) and len(value) > LONGEST_NAME):
            expected = f"expected a text of at most {LONGEST_NAME} characters or a number"
            raise DecodeError(f"$.attributes['{key}']", expected)
    name, response = text(attributes, (_NAME,), unusable), text(attributes, (_RESPONSE,), unusable)
    score, failed = number(attributes, (_VALUE,), unusable), _failed(text(attributes, (_LABEL,), unusable))
    if unusable:
        raise unusable[0]
    if not name:
        raise DecodeError(f"$.attributes['{_NAME}']", "expected the name of what was judged")
    if not log.ids and not response:
        raise DecodeError("$.spanId", f"expected the ids of the call's span, or {_RESPONSE}")
    if score is None and failed is None:
        if attributes.get(_ERROR):
            return None
        raise DecodeError(f"$.attributes['{_LABEL}']", "expected a label like pass or fail, or else a score")
    return Verdict(
        ids=log.ids,
        response_id=response,
        event_time=log.time_ns / 1e9,
        name=name,
        failed=failed,
        score=score,
    )


def evaluation_of(verdict: Verdict, call: Call) -> Evaluation:
    """What is published of a verdict on this call."""
    return Evaluation(
        event_time=verdict.event_time,
        route=call.route,
        name=verdict.name,
        call_time=call.ended,
        request_id=call.request_id,
        deployment=call.deployment,
        failed=verdict.failed,
        score=verdict.score,
    )


def value_of(evaluation: Evaluation) -> bytes:
    """The message of an evaluation, which no detector will refuse.

    Raises:
        DecodeError: a detector would, for that reason.
    """
    value = encode(evaluation)
    decode_evaluation(value)
    return value


def _failed(label: str) -> bool | None:
    plain = label.strip().lower().replace("-", "_").replace(" ", "_")
    return False if plain in _PASSED else True if plain in _FAILED else None
