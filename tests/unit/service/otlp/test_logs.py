"""What is read of a log record, and what becomes of it."""

from typing import Any

import pytest

from detector.service.otlp.decode import decode_logs
from detector.service.otlp.logs import EVENT, Call, evaluation_of, value_of, verdict_of
from detector.service.otlp.model import Log
from tests.builders import T0
from tests.otlp_builders import batch_of_logs, log, span_id, trace_id, verdict
from topics.errors import DecodeError
from topics.telemetry import decode_evaluation

CALL = Call(route="chat", request_id="r-1", deployment="eu-1", ended=T0 + 0.5)
NAME, VALUE, LABEL = (f"gen_ai.evaluation.{what}" for what in ("name", "score.value", "score.label"))


def decoded(record: Any) -> Log:
    (found,) = decode_logs(batch_of_logs(record).SerializeToString(), "otlp_proto")
    return found


@pytest.mark.parametrize(
    ("label", "failed"),
    [
        ("pass", False),
        ("Passed", False),
        ("correct", False),
        ("relevant", False),
        ("factual", False),
        ("fail", True),
        ("FAILED", True),
        ("incorrect", True),
        ("not_relevant", True),
        ("not relevant", True),
        ("non-toxic", False),
        ("hallucinated", True),
    ],
)
def test_a_label_that_is_known_is_a_verdict(label: str, failed: bool) -> None:
    """Whichever way it is written."""
    found = verdict_of(decoded(verdict(label=label, number=1)))

    assert found is not None
    assert (found.failed, found.score) == (failed, None)


@pytest.mark.parametrize("label", ["", "good", "true", "3 of 5", "passable"])
def test_a_label_that_is_not_known_is_none(label: str) -> None:
    """The score is published without it; where there is no score either it is refused."""
    scored = verdict_of(decoded(verdict(label=label, number=1, attributes={VALUE: 0.25})))

    assert scored is not None
    assert (scored.failed, scored.score) == (None, 0.25)
    with pytest.raises(DecodeError, match=r"score\.label"):
        verdict_of(decoded(verdict(label=label, number=1)))


def test_a_judge_that_failed_gave_no_verdict() -> None:
    """Nothing is wrong with the record, and nothing is said of the call."""
    failed = log({NAME: "faithfulness", "error.type": "timeout"}, number=1)

    assert verdict_of(decoded(failed)) is None


def test_an_evaluation_carries_what_the_call_has() -> None:
    """Its route, id, deployment and end; the verdict's own time, name, label and score."""
    record = verdict("relevance", "fail", number=1, at=4.0, attributes={VALUE: 2})
    found = verdict_of(decoded(record))
    assert found is not None

    made = decode_evaluation(value_of(evaluation_of(found, CALL)))

    assert (made.route, made.request_id, made.deployment, made.call_time) == ("chat", "r-1", "eu-1", T0 + 0.5)
    assert (made.event_time, made.name, made.failed, made.score) == (T0 + 4.0, "relevance", True, 2.0)


def test_the_ids_of_the_call_are_those_of_the_record_and_its_response() -> None:
    found = verdict_of(decoded(verdict(number=7, attributes={"gen_ai.response.id": "r-9"})))

    assert found is not None
    assert (found.ids, found.response_id) == (trace_id(7) + span_id(7), "r-9")


@pytest.mark.parametrize(
    ("record", "event_name"),
    [
        (log(number=1), EVENT),
        (log({"event.name": EVENT}, event_name="", number=1), EVENT),
        (log({"event.name": "other"}, number=1), EVENT),
        (log(event_name="", number=1), ""),
        (log({"event.name": 5}, event_name="", number=1), ""),
    ],
)
def test_the_name_of_an_event_is_its_field_or_the_older_attribute(record: Any, event_name: str) -> None:
    assert decoded(record).event_name == event_name


def test_a_record_without_a_time_has_that_of_its_observation() -> None:
    record = verdict(number=1)
    record.observed_time_unix_nano, record.time_unix_nano = (T0 + 9) * 10**9, 0
    found = verdict_of(decoded(record))

    assert found is not None
    assert found.event_time == T0 + 9


@pytest.mark.parametrize(
    ("record", "path"),
    [
        (log({LABEL: "pass"}, number=1), "gen_ai.evaluation.name"),
        (log({NAME: [3], LABEL: "pass"}, number=1), "gen_ai.evaluation.name"),
        (verdict("x" * 201, number=1), "gen_ai.evaluation.name"),
        (verdict(label="x" * 201, number=1, attributes={VALUE: 1.0}), "gen_ai.evaluation.score.label"),
        (verdict(number=1, attributes={"gen_ai.response.id": "x" * 201}), "gen_ai.response.id"),
        (verdict(number=1, attributes={"error.type": "x" * 201}), "error.type"),
        (verdict(number=1, attributes={"error.type": ["x" * 201]}), "error.type"),
        (verdict(number=None), "$.spanId"),
        (verdict(number=1, attributes={VALUE: "high"}), "gen_ai.evaluation.score.value"),
        (verdict(number=1, attributes={VALUE: float("nan")}), "gen_ai.evaluation.score.value"),
    ],
)
def test_what_is_no_verdict_is_refused_with_its_place(record: Any, path: str) -> None:
    """One without a name or a call, with a score that is no number, or with more text than is kept."""
    with pytest.raises(DecodeError) as refusal:
        verdict_of(decoded(record))

    assert path in refusal.value.path


def test_the_explanation_is_not_read() -> None:
    """It may quote the answer."""
    record = verdict(number=1, attributes={"gen_ai.evaluation.explanation": "the answer says so"})

    assert "answer" not in str(decoded(record))
